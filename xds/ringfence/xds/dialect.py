"""What tells kinds of xDS streams apart: the types that they serve, in which order, and what they leave unsaid."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ringfence.xds.types import CLUSTER, ENDPOINT, EXTENSION_CONFIG, LISTENER, PUSH_ORDER, ROUTE, SECRET, WILDCARD


@dataclass(frozen=True, slots=True)
class Dialect:
    """What a stream serves and how: `ADS` for proxies, `GRPC` for libraries, `SDS` for secrets."""

    order: tuple[str, ...]  # the types served, in the order in which changes are pushed
    removals: tuple[str, ...]  # and in that of removals: what refers goes before what it refers to
    everything: frozenset[str]  # types of which a client that never named any gets all
    whole: frozenset[str] = frozenset()  # SotW types whose response is the whole state: what is missing is deleted
    held_back: frozenset[str] = frozenset()  # types that others refer to: their removals are pushed last
    # Types of which no response holds two. Envoy does not say which of several policies its filter refused, and accepts
    # the same bytes when they come again, without using them: who is to blame has to be clear the first time.
    single: frozenset[str] = frozenset()
    # Incremental types whose named resources a reconnected client is not sent again in the version that it brings. Not
    # endpoints: a cluster that was warming when the stream broke waits for them, whatever the client holds.
    resumed: frozenset[str] = frozenset()
    says_missing: bool = False  # whether names asked for in vain are named in the answer (xRFC TP3)
    implicit: str = ""  # the type of a request that names none, on a stream that serves one
    # Called with names that a request adds and the snapshot lacks; what it raises ends the stream.
    on_missing: Callable[[str, frozenset[str]], None] | None = None


ADS = Dialect(
    order=tuple(url for url in PUSH_ORDER if url != SECRET),
    removals=(LISTENER, ROUTE, EXTENSION_CONFIG, CLUSTER, ENDPOINT),
    everything=WILDCARD,
    whole=WILDCARD,
    held_back=frozenset({CLUSTER}),
    single=frozenset({EXTENSION_CONFIG}),
    says_missing=True,
    resumed=frozenset({CLUSTER, LISTENER, ROUTE, EXTENSION_CONFIG}),
)
# gRPC asks for every resource by its name, and knows no policies beside routes and listeners (gRFC A27).
GRPC = Dialect(
    order=tuple(url for url in ADS.order if url != EXTENSION_CONFIG),
    removals=(LISTENER, ROUTE, CLUSTER, ENDPOINT),
    everything=frozenset(),
    whole=WILDCARD,
    held_back=frozenset({CLUSTER}),
    says_missing=True,
)
SDS = Dialect(order=(SECRET,), removals=(SECRET,), everything=frozenset({SECRET}), implicit=SECRET)
