"""SPIFFE_Trust_Domain_and_Bundle.md and SPIFFE_Federation.md, by the numbers of the checklist (1.7 and 1.8)."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.address import Address
from ringfence.broker.bell import Bell
from ringfence.broker.config import Web
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.fetch import fetch
from ringfence.broker.federation.relation import Profile, Relation, check_relation
from ringfence.broker.store.engine import Store
from ringfence.certs.authority import Authority
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.rotation import ACTIVATE_AT, PREPARE_AT
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from tests.broker.federation.endpoint import ENDPOINT, THEIRS, authority, by_files, by_svid, page, serving
from tests.broker.server.harness import running_server
from tests.broker.web import WebAuthority, request
from tests.broker.world import TD, Clock

_NOW = datetime.now(UTC)
_KEY = {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"}
_WEAK = "ECDHE-ECDSA-AES128-SHA256"  # CBC, which Mozilla's intermediate list leaves out
_WEB = Relation(THEIRS, "https://b.test/", Profile.WEB)


def _anyone() -> ssl.SSLContext:
    """Somebody without certificate, who believes whatever is shown."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    """An empty one."""
    opened = await Store.open(tmp_path / "store.sqlite3")
    yield opened
    await opened.close()


def document(bundle: SpiffeBundle) -> dict[str, Any]:
    """As published."""
    found: dict[str, Any] = json.loads(bundle.to_json())
    return found


def parse(**members: Any) -> SpiffeBundle:
    """As read."""
    return SpiffeBundle.parse(THEIRS, json.dumps(members).encode())


def federation(store: Store, *texts: bytes) -> Federation:
    """One whose endpoint gives *texts* in turn."""
    answers = list(texts)

    async def endpoint(_: Relation, __: SpiffeBundle | None) -> bytes:
        return answers.pop(0)

    return Federation(lambda: SpiffeBundle(TD), store, Bell(), clock=Clock(), fetch=endpoint)


def test_1_7_1_the_sequence_grows_with_every_change() -> None:
    """An integer of 63 bits at least; each step of an authority is published under a higher one."""
    made = Authority.create(TD, MemoryKeys(), now=_NOW)
    first = document(made.bundle(1))
    made.prepare(_NOW)
    assert first["keys"] != document(made.bundle(2))["keys"]
    assert first["spiffe_sequence"] == 1
    assert parse(keys=[], spiffe_sequence=(1 << 63) - 1).sequence == (1 << 63) - 1


async def test_1_7_1_a_server_counts_its_changes(tmp_path: Path) -> None:
    """Whatever changes the keys is published under a higher number, which a restart does not forget."""
    async with running_server(tmp_path) as server:
        first = await server.bundle()
        await server.parts.trust.replace(lead_seconds=0)
        second = await server.bundle()
        assert second.x509_authorities != first.x509_authorities
        assert second.sequence > first.sequence
    async with running_server(tmp_path) as server:
        assert (await server.bundle()).sequence >= second.sequence


def test_1_7_2_the_refresh_hint_is_whole_seconds() -> None:
    """Published always."""
    assert isinstance(document(authority().bundle(1))["spiffe_refresh_hint"], int)


def test_1_7_3_keys_must_be_there_and_may_be_empty() -> None:
    """Missing: refused. Empty: nothing is valid. Of unknown type or use: that key alone is left out."""
    assert parse(keys=[]) == SpiffeBundle(THEIRS)
    with pytest.raises(RingfenceError):
        parse(spiffe_sequence=1)
    assert parse(keys=[{"kty": "OKP", "use": "jwt-svid", "kid": "a"}, {**_KEY, "use": "sig", "kid": "b"}]) == (
        SpiffeBundle(THEIRS)
    )


def test_1_7_4_type_and_use_are_set_and_read_in_their_case() -> None:
    """No member that the standard does not define; `JWT-SVID` is another use."""
    for key in document(authority().bundle(1))["keys"]:
        assert key["kty"] == "EC"
        assert key["use"] in {"x509-svid", "jwt-svid"}
        assert key.keys() <= {"kty", "crv", "x", "y", "use", "kid", "x5c"}
    assert not parse(keys=[{**_KEY, "use": "JWT-SVID", "kid": "a"}, {**_KEY, "kid": "b"}]).jwt_authorities


def test_1_7_5_other_members_are_let_pass() -> None:
    """And none is needed but the keys."""
    assert parse(keys=[], vendor={"a": 1}) == SpiffeBundle(THEIRS)


def test_1_7_7_without_a_hint_it_is_five_minutes() -> None:
    """Section 6.1."""
    assert parse(keys=[]).refresh_hint == timedelta(minutes=5)


def test_1_7_8_what_is_published_is_strict() -> None:
    """One certificate to an x509-svid key, a kid on every jwt-svid key, no kid on the others."""
    made = authority()
    made.prepare(datetime.now(UTC))
    for key in document(made.bundle(1))["keys"]:
        assert ("x5c" in key, "kid" in key) == ((True, False) if key["use"] == "x509-svid" else (False, True))
        assert len(key.get("x5c", [""])) == 1


@pytest.mark.parametrize("life", [timedelta(hours=24), timedelta(hours=1), timedelta(minutes=10)])
def test_1_8_1_new_keys_are_published_five_refreshes_before_their_use(life: timedelta) -> None:
    """And old ones stay until their last SVID has ended."""
    made = Authority.create(TD, MemoryKeys(), now=_NOW, ca_ttl=life)
    assert 5 * made.bundle(1).refresh_hint <= life * (ACTIVATE_AT - PREPARE_AT)
    made.prepare(_NOW)
    made.activate(_NOW)
    [old] = made.x509.old
    end = old.not_after
    made.prune(end)
    assert old.der in made.bundle(2).x509_authorities
    made.prune(end + timedelta(seconds=1))
    assert old.der not in made.bundle(3).x509_authorities


async def test_1_8_2_the_latest_is_kept_and_domains_are_never_merged(store: Store) -> None:
    """By its sequence; each domain's authorities under its own name."""
    theirs, other = authority(), TrustDomain("c.test")
    made = federation(store, theirs.bundle(2).to_json(), theirs.bundle(1).to_json())
    await made.create(_WEB, None)
    await made.refresh(THEIRS)
    with pytest.raises(RingfenceError):
        await made.refresh(THEIRS)
    await made.set_bundle(authority(other).bundle(1))
    assert made.held[THEIRS].bundle == theirs.bundle(2)
    assert not set(made.held[THEIRS].bundle.x509_authorities) & set(made.held[other].bundle.x509_authorities)


