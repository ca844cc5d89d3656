"""CPU that SPIRE's server spends on an SVID when its agent renews hundreds: what `issue_batch` is of ours."""

from __future__ import annotations

import json
import time
import urllib.request

from perf import spire
from perf.stand import TRUST_DOMAIN, cpu_seconds, free_address

ENTRIES = 500  # as many as SPIRE's agent asks for at once
_TTL = 20  # seconds; its agent renews at half of it, when it next looks
_IDLE_SECONDS, _SECONDS = 6.0, 30.0
_COUNTER = "spire_server_server_ca_sign_x509_svid"


def microseconds() -> float:
    """An SVID, without what the server uses when nobody asks for any; its counter says how many it signed."""
    address = free_address()
    host, _, port = address.rpartition(":")
    more = f'telemetry {{ Prometheus {{ host = "{host}" port = {port} }} }}\n'
    with spire.spire(server=more) as peer:
        idle = _spent(peer, _IDLE_SECONDS) / _IDLE_SECONDS
        _create(peer)
        while _signed(address) < ENTRIES:
            time.sleep(0.2)
        before = _signed(address)
        spent = _spent(peer, _SECONDS) - idle * _SECONDS
        return spent / (_signed(address) - before) * 1e6


def _spent(peer: spire.Spire, seconds: float) -> float:
    before = cpu_seconds(peer.server_pid)
    time.sleep(seconds)
    return cpu_seconds(peer.server_pid) - before


def _create(peer: spire.Spire) -> None:
    entries = [
        {
            "spiffe_id": f"spiffe://{TRUST_DOMAIN}/ns/perf/sa/w{number}",
            "parent_id": spire.AGENT_ID,
            "selectors": [{"type": "unix", "value": f"uid:{number}"}],
            "x509_svid_ttl": _TTL,
        }
        for number in range(ENTRIES)
    ]
    file = peer.folder / "entries.json"
    file.write_text(json.dumps({"entries": entries}), encoding="utf-8")
    peer.command("entry", "create", "-data", str(file))


def _signed(address: str) -> int:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as page:
        lines = page.read().decode().splitlines()
    return int(float(next((line.split()[-1] for line in lines if line.startswith(_COUNTER)), "0")))
