"""What every upstream authority does: each implementation runs the same suite."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ringfence.broker.address import Address
from ringfence.broker.nested.above import Above
from ringfence.broker.nested.choice import AboveChoice
from ringfence.broker.upstream import DiskUpstream
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import issuer_key_id, subject_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.profile import new_csr
from ringfence.certs.svid import verify_peer
from ringfence.certs.upstream import Minted, Upstream
from tests.broker.nested.tiers import BELOW, tier
from tests.ca import new_pki
from tests.certs.material import HOUR, TD, TRAINER, new_key
from tests.e2e.spire import running_spire


@dataclass(frozen=True, slots=True)
class Made:
    """An upstream, and what those who trust it see of JWT-SVID keys (None: it has none of them)."""

    upstream: Upstream
    published: Callable[[], Any] | None = None

    async def minted(self, request: bytes, *, ttl: timedelta = HOUR) -> Minted:
        """Off the loop, as servers ask."""
        return await asyncio.to_thread(self.upstream.mint, TD, request, now=now(), ttl=ttl)

    async def authority(self) -> Authority:
        """A server's first authority below it."""
        return await asyncio.to_thread(Authority.create, TD, MemoryKeys(), now=now(), upstream=self.upstream)


def now() -> datetime:
    """What openssl signs begins at the full second, so tests take the real one."""
    return datetime.now(UTC) + timedelta(seconds=1)


@asynccontextmanager
async def disk(folder: Path) -> AsyncIterator[Made]:
    """An operator's files."""
    pki = await asyncio.to_thread(new_pki, folder)
    yield Made(DiskUpstream(pki.signing, pki.key, pki.root))


@asynccontextmanager
async def ringfence(folder: Path) -> AsyncIterator[Made]:
    """A Ringfence server."""
    async with tier(folder) as above:

        async def published() -> set[str]:
            return set((await above.server.bundle()).jwt_authorities)

        yield Made(Above(above.as_above, TD, asyncio.get_running_loop()), published)


@asynccontextmanager
async def spire(folder: Path) -> AsyncIterator[Made]:
    """A SPIRE server."""
    async with running_spire(folder / "spire", TD.name) as above:
        await above.create_entry(BELOW.removeprefix(TD.id), "-downstream")
        await above.agent("api", "fetch", "x509")
        choice = AboveChoice(Address("127.0.0.1", above.port), str(above.agent_socket), "spire")

        async def published() -> set[str]:
            return set(SpiffeBundle.parse(TD, await above.bundle()).jwt_authorities)

        yield Made(Above(choice, TD, asyncio.get_running_loop()), published)


_MAKERS: dict[str, Callable[[Path], AbstractAsyncContextManager[Made]]] = {
    "disk": disk,
    "ringfence": ringfence,
    "spire": spire,
}


@pytest.fixture(params=["disk", "ringfence", pytest.param("spire", marks=[pytest.mark.e2e, pytest.mark.peer])])
async def made(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Made]:
    """One of each kind."""
    async with _MAKERS[request.param](tmp_path) as upstream:
        yield upstream


async def test_what_it_signs_leads_to_its_roots(made: Made) -> None:
    """An SVID of an authority below it verifies by these alone."""
    authority = await made.authority()
    chain = authority.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR)
    assert verify_peer(chain, SpiffeBundle(TD, authority.current.x509.roots), now=now()) == TRAINER


async def test_it_signs_for_the_key_of_the_request_and_names_the_trust_domain(made: Made) -> None:
    """An authority without a path length, in a chain whose links name each other."""
    key = new_key()
    minted = await made.minted(new_csr(key))
    chain = [x509.load_der_x509_certificate(der) for der in (minted.certificate, *minted.above)]
    assert chain[0].public_key() == key.public_key()
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [TD.id]
    constraints = chain[0].extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=None)
    roots = {subject_key_id(x509.load_der_x509_certificate(der)) for der in minted.roots}
    for below, above in pairwise(chain):
        assert issuer_key_id(below) == subject_key_id(above)
    assert issuer_key_id(chain[-1]) in roots


async def test_nothing_outlives_what_is_above_it(made: Made) -> None:
    """Whatever is asked for; and less is given when less is asked for."""
    minted = await made.minted(new_csr(new_key()), ttl=timedelta(days=20_000))
    above = [x509.load_der_x509_certificate(der).not_valid_after_utc for der in (*minted.above, *minted.roots)]
    assert x509.load_der_x509_certificate(minted.certificate).not_valid_after_utc <= min(above)
    short = x509.load_der_x509_certificate((await made.minted(new_csr(new_key()), ttl=HOUR)).certificate)
    assert short.not_valid_after_utc <= now() + HOUR + timedelta(seconds=2)


async def test_a_request_that_its_key_did_not_sign_is_refused(made: Made) -> None:
    """And what is none."""
    sound = new_csr(new_key())
    for wrong in (b"nothing", sound[:-1] + bytes([sound[-1] ^ 1])):
        with pytest.raises(RingfenceError) as caught:
            await made.minted(wrong)
        assert caught.value.kind is Kind.INVALID


async def test_keys_are_known_above_before_they_sign_where_they_are_shared(made: Made) -> None:
    """Elsewhere publishing one does nothing."""
    assert made.upstream.shares is (made.published is not None)
    authority = await made.authority()
    key = authority.current.jwt
    await asyncio.to_thread(made.upstream.publish, key.kid, key.public_key, key.not_after)  # again is no mistake
    if made.published is not None:
        assert key.kid in await made.published()