async def test_1_8_3_both_profiles_are_fetched_by_tls_1_2_or_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """https_web and https_spiffe."""
    web, theirs = WebAuthority(), authority()
    await asyncio.to_thread((tmp_path / "roots.pem").write_bytes, web.root())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    by_web = by_files(*await asyncio.to_thread(web.issue, tmp_path, "127.0.0.1"))
    by_id = await asyncio.to_thread(by_svid, tmp_path, theirs)
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        by_web.minimum_version = by_web.maximum_version = version
        by_id.minimum_version = by_id.maximum_version = version
        async with serving([page(b"web")], by_web) as (url, _):
            assert await fetch(replace(_WEB, url=url), None) == b"web"
        async with serving([page(b"id")], by_id) as (url, _):
            assert await fetch(Relation(THEIRS, url, Profile.SPIFFE, ENDPOINT), theirs.bundle(1)) == b"id"


async def test_1_8_3_our_endpoint_speaks_no_weaker_cipher(tmp_path: Path) -> None:
    """Without authenticated encryption there is no connection to it."""
    anyone = _anyone()
    anyone.maximum_version = ssl.TLSVersion.TLSv1_2
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        assert server.running is not None
        address = str(server.running.bundle_endpoint)
        assert (await request(address, "/", tls=anyone)).status == 200
        anyone.set_ciphers(_WEAK)
        with pytest.raises(ssl.SSLError):
            await request(address, "/", tls=anyone)


def test_1_8_4_nothing_is_inferred() -> None:
    """URL, profile and trust domain have no default, and one says nothing of another."""
    assert check_relation(replace(_WEB, url="https://mirror.example/"), TD).trust_domain == THEIRS
    with pytest.raises(TypeError):
        Relation(THEIRS, "https://b.test/")  # type: ignore[call-arg]


@pytest.mark.parametrize("url", ["http://b.test/", "https://user@b.test/", "https://user:word@b.test/", "b.test"])
def test_1_8_5_urls_are_https_without_user(url: str) -> None:
    """And https_web takes no more parameters."""
    with pytest.raises(RingfenceError):
        check_relation(replace(_WEB, url=url), TD)
    with pytest.raises(RingfenceError):
        check_relation(replace(_WEB, endpoint_id=ENDPOINT), TD)


