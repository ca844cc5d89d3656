"""Random rules, callers and requests for judges to be compared by.

To compare by something new: a condition of rules goes into `CONDITIONS`, what requests have into `Asked`, and a kind of
certificate into `CERTIFICATES`. A test holds that no condition of the language is missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from hypothesis import strategies as st

from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import NOBODY, RevokedCaller, Source
from ringfence.policy.evaluate import Request, Verdict, evaluate
from ringfence.policy.headers import HeaderMatch
from ringfence.policy.identities import Ranks
from ringfence.policy.model import (
    Destination,
    Effect,
    HttpMatch,
    Mesh,
    Mode,
    Model,
    Origin,
    Port,
    Protocol,
    Rule,
    Workload,
)
from ringfence.policy.paths import PathPattern
from tests.policy.intent import NOW

DOMAIN, FOREIGN = TrustDomain("example.test"), TrustDomain("example.test.evil")
HERE = Origin("intent.yaml", 1)
NONE = timedelta(0)
SERVER = "shared/server"
_NAMESPACES, _NAMES = ("team-a", "team-b", "team-a-b"), ("trainer", "notebook")


def identity(namespace: str, name: str, domain: TrustDomain = DOMAIN) -> SpiffeId:
    """The identity of a workload."""
    return SpiffeId(domain, f"/ns/{namespace}/sa/{name}")


IDENTITIES = tuple(identity(namespace, name) for namespace in _NAMESPACES for name in _NAMES)

# Jobs, of which one's name begins as the other's does, and names that are ranks of them or only look so.
JOBS = (Ranks(DOMAIN, "team-a", "llm"), Ranks(DOMAIN, "team-a", "llm2"))
RANKS = (JOBS[0].rank(1), JOBS[0].rank(12), JOBS[1].rank(1))
LOOKALIKES = tuple(SpiffeId(DOMAIN, f"{JOBS[0].path}{rest}") for rest in ("01", "1a", "1/x", "1000000"))

# What a caller's certificate may say, by the URIs in it; only one of ours with one name is an identity.
CERTIFICATES: Mapping[str, tuple[str, ...]] = {
    **{str(one).removeprefix(f"{DOMAIN.id}/ns/"): (str(one),) for one in IDENTITIES},
    **{str(one).removeprefix(f"{DOMAIN.id}/ns/"): (str(one),) for one in (*RANKS, *LOOKALIKES)},
    "two, one a rank": (str(RANKS[0]), str(IDENTITIES[0])),
    "two ranks": (str(RANKS[0]), str(RANKS[1])),
    "a rank of elsewhere": (str(Ranks(FOREIGN, "team-a", "llm").rank(1)),),
    "two of one namespace": (str(IDENTITIES[0]), str(IDENTITIES[1])),
    "two of two namespaces": (str(IDENTITIES[0]), str(IDENTITIES[2])),
    "two, one foreign": (str(IDENTITIES[0]), str(identity("team-a", "trainer", FOREIGN))),
    "two, one of the web": (str(IDENTITIES[0]), "https://example.test/team-a"),
    "foreign": (str(identity("team-a", "trainer", FOREIGN)),),
    "no path": (DOMAIN.id,),
    "no workload": (f"{DOMAIN.id}/ringfence/agent/x",),
    "with a newline": (f"{IDENTITIES[0]}\n",),
    "too long a name": (f"{IDENTITIES[0]}x",),
}

# Paths that have one reading, and paths that some server would make another one of.
PLAIN = (
    "/pkg.Models/Get",
    "/pkg.Models/Put",
    "/pkg.Models/Get/deep",
    "/pkg.Models",
    "/pkg.Admin/Get",
    "/Pkg.models/get",
)
TRICKS = (
    *("//pkg.Models/Get", "/pkg.Models//Get", "/pkg.Models/./Get", "/pkg.Admin/../pkg.Models/Get", "/pkg.Models/Get/"),
    *("/pkg.Models/%47et", "/pkg.Models%2FGet", "/pkg.Models/Get?x=/pkg.Admin/Get", "/pkg.Models/Get%3Fx", "/"),
    *("/pkg.Admin/..;/pkg.Models/Get", "/pkg.Models/Get;v=1", "/pkg.Models\\Get", "/pkg.Models/%2e%2e/pkg.Admin/Get"),
    *("/pkg.Models/%00", "/pkg.Models/Get%", "/pkg.Models/.hidden", "/pkg.Models/Get#x"),
)
_PATTERNS = ("/pkg.Models/Get", "/pkg.Models/*", "/pkg.Models/**", "/**", "/pkg.Admin/*", "/*/Get", "/pkg.Models")

_HEADERS = (HeaderMatch("x-role", exact="ro"), HeaderMatch("x-role", prefix="r"), HeaderMatch("x-team"))
# What a caller may send of them: one line, several, several in one, some of no ASCII, none.
LINES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "none": (),
    "one": (("x-role", "ro"),),
    "another": (("x-role", "rw"), ("x-team", "a")),
    "two lines": (("x-role", "ro"), ("x-role", "rw")),
    "two in one": (("x-role", "rw , ro"), ("x-team", "")),
    "in another case": (("x-role", "RO"),),
    "after what is not ASCII": (("x-role", "\xff"), ("x-role", "ro")),
}

# What a rule may ask of requests, by field of HttpMatch; each must be able to be empty.
CONDITIONS: Mapping[str, st.SearchStrategy[Any]] = {
    "methods": st.frozensets(st.sampled_from(["GET", "POST", "PUT"]), max_size=2),
    "paths": st.lists(st.sampled_from(_PATTERNS).map(PathPattern), max_size=2, unique=True).map(tuple),
    "headers": st.lists(st.sampled_from(_HEADERS), max_size=2, unique=True).map(tuple) | st.just(()) | st.just(()),
}
SOURCES = st.one_of(
    st.sampled_from(IDENTITIES).map(lambda one: Source(one, None)),
    st.sampled_from(JOBS).map(lambda ranks: Source(ranks, None)),
    st.sampled_from(_NAMESPACES).map(lambda name: Source(None, name)),
    st.just(Source(None, None)),
)
MATCHES = st.builds(HttpMatch, **CONDITIONS)
SERIALS = ("00" * 15 + "7f", "0a" * 16)
_TAKEN_BACK = st.builds(
    RevokedCaller, st.booleans(), st.frozensets(st.sampled_from(SERIALS), min_size=1), st.integers(0, 9)
)
_SOMEBODY = st.dictionaries(st.sampled_from((*IDENTITIES, *RANKS)).map(str), _TAKEN_BACK, min_size=1, max_size=2)
REVOKED = st.just(NOBODY) | _SOMEBODY


@dataclass(frozen=True)
class Asked:
    """One request: whose certificate (by its name in CERTIFICATES), and what is asked."""

    certificate: str
    method: str
    path: str
    lines: str = "none"  # of headers, by their name in LINES

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """Every line that is sent beside those of any request."""
        return LINES[self.lines]


# What is asked, by field of Asked but the certificate.
REQUESTS: Mapping[str, st.SearchStrategy[str]] = {
    "method": st.sampled_from(["POST", "POST", "GET"]),
    "path": st.sampled_from(PLAIN) | st.sampled_from(TRICKS),
    "lines": st.sampled_from(sorted(LINES)),
}
_SHOWN = st.sampled_from(sorted(CERTIFICATES))
ASKED = st.builds(Asked, _SHOWN, **REQUESTS)


@st.composite
def questions(draw: st.DrawFn, callers: int, each: int, also: Sequence[str] = ()) -> list[Asked]:
    """*each* requests of *callers* certificates and of those that are called *also*.

    A connection is dearer than what is asked on it.
    """
    shown = [*also, *draw(st.lists(_SHOWN, min_size=callers, max_size=callers, unique=True))]
    asked = [st.lists(st.builds(Asked, st.just(one), **REQUESTS), min_size=each, max_size=each) for one in shown]
    return [one for some in asked for one in draw(some)]


@st.composite
def rules(draw: st.DrawFn, port: str = "rpc", most: int = 5) -> tuple[Rule, ...]:
    """Some rules for one port, sorted by id as a model has them; few are in shadow mode, few have ended."""
    return tuple(
        Rule(
            "team",
            f"{port}-{number}",
            draw(st.sampled_from((Effect.ALLOW, Effect.ALLOW, Effect.DENY))),
            draw(st.sampled_from((Mode.ENFORCE,) * 5 + (Mode.SHADOW,))),
            draw(st.lists(SOURCES, min_size=1, max_size=2, unique=True).map(tuple)),
            (Destination(SERVER, port),),
            draw(st.lists(MATCHES, max_size=2).map(tuple)),
            "owner",
            "reason",
            draw(st.sampled_from((None,) * 6 + (NOW - timedelta(days=1), NOW + timedelta(days=1)))),
            f"{number:012x}",
            HERE,
        )
        for number in range(draw(st.integers(0, most)))
    )


def model_of(
    some: tuple[Rule, ...],
    ports: Mapping[str, int],
    protocol: Protocol,
    revoked: Mapping[str, RevokedCaller] = NOBODY,
) -> Model:
    """A model of one workload that serves *ports*, all of one protocol, under these rules."""
    serves = tuple(Port(name, number, protocol) for name, number in ports.items())
    path = SpiffeId(DOMAIN, f"/ns/{SERVER.replace('/', '/sa/')}")
    server = Workload("shared", "server", "other", path, (), serves, (), NONE, NONE, (), HERE)
    return Model(Mesh(DOMAIN, NONE, NONE), {SERVER: server}, {}, tuple(sorted(some, key=lambda r: r.id)), "r", revoked)


def expected(model: Model, port: str, asked: Asked) -> Verdict | None:
    """What the evaluator says; None where the certificate is no identity, which nobody lets in."""
    uris = CERTIFICATES[asked.certificate]
    try:
        (caller,) = map(SpiffeId.parse, uris)
    except (ValueError, RingfenceError):
        return None
    if not caller.path:
        return None
    return evaluate(model, Request(caller, SERVER, port, NOW, asked.method, asked.path, headers=LINES[asked.lines]))
