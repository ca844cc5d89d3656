"""A first snapshot of every type and streams whose client has taken all of it, for the lines of the xDS protocol."""

from __future__ import annotations

from ringfence.xds.delta import DeltaStream
from ringfence.xds.discovery import DeltaRequest, Out, SotwRequest
from ringfence.xds.snapshot import Snapshot
from ringfence.xds.sotw import SotwStream
from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, ROUTE
from tests.xds.streams import resource, snapshot

FIRST = snapshot(
    (CLUSTER, resource(CLUSTER, "c", needs=[(ENDPOINT, "c")])),
    (ENDPOINT, resource(ENDPOINT, "c")),
    (ENDPOINT, resource(ENDPOINT, "d")),
    (LISTENER, resource(LISTENER, "l", needs=[(ROUTE, "r"), (EXTENSION_CONFIG, "e")])),
    (ROUTE, resource(ROUTE, "r")),
    (EXTENSION_CONFIG, resource(EXTENSION_CONFIG, "e")),
)


def changed(*pairs: tuple[str, str], without: tuple[tuple[str, str], ...] = ()) -> Snapshot:
    """FIRST with the content of some resources changed or added, and some left out."""
    return Snapshot.of(
        [
            (url, resource(url, name, "2", r.needs) if (url, name) in pairs else r)
            for url, all_named in FIRST.resources.items()
            for name, r in all_named.items()
            if (url, name) not in without
        ]
        + [(url, resource(url, name, "2")) for url, name in pairs if name not in FIRST.named(url)],
        "r2",
    )


def ack(out: Out, *names: str) -> SotwRequest:
    """The request that accepts a SotW response."""
    return SotwRequest(out.type_url, names, out.nonce, out.version)


def running() -> SotwStream:
    """A stream whose client has taken all of FIRST."""
    stream = SotwStream()
    wants = {CLUSTER: (), ENDPOINT: ("c",), LISTENER: (), ROUTE: ("r",), EXTENSION_CONFIG: ("e",)}
    for url, names in wants.items():
        for out in stream.receive(SotwRequest(url, names), FIRST):
            assert stream.receive(ack(out, *names), FIRST) == []
    assert set(stream.acked) == set(wants)
    return stream


def running_delta() -> DeltaStream:
    """The same in the incremental variant."""
    stream = DeltaStream()
    wants = {CLUSTER: (), ENDPOINT: ("c",), LISTENER: (), ROUTE: ("r",), EXTENSION_CONFIG: ("e",)}
    for url, names in wants.items():
        for out in stream.receive(DeltaRequest(url, names), FIRST):
            assert stream.receive(DeltaRequest(url, nonce=out.nonce), FIRST) == []
    assert set(stream.acked) == set(wants)
    return stream
