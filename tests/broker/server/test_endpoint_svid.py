"""Which SVID the bundle endpoint shows: one that partners can verify, for as long as that is to be trusted."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from types import SimpleNamespace

from ringfence.broker.server.endpoint_svid import EndpointSvid, Shown
from tests.broker.world import Clock

HOUR = timedelta(hours=1)


@dataclass
class Endpoint:
    """One whose contexts are known by the SVID that they were made of."""

    clock: Clock = field(default_factory=Clock)
    trust: SimpleNamespace = field(
        default_factory=lambda: SimpleNamespace(issuers=frozenset({"old", "new"}), tainted=frozenset())
    )
    made: dict[int, bytes] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.svid = EndpointSvid(self.trust, self._load, self.clock)  # type: ignore[arg-type]  # all that is read

    def offer(self, name: str, issuer: str) -> None:
        """An SVID of an hour."""
        now: datetime = self.clock()
        self.svid.offer(Shown(name.encode(), issuer, now, now + HOUR))

    @property
    def shows(self) -> str:
        """The SVID."""
        return self.made[id(self.svid.context())].decode()

    def _load(self, pem: bytes) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.made[id(context)] = pem
        return context


def test_a_newer_one_by_the_same_authority_is_shown_at_once() -> None:
    """And the context is one and the same until then."""
    endpoint = Endpoint()
    endpoint.offer("a", "old")
    assert endpoint.svid.context() is endpoint.svid.context()
    assert endpoint.shows == "a"
    endpoint.offer("b", "old")
    assert endpoint.shows == "b"


def test_one_by_a_new_authority_waits_until_the_old_one_is_about_to_end() -> None:
    """Whether or not anybody looked before, and however many come meanwhile."""
    endpoint = Endpoint()
    endpoint.offer("a", "old")
    endpoint.offer("b", "new")
    assert endpoint.shows == "a"
    endpoint.clock.turn(minutes=30)
    endpoint.offer("c", "new")
    endpoint.clock.turn(minutes=23)
    assert endpoint.shows == "a"
    endpoint.clock.turn(minutes=1)
    assert endpoint.shows == "c"


def test_an_authority_that_left_the_bundle_is_shown_no_more() -> None:
    """It was revoked, or has ended."""
    endpoint = Endpoint()
    endpoint.offer("a", "old")
    endpoint.offer("b", "new")
    endpoint.trust.issuers = frozenset({"new"})
    assert endpoint.shows == "b"


def test_a_tainted_authority_is_shown_no_more() -> None:
    """Somebody else may have its key, and could answer as we do."""
    endpoint = Endpoint()
    endpoint.offer("a", "old")
    endpoint.offer("b", "new")
    endpoint.trust.tainted = frozenset({"old"})
    assert endpoint.shows == "b"
