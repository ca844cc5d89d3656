"""Which server is above this one, as the options name it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ringfence.broker.address import Address
from ringfence.broker.entry import SERVER_PATH, SPIRE_SERVER_PATH
from ringfence.certs.errors import Kind, RingfenceError

# The path of the SVID that each kind of server shows.
SERVER_PATHS = {"ringfence": SERVER_PATH, "spire": SPIRE_SERVER_PATH}


@dataclass(frozen=True, slots=True)
class AboveChoice:
    """Where the server above listens, of which kind it is, and the Workload API of an agent of its, as path or URI.

    `spiffe_id` says which of the SVIDs there is ours; empty: the first.
    """

    server: Address
    socket: str
    kind: str = "ringfence"
    spiffe_id: str = ""

    @property
    def server_path(self) -> str:
        """The path of the only identity that is taken for that server."""
        return SERVER_PATHS[self.kind]


def above_of(given: Mapping[str, Any]) -> AboveChoice | None:
    """The server that the options name, or none; raises INVALID for options that do not go together."""
    server, socket = given.get("upstream_server"), given.get("upstream_socket")
    if not server and not socket:
        return None
    if not server or not socket:
        raise _invalid("--upstream-server and --upstream-socket come together")
    if given.get("upstream_cert"):
        raise _invalid("--upstream-server and --upstream-cert are two upstreams; there is one")
    return AboveChoice(
        Address.parse(server, flag="--upstream-server"),
        socket,
        given.get("upstream_kind", "ringfence"),
        given.get("upstream_spiffe_id", ""),
    )


def _invalid(detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint="See docs/upstream-ringfence.md")
