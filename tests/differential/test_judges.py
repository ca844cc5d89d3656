"""The evaluator, a real Envoy and a real gRPC server judge the same: any rules, any certificate, any path (T9)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from ringfence.policy.callers import RevokedCaller
from ringfence.policy.model import Protocol, Rule
from tests.differential.bench import ENVOY, GRPC, Bench, bench
from tests.differential.cases import CERTIFICATES, REVOKED, Asked, expected, model_of, questions, rules
from tests.differential.divergences import Case, explained

pytestmark = [
    pytest.mark.envoy,
    pytest.mark.slow,
    pytest.mark.xdist_group("differential"),
    pytest.mark.filterwarnings("ignore::hypothesis.errors.HypothesisWarning"),  # of how long a world is, written out
]

PORTS = ("p0", "p1", "p2", "p3", "p4", "p5")
PROTOCOLS = {ENVOY: Protocol.HTTP, GRPC: Protocol.GRPC}
_WORLDS = 8
_SETTLES = 3.0  # seconds


@pytest.fixture(scope="module")
def judges(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One Envoy and one gRPC server for every world."""
    with bench(tmp_path_factory.mktemp("d"), PORTS) as running:
        running.start(
            {side: running.compiled(side, model_of((), running.ports[side], PROTOCOLS[side])) for side in PROTOCOLS}
        )
        running.wait_listening()
        yield running


@dataclass(frozen=True, repr=False)
class World:
    """The rules of each port, who is revoked, and what each port is asked."""

    rules: tuple[tuple[Rule, ...], ...]
    revoked: Mapping[str, RevokedCaller]
    asked: tuple[list[Asked], ...]

    def __repr__(self) -> str:
        return "a world"  # of 40 KB, when written out; what differs is in the error


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """Some rules a port; in every second world somebody is revoked, who then calls each of them."""
    revoked = draw(REVOKED)
    gone = [name for name, uris in CERTIFICATES.items() if len(uris) == 1 and uris[0] in revoked]
    asked = tuple(draw(questions(callers=4, each=12, also=gone)) for _ in PORTS)
    return World(tuple(draw(rules(port)) for port in PORTS), revoked, asked)


def faults(
    judges: Bench,
    side: str,
    port: str,
    cases: Sequence[Case],
    wanted: Sequence[bool],
) -> list[str]:
    """What that side says otherwise than is expected, and than is listed."""
    found = judges.ask(side, port, [case.asked for case in cases])
    return [
        f"{side} {'lets in' if let_in else 'refuses'} {case.asked} by {[rule.id for rule in case.rules]}"
        for case, let_in, expect in zip(cases, found, wanted, strict=True)
        if not (let_in == expect if side == ENVOY else explained(case, grpc=let_in, evaluator=expect))
    ]


@settings(
    max_examples=_WORLDS,
    phases=(Phase.explicit, Phase.generate),  # a world is too big to be shrunk by pushing it a thousand times
    suppress_health_check=list(HealthCheck),
)
@given(world=worlds())
def test_all_three_say_the_same(judges: Bench, world: World) -> None:
    """A push is a world of several ports, and each is asked at once: what differs must be listed in docs/grpc.md."""
    every = tuple(rule for some in world.rules for rule in some)
    models = {side: model_of(every, _numbers(judges, side), kind, world.revoked) for side, kind in PROTOCOLS.items()}
    for side, model in models.items():
        judges.push(side, judges.compiled(side, model))
    assert judges.plane.nacks == []
    for port, some, asked in zip(PORTS, world.rules, world.asked, strict=True):
        cases = [Case(one, some, world.revoked) for one in asked]
        for side, model in models.items():
            wanted = [bool((verdict := expected(model, port, one)) and verdict.allowed) for one in asked]
            assert not _settled(partial(faults, judges, side, port, cases, wanted))


def _settled(look: Callable[[], list[str]]) -> list[str]:
    """What *look* still finds after a while: an acknowledged change is with Envoy's worker a moment later."""
    end = time.monotonic() + _SETTLES
    while (found := look()) and time.monotonic() < end:
        threading.Event().wait(0.02)
    return found


def _numbers(judges: Bench, side: str) -> dict[str, int]:
    """Where the application of each port is; gRPC's is the process itself."""
    return dict.fromkeys(PORTS, judges.app) if side == ENVOY else judges.ports[side]
