"""Signers as processes: the same certificates, through rotations and deaths, and no secret where others read."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from ringfence.broker.keys.choice import MEMORY, PKCS11, Unlocked
from ringfence.broker.signing import signer as signer_module
from ringfence.broker.signing.pool import Signers
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.leaf_check import check_leaf
from ringfence.certs.profile import new_csr
from tests.broker.signing.crew import PASSPHRASE, crew
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_authority, new_key
from tests.tokens import LABEL, PIN, new_owner, softhsm


async def test_a_certificate_is_the_same_but_for_the_signature(tmp_path: Path) -> None:
    """A signer lays out the bytes that the server would, and its signature verifies."""
    async with crew(tmp_path) as c:
        drafts = c.drafts(20)
        root = c.authority.x509.current
        for draft, theirs in zip(drafts, await c.signers.sign(root, drafts), strict=True):
            assert isinstance(theirs, bytes)
            check_leaf(theirs, draft, root.certificate)
            ours = x509.load_der_x509_certificate(root.sign(draft))
            assert x509.load_der_x509_certificate(theirs).tbs_certificate_bytes == ours.tbs_certificate_bytes


async def test_keys_are_proven_by_a_signer(tmp_path: Path) -> None:
    """The key of a good request comes back, and why a bad one is refused."""
    async with crew(tmp_path) as c:
        key = new_key()
        proven, refused = await c.signers.keys([new_csr(key), b"garbage"])
        assert proven == key.public_key()
        assert isinstance(refused, RingfenceError)
        assert refused.kind is Kind.INVALID


async def test_a_rotation_while_signing_is_followed(tmp_path: Path) -> None:
    """Each batch is signed by the authority it was drafted for, also those that were under way."""
    async with crew(tmp_path, 2) as c:
        under_way = []
        for _ in range(3):
            root, drafts = c.authority.x509.current, c.drafts(10)
            under_way.append((root, drafts, asyncio.create_task(c.signers.sign(root, drafts))))
            await asyncio.sleep(0)
            await asyncio.to_thread(c.authority.prepare, NOW)
            c.authority.activate(NOW)
        for root, drafts, task in under_way:
            for draft, signed in zip(drafts, await task, strict=True):
                assert isinstance(signed, bytes)
                check_leaf(signed, draft, root.certificate)


async def test_no_answer_is_lost_when_signers_are_killed(tmp_path: Path) -> None:
    """Batches asked of a signer that is killed are done by another, or here, each serial once."""
    async with crew(tmp_path, 2) as c:
        root, batches = c.authority.x509.current, [c.drafts(10) for _ in range(12)]
        tasks = [asyncio.create_task(c.signers.sign(root, drafts)) for drafts in batches]
        await asyncio.sleep(0)
        for pid in c.signers.pids:
            os.kill(pid, signal.SIGKILL)
        signed = [leaf for done in await asyncio.gather(*tasks) for leaf in done]
        serials = [x509.load_der_x509_certificate(leaf).serial_number for leaf in signed if isinstance(leaf, bytes)]
        assert serials == [draft.serial for drafts in batches for draft in drafts]


async def test_a_signer_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in the middle of a batch it is killed after a while, and the batch done here."""
    async with crew(tmp_path) as c:
        (pid,) = c.signers.pids
        monkeypatch.setattr(signer_module, "ANSWER_SECONDS", 0.05)
        os.kill(pid, signal.SIGSTOP)
        drafts = c.drafts(2)
        done = await c.signers.sign(c.authority.x509.current, drafts)
        assert [isinstance(leaf, bytes) for leaf in done] == [True, True]
        assert c.signers.pids == []
        await c.signers._signers[0]._process.wait()


async def test_a_signer_that_died_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while, not at once: a signer that dies again and again is not started again and again."""
    async with crew(tmp_path) as c:
        (first,) = c.signers.pids
        os.kill(first, signal.SIGKILL)
        while c.signers.pids:
            await c.signers.sign(c.authority.x509.current, c.drafts(1))
        await c.signers.start()
        assert c.signers.pids == []
        monkeypatch.setattr(c.signers, "_not_before", 0.0)
        await c.signers.start()
        (second,) = c.signers.pids
        assert second != first


async def test_an_answer_that_is_another_drafts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server reads what came back: two certificates in each other's place are handed to nobody."""
    async with crew(tmp_path) as c:
        drafts = c.drafts(2)
        (signer,) = c.signers._signers

        async def swapped(message: Any, ask: Any = signer.ask) -> list[Any]:
            return list(reversed(await ask(message)))

        monkeypatch.setattr(signer, "ask", swapped)
        done = await c.signers.sign(c.authority.x509.current, drafts)
        assert [isinstance(each, RingfenceError) and "differs" in each.detail for each in done] == [True, True]


async def test_what_signers_cannot_open_is_signed_here(tmp_path: Path) -> None:
    """Keys that are gone from the folder are still held by the server; with no folder no signer starts at all."""
    elsewhere, _ = new_authority()
    signers = Signers(1, TD, Unlocked("disk", tmp_path / "nowhere"))
    try:
        await signers.start()
        assert signers.pids == []
        draft = elsewhere.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
        (signed,) = await signers.sign(elsewhere.x509.current, [draft])
        assert isinstance(signed, bytes)
    finally:
        await signers.close()


async def test_no_passphrase_on_a_command_line_or_in_an_environment(tmp_path: Path) -> None:
    """It goes by the pipe: whoever lists processes sees none of it."""
    async with crew(tmp_path) as c:
        (pid,) = c.signers.pids
        for name in ("cmdline", "environ"):
            shown = await asyncio.to_thread(Path(f"/proc/{pid}/{name}").read_bytes)
            assert shown
            assert PASSPHRASE not in shown
        assert PASSPHRASE.decode() not in repr(c.signers)


async def test_signers_end_with_whoever_started_them(tmp_path: Path) -> None:
    """SIGTERM and SIGINT do not end one, since the server has batches to finish; the end of its input does."""
    async with crew(tmp_path) as c:
        (signer,) = c.signers._signers
        for number in (signal.SIGTERM, signal.SIGINT):
            os.kill(signer.pid, number)
        (signed,) = await signer.ask({"requests": ["no base64"]})
        assert signed["kind"] == Kind.INVALID.value
    assert signer._process.returncode == 0


async def test_keys_in_memory_are_refused(tmp_path: Path) -> None:
    """In words that say what to do."""
    with pytest.raises(RingfenceError, match="--signers") as caught:
        Signers(1, TD, Unlocked(MEMORY, tmp_path))
    assert "memory" in caught.value.hint


async def test_a_token_is_opened_by_each_signer(tmp_path: Path) -> None:
    """PKCS#11: a session of its own, with the PIN from the pipe."""
    unlocked = Unlocked(PKCS11, tmp_path, PIN.encode(), softhsm().module, LABEL, new_owner())
    keys: Any = await asyncio.to_thread(unlocked.open)
    authority = await asyncio.to_thread(lambda: Authority.create(TD, keys, now=NOW))
    signers = Signers(1, TD, unlocked)
    try:
        await signers.start()
        assert len(signers.pids) == 1
        draft = authority.draft_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
        (signed,) = await signers.sign(authority.x509.current, [draft])
        assert isinstance(signed, bytes)
        check_leaf(signed, draft, authority.x509.current.certificate)
    finally:
        await signers.close()
        for key_id in keys.key_ids():
            await asyncio.to_thread(keys.delete, key_id)
        keys.close()
