"""Certificates from files: read at start, read again when they change, kept when the new ones are no good."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest

from ringfence.broker.http import Page, serve_pages
from ringfence.broker.server.web_tls import CertificateFiles, newest
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.web import WebAuthority, request, trusting


async def test_a_renewed_certificate_is_served_without_a_restart(tmp_path: Path) -> None:
    """From the next handshake on; broken files leave the last good ones in use."""
    web = WebAuthority()
    files = CertificateFiles(*await asyncio.to_thread(web.issue, tmp_path, "localhost"))
    await files.load()
    server = await serve_pages("127.0.0.1", 0, {"/": lambda: Page(200, b"")}, tls=newest(files.context))
    address, tls = f"localhost:{server.sockets[0].getsockname()[1]}", trusting(web.root())
    first = await request(address, "/", tls=tls)
    assert (await request(address, "/", tls=tls)).leaf == first.leaf
    await asyncio.to_thread(web.issue, tmp_path, "localhost")
    task = asyncio.create_task(files.follow(interval=0))
    async with asyncio.timeout(20):
        while (second := await request(address, "/", tls=tls)).leaf == first.leaf:
            continue
    await asyncio.to_thread(files.key.write_text, "no key")
    with pytest.raises(RingfenceError) as caught:
        await files.load()
    assert caught.value.kind is Kind.INVALID
    assert (await request(address, "/", tls=tls)).leaf == second.leaf
    task.cancel()
    server.close()
    await server.wait_closed()


async def test_old_tls_is_refused(tmp_path: Path) -> None:
    """1.2 is the oldest (Mozilla's intermediate); 1.3 is spoken."""
    web = WebAuthority()
    files = CertificateFiles(*await asyncio.to_thread(web.issue, tmp_path, "localhost"))
    await files.load()
    server = await serve_pages("127.0.0.1", 0, {"/": lambda: Page(200, b"")}, tls=newest(files.context))
    address = f"localhost:{server.sockets[0].getsockname()[1]}"
    for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
        tls = trusting(web.root())
        tls.minimum_version = tls.maximum_version = version
        assert (await request(address, "/", tls=tls)).status == 200
    old = trusting(web.root())
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        await request(address, "/", tls=old)
    server.close()
    await server.wait_closed()


async def test_files_that_do_not_fit_say_so(tmp_path: Path) -> None:
    """By their names, and without a word of the key."""
    web, other = WebAuthority(), tmp_path / "other"
    other.mkdir()
    certificate, _ = await asyncio.to_thread(web.issue, tmp_path, "localhost")
    _, key = await asyncio.to_thread(web.issue, other, "localhost")
    for pair in ((certificate, key), (certificate, tmp_path / "missing")):
        files = CertificateFiles(*pair)
        with pytest.raises(RingfenceError) as caught:
            await files.load()
        assert str(certificate) in caught.value.where
        with pytest.raises(RingfenceError):
            files.context()