async def test_1_8_5_https_web_checks_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that the system trusts is good for its own names only."""
    web = WebAuthority()
    await asyncio.to_thread((tmp_path / "roots.pem").write_bytes, web.root())
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "roots.pem"))
    for name, serves in (("127.0.0.1", True), ("b.test", False)):
        tls = by_files(*await asyncio.to_thread(web.issue, tmp_path, name))
        async with serving([page(b"web")], tls) as (url, _):
            if serves:
                assert await fetch(replace(_WEB, url=url), None) == b"web"
            else:
                with pytest.raises(RingfenceError, match="does not verify"):
                    await fetch(replace(_WEB, url=url), None)


async def test_1_8_6_the_endpoint_serves_everyone_the_latest_bundle(tmp_path: Path) -> None:
    """No client authentication, UTF-8 as application/json, 405 for other methods."""
    anyone = _anyone()
    async with running_server(tmp_path, bundle_endpoint=Web(Address("127.0.0.1", 0))) as server:
        assert server.running is not None
        address = str(server.running.bundle_endpoint)
        for _ in range(2):
            answer = await request(address, "/", tls=anyone)
            assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
            assert json.loads(answer.body.decode("utf-8"))["spiffe_sequence"] == (await server.bundle()).sequence
            await server.parts.trust.replace(lead_seconds=0)
        assert (await request(address, "/", tls=anyone, method="POST")).status == 405


async def test_1_8_6_redirects_are_followed_and_not_remembered(tmp_path: Path) -> None:
    """The next fetch asks the configured URL again."""
    theirs = authority()
    tls = await asyncio.to_thread(by_svid, tmp_path, theirs)
    async with AsyncExitStack() as stack:
        target, _ = await stack.enter_async_context(serving([page(b"there")], tls))
        moved = page(b"", "302 Found", f"location: {target}")
        url, _ = await stack.enter_async_context(serving([moved, page(b"here")], tls))
        relation = Relation(THEIRS, url, Profile.SPIFFE, ENDPOINT)
        assert await fetch(relation, theirs.bundle(1)) == b"there"
        assert await fetch(relation, theirs.bundle(1)) == b"here"


async def test_1_8_7_https_spiffe_goes_by_exactly_that_id_and_the_latest_bundle(tmp_path: Path, store: Store) -> None:
    """The bootstrap bundle is a SPIFFE bundle; another ID of the domain is not the endpoint."""
    theirs = authority()
    tls = await asyncio.to_thread(by_svid, tmp_path, theirs, SpiffeId(THEIRS, "/other"))
    async with serving([page(b"")], tls) as (url, _):
        with pytest.raises(RingfenceError):
            await fetch(Relation(THEIRS, url, Profile.SPIFFE, ENDPOINT), theirs.bundle(1))
    seen: list[SpiffeBundle | None] = []
    newer = authority().bundle(2)

    async def endpoint(_: Relation, bundle: SpiffeBundle | None) -> bytes:
        seen.append(bundle)
        return newer.to_json()

    made = Federation(lambda: SpiffeBundle(TD), store, Bell(), clock=Clock(), fetch=endpoint)
    bootstrap = SpiffeBundle.parse(THEIRS, theirs.bundle(1).to_json())
    await made.create(Relation(THEIRS, "https://b.test/", Profile.SPIFFE, ENDPOINT), bootstrap)
    await made.refresh(THEIRS)
    await made.refresh(THEIRS)
    assert seen == [bootstrap, newer]


async def test_1_8_8_a_failure_waits_for_the_next_interval_and_an_end_forgets(store: Store) -> None:
    """Sections 6.2 and 6.3."""
    theirs = replace(authority().bundle(1), refresh_hint=timedelta(seconds=77))
    made = federation(store, theirs.to_json(), b"broken")
    await made.create(_WEB, None)
    await made.refresh(THEIRS)
    with pytest.raises(RingfenceError):
        await made.refresh(THEIRS)
    assert made.state(THEIRS).next_at == Clock().now + timedelta(seconds=77)
    assert made.held[THEIRS].bundle == theirs
    await made.delete(THEIRS)
    assert not made.held
