"""Fetching: who the endpoint has to be, and what it may answer."""

from __future__ import annotations

import asyncio
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker.federation import fetch as module
from ringfence.broker.federation.fetch import fetch
from ringfence.broker.federation.relation import Profile, Relation
from ringfence.certs.bundle import MAX_BUNDLE_BYTES, SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import id_of_verified
from tests.broker.federation.endpoint import ENDPOINT, THEIRS, authority, by_files, by_svid, page, serving
from tests.broker.web import WebAuthority

BODY = b'{"keys": []}'


def spiffe(url: str, endpoint_id: SpiffeId = ENDPOINT) -> Relation:
    """A relation by https_spiffe."""
    return Relation(THEIRS, url, Profile.SPIFFE, endpoint_id)


async def refusal(relation: Relation, bundle: SpiffeBundle | None) -> RingfenceError:
    """Why nothing is fetched."""
    with pytest.raises(RingfenceError) as caught:
        await fetch(relation, bundle, patience=30)
    return caught.value


async def test_https_spiffe_takes_the_endpoint_of_that_id(tmp_path: Path) -> None:
    """By its own trust domain's bundle, whatever its host is called."""
    theirs = authority()
    tls = await asyncio.to_thread(by_svid, tmp_path, theirs)
    async with serving([page(BODY)], tls) as (url, asked):
        assert await fetch(spiffe(url + "bundle?v=1"), theirs.bundle(1)) == BODY
    assert asked == ["GET /bundle?v=1 HTTP/1.1"]


async def test_https_spiffe_refuses_every_other_endpoint(tmp_path: Path) -> None:
    """Another ID of the same domain, the same ID by another authority, and anybody while no authority is known."""
    theirs = authority()
    workload = SpiffeId(THEIRS, "/ns/a/sa/workload")
    tls = await asyncio.to_thread(by_svid, tmp_path, theirs, workload)
    async with serving([page(BODY)], tls) as (url, asked):
        assert (await refusal(spiffe(url), theirs.bundle(1))).kind is Kind.UNAUTHENTICATED
        assert (await refusal(spiffe(url), None)).kind is Kind.UNAUTHENTICATED
        assert (await refusal(spiffe(url), SpiffeBundle(THEIRS))).kind is Kind.UNAUTHENTICATED
        assert (await refusal(spiffe(url, workload), authority().bundle(1))).kind is Kind.UNAUTHENTICATED
    assert not asked  # nothing was said to a stranger


async def test_https_web_checks_the_host_by_the_systems_roots(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown authority and another host's certificate are refused."""
    web = WebAuthority()
    roots = tmp_path / "roots.pem"
    await asyncio.to_thread(roots.write_bytes, web.root())
    tls = by_files(*await asyncio.to_thread(web.issue, tmp_path, "127.0.0.1"))
    other = by_files(*await asyncio.to_thread(web.issue, tmp_path, "other.test"))
    async with serving([page(BODY)], tls) as (url, _), serving([page(BODY)], other) as (wrong, asked):
        assert (await refusal(Relation(THEIRS, url, Profile.WEB), None)).kind is Kind.UNAUTHENTICATED
        monkeypatch.setenv("SSL_CERT_FILE", str(roots))
        assert await fetch(Relation(THEIRS, url, Profile.WEB), None) == BODY
        assert (await refusal(Relation(THEIRS, wrong, Profile.WEB), None)).kind is Kind.UNAUTHENTICATED
    assert not asked


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (page(b"", "404 Not Found"), Kind.UNAVAILABLE),
        (page(b"", "500 Oops"), Kind.UNAVAILABLE),
        (page(BODY)[:-3], Kind.UNAVAILABLE),
        (b"nonsense\r\n\r\n", Kind.UNAVAILABLE),
        (b"", Kind.UNAVAILABLE),
        (page(b"", "302 Found", "location: http://127.0.0.1/"), Kind.INVALID),
        (page(b"", "302 Found", "location: https://u@127.0.0.1/"), Kind.INVALID),
        (page(b"", "302 Found", "location: /again"), Kind.UNAVAILABLE),
        (page(b" " * (MAX_BUNDLE_BYTES + 1)), Kind.INVALID),
    ],
)
async def test_answers_that_hold_no_bundle_are_refused(tmp_path: Path, answer: bytes, kind: Kind) -> None:
    """Other statuses, half an answer, no HTTP, a redirect out of TLS or without an end, too much."""
    theirs = authority()
    tls = await asyncio.to_thread(by_svid, tmp_path, theirs)
    async with serving([answer], tls) as (url, asked):
        assert (await refusal(spiffe(url), theirs.bundle(1))).kind is kind
        assert len(asked) <= 4


async def test_a_redirect_is_followed_to_the_same_endpoint_id_only(tmp_path: Path) -> None:
    """The target has to be a valid https URL and to prove the same ID (section 5.2.2)."""
    theirs = authority()
    same = await asyncio.to_thread(by_svid, tmp_path, theirs)
    other = await asyncio.to_thread(by_svid, tmp_path, theirs, SpiffeId(THEIRS, "/ns/a/sa/workload"))
    async with serving([page(BODY)], same) as (good, _), serving([page(BODY)], other) as (bad, asked):
        async with serving([page(b"", "307 T", f"location: {good}")], same) as (url, _):
            assert await fetch(spiffe(url), theirs.bundle(1)) == BODY
        async with serving([page(b"", "307 T", f"location: {bad}")], same) as (url, _):
            assert (await refusal(spiffe(url), theirs.bundle(1))).kind is Kind.UNAUTHENTICATED
    assert not asked


async def test_an_endpoint_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    """Neither in the handshake nor after."""
    theirs = authority()
    connected, ended = asyncio.Event(), asyncio.Event()

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connected.set()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    server = await asyncio.start_server(mute, "127.0.0.1", 0)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    with pytest.raises(RingfenceError) as caught:
        await fetch(spiffe(url), theirs.bundle(1), patience=0.2)
    assert caught.value.kind is Kind.TIMEOUT
    assert connected.is_set()
    await ended.wait()
    server.close()


async def test_hosts_that_cannot_be_reached_are_said_in_words() -> None:
    """A closed port, and a name that is none."""
    server = await asyncio.start_server(lambda _r, _w: None, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    server.close()
    await server.wait_closed()
    bundle = authority().bundle(1)
    assert (await refusal(spiffe(f"https://127.0.0.1:{port}/"), bundle)).kind is Kind.UNAVAILABLE
    assert (await refusal(spiffe(f"https://{'a' * 70}.test/"), bundle)).kind is Kind.UNAVAILABLE


def test_old_tls_is_never_offered() -> None:
    """Section 5: Mozilla's intermediate at least."""
    for relation, bundle in (
        (spiffe("https://h/"), authority().bundle(1)),
        (Relation(THEIRS, "https://h/", Profile.WEB), None),
    ):
        context = module._context(relation, bundle)
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert context.verify_mode == ssl.CERT_REQUIRED


def test_a_verified_leaf_has_to_be_an_svid() -> None:
    """A root, or the name of a trust domain, identifies no endpoint."""
    made = authority()
    with pytest.raises(RingfenceError):
        id_of_verified(made.current.x509.der)
    key = ec.generate_private_key(ec.SECP256R1()).public_key()
    [leaf] = made.issue_x509(ENDPOINT, key, now=datetime.now(UTC), ttl=timedelta(minutes=1))
    assert id_of_verified(leaf) == ENDPOINT
    assert id_of_verified(leaf).trust_domain == THEIRS
