"""What the agent keeps on disk: private, whole, and read back."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.storage import DataFolder, Identity, Kept, KeptFabrics, KeptToken
from ringfence.broker.agent.svids import HeldSvid, new_key
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.memory import MemoryKeys
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

NOW = datetime(2026, 11, 24, 12, tzinfo=UTC)
ID = SpiffeId(TrustDomain("example.org"), "/ns/a/sa/w")


def _svid() -> HeldSvid:
    authority, key = Authority.create(ID.trust_domain, MemoryKeys(), now=NOW), new_key()
    chain = authority.issue_x509(ID, key.public_key(), now=NOW, ttl=timedelta(hours=1))
    return HeldSvid.of(chain, key, ID, 0.3)


def _kept() -> Kept:
    token = KeptToken("e", ("db", "cache"), "token", 1.0, 2.0)
    return Kept(agent_pb2.EntriesUpdate(revision=7, full=True), {"other.org": b"{}"}, {"e": _svid()}, (token,))


@pytest.fixture
def folder(tmp_path: Path) -> DataFolder:
    """An open folder."""
    made = DataFolder(tmp_path / "agent")
    made.open()
    return made


def test_what_is_saved_is_loaded(folder: DataFolder) -> None:
    """Identity, entries, bundles, SVIDs and tokens come back as they were."""
    kept, identity = _kept(), Identity(_svid(), b'{"keys":[]}')
    folder.save(kept)
    folder.save_identity(identity)
    assert folder.load() == kept
    assert folder.load_identity() == identity


def test_only_the_owner_may_read_it(folder: DataFolder, tmp_path: Path) -> None:
    """The folder is 0700 and every file in it 0600, whatever the umask or an older mode said."""
    folder.save(_kept())
    folder.save_identity(Identity(_svid(), b"{}"))
    assert stat.S_IMODE((tmp_path / "agent").stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "agent").iterdir()} == {0o600}


def test_nothing_kept_is_nothing(folder: DataFolder) -> None:
    """A new folder holds no identity and no cache."""
    assert folder.load() is None
    assert folder.load_identity() is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "entries": "x"}'])
def test_a_damaged_cache_is_said_and_left(folder: DataFolder, tmp_path: Path, text: str) -> None:
    """A damaged cache costs the cache: it is INVALID or nothing, never a crash."""
    (tmp_path / "agent" / "cache.json").write_text(text)
    assert _loaded(folder) in {None, Kind.INVALID}


def test_a_cache_whose_revocations_are_damaged_is_left(folder: DataFolder, tmp_path: Path) -> None:
    """Nothing of the rest is served by it: some of that may be revoked."""
    folder.save(replace(_kept(), revoked=b"\xff\xff"))
    assert _loaded(folder) is Kind.INVALID


def _loaded(folder: DataFolder) -> Kept | Kind | None:
    try:
        return folder.load()
    except RingfenceError as error:
        return error.kind


@pytest.mark.parametrize("text", ["", "{", '{"format": 1}', '{"format": 1, "svid": {}, "bundle": ""}'])
def test_a_damaged_identity_is_none(folder: DataFolder, tmp_path: Path, text: str) -> None:
    """A damaged identity means that the node has to join again."""
    (tmp_path / "agent" / "identity.json").write_text(text)
    assert folder.load_identity() is None


def test_a_half_written_file_never_replaces_a_whole_one(folder: DataFolder, tmp_path: Path) -> None:
    """What a crash left beside the file is neither read nor in the way."""
    kept = _kept()
    folder.save(kept)
    (tmp_path / "agent" / "cache.new").write_text("half")
    assert folder.load() == kept
    folder.save(kept)
    assert folder.load() == kept


def test_what_was_said_of_fabrics_is_kept(folder: DataFolder) -> None:
    """Apart from the rest, since it is written before the node is changed; there is nothing at first."""
    assert folder.load_fabrics() == KeptFabrics()
    kept = KeptFabrics(agent_pb2.FabricsUpdate(revision=7).SerializeToString(), frozenset({"team-a/fab"}))
    folder.save_fabrics(kept)
    assert folder.load_fabrics() == kept


@pytest.mark.parametrize(
    "text",
    ["{", '{"format": 1}', '{"format": 1, "update": "!", "keys": []}', '{"format": 1, "update": "/w==", "keys": []}'],
)
def test_damaged_words_of_fabrics_are_left(folder: DataFolder, tmp_path: Path, text: str) -> None:
    """The agent is told so, and says it."""
    (tmp_path / "agent" / "fabrics.json").write_text(text)
    with pytest.raises(RingfenceError, match="kept of fabrics can't be read") as caught:
        folder.load_fabrics()
    assert caught.value.kind is Kind.INVALID


def test_two_agents_cannot_share_a_folder(folder: DataFolder, tmp_path: Path) -> None:
    """The second one is told CONFLICT; once the first has closed, it may."""
    second = DataFolder(tmp_path / "agent")
    with pytest.raises(RingfenceError) as caught:
        second.open()
    assert caught.value.kind is Kind.CONFLICT
    folder.close()
    second.open()
    second.close()
