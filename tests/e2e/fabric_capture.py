"""A capture that was got wrong on purpose: nft turns a node's fabric to an Envoy that passes all on."""

from __future__ import annotations

import http.client
import json
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ringfence.broker.run.admin import ask
from tests import parts

PORT, MARK = 15001, 7
RULES = f"""
table ip captured {{
  chain output {{
    type nat hook output priority -100; policy accept;
    meta mark {MARK} return
    oifname "fab0" meta l4proto tcp redirect to :{PORT}
  }}
  chain prerouting {{
    type nat hook prerouting priority -100; policy accept;
    iifname "fab0" meta l4proto tcp redirect to :{PORT}
  }}
}}
"""
_SO_MARK = {"level": 1, "name": 36, "int_value": MARK, "state": "STATE_PREBIND"}  # the proxy's own go out as they are


def _config(admin: Path) -> dict[str, Any]:
    proxy = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
        "stat_prefix": "captured",
        "cluster": "onward",
    }
    dst = {"@type": "type.googleapis.com/envoy.extensions.filters.listener.original_dst.v3.OriginalDst"}
    listener = {
        "name": "captured",
        "address": {"socket_address": {"address": "0.0.0.0", "port_value": PORT}},
        "listener_filters": [{"name": "dst", "typed_config": dst}],
        "filter_chains": [{"filters": [{"name": "tcp", "typed_config": proxy}]}],
    }
    cluster = {
        "name": "onward",
        "type": "ORIGINAL_DST",
        "lb_policy": "CLUSTER_PROVIDED",
        "connect_timeout": "5s",
        "upstream_bind_config": {"socket_options": [_SO_MARK]},
    }
    return {
        "admin": {"address": {"pipe": {"path": str(admin)}}},
        "static_resources": {"listeners": [listener], "clusters": [cluster]},
    }


@contextmanager
def captured(namespace: str, folder: Path) -> Iterator[None]:
    """What *namespace* dials and takes on its `fab0` goes through an Envoy there, until the block ends."""
    admin = folder / "captured.sock"
    (folder / "captured.json").write_text(json.dumps(_config(admin)))
    inside = [parts.program("ip", "iproute2"), "netns", "exec", namespace]
    command = [
        *inside,
        parts.envoy(),
        "-c",
        str(folder / "captured.json"),
        "--use-dynamic-base-id",
        "--log-level",
        "error",
    ]
    envoy = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    nft = [*inside, parts.program("nft", "nftables")]
    try:
        _live(envoy, admin)
        subprocess.run([*nft, "-f", "-"], input=RULES, text=True, check=True)
        yield
    finally:
        subprocess.run([*nft, "delete", "table", "ip", "captured"], check=False, stderr=subprocess.DEVNULL)
        envoy.terminate()
        envoy.wait(20)


def _live(envoy: subprocess.Popen[bytes], admin: Path) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until and envoy.poll() is None:
        try:
            if ask(str(admin), "/ready").strip() == "LIVE":
                return
        except (OSError, http.client.HTTPException):
            pass
        time.sleep(0.05)
    raise RuntimeError("Envoy was not ready")
