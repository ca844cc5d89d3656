"""The bootstrap of a gRPC library that is its own proxy: where its server, its certificates and its name come from.

What it holds is in gRFC A27, A29, A36, A65 and A87; no secret is among it, only the names of files.
"""

from __future__ import annotations

import ipaddress
import json
import socket
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfence.broker.address import Address
from ringfence.broker.svidfiles.wanted import Wanted
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.locality import NOWHERE, Locality
from ringfence.xds.proxyless.names import PROVIDER, SERVER_TEMPLATE

BUNDLE_MAP = "bundle-map.json"
# A87: callers are then judged by the roots of their own trust domain, and a certificate with two names is refused.
BY_BUNDLE_MAP = {"GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE": "true"}
_REFRESH = "1s"  # a file that is read anew costs little, and a certificate that was taken back is soon out of use


@dataclass(frozen=True, slots=True)
class Bootstrap:
    """What a bootstrap is written from. `files` is the folder that `ringfence svid write` keeps."""

    servers: Sequence[str]  # HOST:PORT, the first is asked first
    node_id: str
    files: Path
    spiffe_id: str = ""  # a claim, which the server checks; empty claims nothing
    inbound: Mapping[str, str] = field(default_factory=dict)  # port name to the HOST:PORT at which others reach it
    wanted: Wanted = field(default_factory=lambda: Wanted(bundle_map=BUNDLE_MAP))
    locality: Locality = NOWHERE

    def __post_init__(self) -> None:
        if not (self.wanted.cert and self.wanted.key and self.wanted.bundle):
            raise RingfenceError(Kind.INVALID, "gRPC needs a certificate, a key and a bundle", hint="Name all three")
        if not all(self.servers):
            raise RingfenceError(Kind.INVALID, "no server is named", hint="--server HOST:PORT")

    def text(self) -> str:
        """The JSON for GRPC_XDS_BOOTSTRAP."""
        return json.dumps(self._fields(), indent=1, sort_keys=True) + "\n"

    def _fields(self) -> dict[str, Any]:
        tls = {"type": "tls", "config": self._files()}
        return {
            "xds_servers": [
                {"server_uri": f"dns:///{server}", "channel_creds": [tls], "server_features": ["xds_v3"]}
                for server in self.servers
            ],
            "node": {
                "id": self.node_id,
                "cluster": self.spiffe_id,
                "metadata": {"ringfence": {"inbound": dict(self.inbound)}},
                **({"locality": where} if (where := self.locality.fields()) else {}),
            },
            "certificate_providers": {
                PROVIDER: {"plugin_name": "file_watcher", "config": self._files() | self._bundle_map()}
            },
            "server_listener_resource_name_template": SERVER_TEMPLATE,
        }

    def _files(self) -> dict[str, str]:
        return {
            "certificate_file": str(self.files / self.wanted.cert),
            "private_key_file": str(self.files / self.wanted.key),
            "ca_certificate_file": str(self.files / self.wanted.bundle),
            "refresh_interval": _REFRESH,
        }

    def _bundle_map(self) -> dict[str, str]:
        name = self.wanted.bundle_map
        return {"spiffe_bundle_map_file": str(self.files / name)} if name else {}


def parse_serve(texts: Iterable[str]) -> dict[str, str]:
    """`PORT=IP:NUMBER` by port name; raises INVALID for what others cannot be sent to."""
    found: dict[str, str] = {}
    for text in texts:
        name, _, at = text.partition("=")
        if not (name and _is_one_address(at)) or name in found:
            raise RingfenceError(
                Kind.INVALID,
                f"--serve {text}: no PORT=IP:NUMBER, each port once",
                hint="Name the address at which others reach it, as rpc=10.0.0.7:8081",
            )
        found[name] = at
    return found


def node_of_host() -> str:
    """A node id for one process: gRPC's library makes none."""
    return f"{socket.gethostname()}/{uuid.uuid4()}"


def _is_one_address(text: str) -> bool:
    try:
        address = Address.parse(text, flag="--serve")
        return not ipaddress.ip_address(address.host).is_unspecified and address.port > 0
    except (RingfenceError, ValueError):
        return False
