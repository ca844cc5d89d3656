"""What every node attestor does: each implementation runs the same suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest.join_token import JoinTokens
from ringfence.broker.attest.k8s_psat import PsatAttestor
from ringfence.broker.attest.node_port import NONCE_BYTES, Asked, Evidence, NodeAttestor, Proven
from ringfence.broker.attest.tpm_devid import TpmDevidAttestor
from ringfence.broker.attest.x509pop import X509PopAttestor
from ringfence.broker.store.engine import Store
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.possession import challenge, possess
from ringfence.certs.profile import new_csr
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId
from tests.broker.attest.agent_pod import AgentPod
from tests.broker.attest.devid import opened, shown
from tests.certs.factory import Ca
from tests.certs.material import NOW, TD, new_key
from tests.certs.tpm.paper import PaperTpm

CSR = new_csr(new_key())
_CA = Ca()
_DEVICE = new_key()
_LEAF = _CA.issue(_DEVICE)


@dataclass(frozen=True, slots=True)
class Case:
    """An attestor, good evidence for it, and how to spoil that."""

    attestor: NodeAttestor
    good: Callable[[], Awaitable[Evidence]]
    spoil: Callable[[Evidence], Evidence]
    empty: Any  # branch of the message


def _token_case(store: Store, _: pytest.FixtureRequest) -> Case:
    tokens = JoinTokens(store, clock=lambda: NOW)

    async def good() -> Evidence:
        return Evidence((await tokens.generate(60))[0], CSR, b"")

    return Case(tokens, good, lambda evidence: replace(evidence, given=evidence.given + "x"), "")


def _certificate_case(_: Store, __: pytest.FixtureRequest) -> Case:
    async def good() -> Evidence:
        nonce = bytes(NONCE_BYTES)
        signature = possess(_DEVICE, challenge(TD, nonce, CSR))
        return Evidence(pb.X509Pop(chain=[_LEAF], signature=signature), CSR, nonce)

    attestor = X509PopAttestor(TD, lambda: (_CA.certificate,), clock=lambda: NOW)
    return Case(attestor, good, lambda evidence: replace(evidence, csr=new_csr(new_key())), pb.X509Pop())


def _devid_case(_: Store, __: pytest.FixtureRequest) -> Case:
    tpm, roots = PaperTpm(_CA), (_CA.certificate,)
    attestor = TpmDevidAttestor(TD, lambda: roots, lambda: roots, clock=lambda: NOW)

    async def good() -> Evidence:
        nonce = bytes(NONCE_BYTES)
        found = tpm.evidence(_CA, _DEVICE, challenge(TD, nonce, CSR, attestor=attestor.name))
        asked = await attestor.prove(Evidence(shown(found), CSR, nonce))
        assert isinstance(asked, Asked)
        return opened(tpm, asked, CSR)

    return Case(attestor, good, lambda evidence: replace(evidence, csr=new_csr(new_key())), pb.TpmDevid())


def _pod_case(_: Store, request: pytest.FixtureRequest) -> Case:
    agent = AgentPod.of(request.getfixturevalue("kubernetes"))

    async def good() -> Evidence:
        return Evidence(pb.K8sPsat(cluster="test", token=agent.token()), CSR, b"")

    def spoil(evidence: Evidence) -> Evidence:
        return replace(evidence, given=pb.K8sPsat(cluster="test", token=evidence.given.token + "x"))

    return Case(PsatAttestor([agent.cluster()]), good, spoil, pb.K8sPsat(cluster="test"))


_CASES = {
    "join_token": _token_case,
    "x509pop": _certificate_case,
    "k8s_psat": _pod_case,
    "tpm_devid": _devid_case,
}
_K8S = (pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes"))


@pytest.fixture(params=[pytest.param(name, marks=_K8S if name == "k8s_psat" else ()) for name in _CASES])
async def case(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Case]:
    """One of each kind, on a store of its own."""
    store = await Store.open(tmp_path / "store.sqlite3")
    yield _CASES[request.param](store, request)
    await store.close()


async def test_good_evidence_names_a_node(case: Case) -> None:
    """The name is a segment of a SPIFFE ID, and what is proved can be spelled in an entry."""
    proven = await case.attestor.prove(await case.good())
    assert isinstance(proven, Proven)
    assert SpiffeId(TD, f"/ringfence/agent/{case.attestor.name}/{proven.name}").is_reserved
    assert [Selector.parse(str(selector)) for selector in proven.selectors] == sorted(proven.selectors)


async def test_its_name_is_the_branch_of_the_message(case: Case) -> None:
    """So that the server finds it by what an agent sent."""
    assert case.attestor.name in pb.AttestRequest.DESCRIPTOR.fields_by_name


async def test_spoilt_evidence_is_refused_and_shows_nothing(case: Case) -> None:
    """UNAUTHENTICATED, without the evidence in the words."""
    spoilt = case.spoil(await case.good())
    with pytest.raises(RingfenceError) as caught:
        await case.attestor.prove(spoilt)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert str(spoilt.given) not in str(caught.value)
    assert str(spoilt.given) not in repr(spoilt)


async def test_no_evidence_is_refused(case: Case) -> None:
    """An empty branch proves nothing."""
    empty = Evidence(case.empty, CSR, bytes(NONCE_BYTES))
    with pytest.raises(RingfenceError) as caught:
        await case.attestor.prove(empty)
    assert caught.value.kind is Kind.UNAUTHENTICATED


async def test_the_same_evidence_again_is_the_same_node_or_refused(case: Case) -> None:
    """As the attestor says of itself; of many at once, too."""
    evidence = await case.good()
    results = await asyncio.gather(*(case.attestor.prove(evidence) for _ in range(5)), return_exceptions=True)
    good = [result for result in results if not isinstance(result, BaseException)]
    assert len(good) == (5 if case.attestor.can_reattest else 1)
    assert len({proven.name for proven in good}) == 1
