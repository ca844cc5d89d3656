"""What the agent keeps in its data folder (0700, files 0600), so that a restart needs neither server nor token."""

from __future__ import annotations

import base64
import fcntl
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.revoked import Revoked
from ringfence.broker.agent.svids import HeldSvid
from ringfence.certs.errors import Kind, RingfenceError

_IDENTITY, _CACHE, _FABRICS, _LOCK = "identity.json", "cache.json", "fabrics.json", "lock"
_FORMAT = 1


@dataclass(frozen=True, slots=True)
class Identity:
    """Who this node is: its own SVID with its key, and the bundle to know the server by."""

    svid: HeldSvid
    bundle: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class KeptToken:
    """A JWT-SVID that was issued, by entry and audience; `expires_at` in Unix seconds."""

    entry_id: str
    audience: tuple[str, ...]
    token: str = field(repr=False)
    issued_at: float
    expires_at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """All that lets a restarted agent serve at once."""

    entries: agent_pb2.EntriesUpdate
    federated: Mapping[str, bytes]
    svids: Mapping[str, HeldSvid] = field(repr=False)
    tokens: tuple[KeptToken, ...] = ()
    wits: Mapping[str, Any] = field(default_factory=dict, repr=False)  # as `Wits.dump` gives them
    revoked: bytes = b""  # as it came from the server


@dataclass(frozen=True, slots=True)
class KeptFabrics:
    """What the server said of fabrics last, as it came, and those of which the node may have something."""

    update: bytes = b""
    keys: frozenset[str] = frozenset()  # NAMESPACE/NAME


class DataFolder:
    """The folder of one agent; a lock in it keeps a second agent out."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = -1

    def open(self) -> None:
        """Make the folder and take its lock; raises CONFLICT when another agent has it, OSError when it can't be."""
        self._path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.chmod(0o700)
        self._lock = os.open(self._path / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.close()
            raise RingfenceError(
                Kind.CONFLICT,
                "another agent uses this data folder",
                where=str(self._path),
                hint="Stop it, or give this one its own --data-dir",
            ) from None

    def close(self) -> None:
        """Give the lock back."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def load_identity(self) -> Identity | None:
        """The node's identity, or None when there is none that can be read: then it has to attest."""
        try:
            kept = self._read(_IDENTITY)
            return Identity(HeldSvid.load(kept["svid"]), base64.b64decode(kept["bundle"])) if kept else None
        except (RingfenceError, KeyError, TypeError, ValueError):
            return None

    def save_identity(self, identity: Identity) -> None:
        """Keep it, on the disk when this returns; raises OSError."""
        bundle = base64.b64encode(identity.bundle).decode()
        self._write(_IDENTITY, {"svid": identity.svid.dump(), "bundle": bundle})

    def load(self) -> Kept | None:
        """What was held when the agent last ran; None when there is nothing, or nothing that can be read."""
        try:
            kept = self._read(_CACHE)
            if not kept:
                return None
            found = Kept(
                agent_pb2.EntriesUpdate.FromString(base64.b64decode(kept["entries"])),
                {name: base64.b64decode(bundle) for name, bundle in kept["federated"].items()},
                {entry_id: HeldSvid.load(svid) for entry_id, svid in kept["svids"].items()},
                tuple(KeptToken(**{**token, "audience": tuple(token["audience"])}) for token in kept["tokens"]),
                kept.get("wits", {}),
                revoked=base64.b64decode(kept.get("revoked", "")),
            )
            Revoked.parse(found.revoked)  # without it nothing of the rest may be served
        except Exception as error:  # a damaged cache must cost nobody more than the cache
            raise RingfenceError(
                Kind.INVALID,
                "what the agent kept can't be read, so it starts without",
                where=str(self._path / _CACHE),
                hint=f"It is fetched again from the server ({type(error).__name__})",
            ) from error
        return found

    def save(self, kept: Kept) -> None:
        """Keep it, on the disk when this returns; raises OSError. Runs in a thread."""
        document = {
            "entries": base64.b64encode(kept.entries.SerializeToString()).decode(),
            "federated": {name: base64.b64encode(bundle).decode() for name, bundle in kept.federated.items()},
            "svids": {entry_id: svid.dump() for entry_id, svid in kept.svids.items()},
            "tokens": [
                {
                    "entry_id": token.entry_id,
                    "audience": token.audience,
                    "token": token.token,
                    "issued_at": token.issued_at,
                    "expires_at": token.expires_at,
                }
                for token in kept.tokens
            ],
            "revoked": base64.b64encode(kept.revoked).decode(),
            **({"wits": dict(kept.wits)} if kept.wits else {}),
        }
        self._write(_CACHE, document)

    def load_fabrics(self) -> KeptFabrics:
        """What was known of fabrics when the agent last ran, nothing at first; raises INVALID if it can't be read."""
        try:
            kept = self._read(_FABRICS)
            if not kept:
                return KeptFabrics()
            update = base64.b64decode(kept["update"], validate=True)
            agent_pb2.FabricsUpdate.FromString(update)
            return KeptFabrics(update, frozenset(map(str, kept["keys"])))
        except Exception as error:  # a damaged file must cost nobody more than the file
            raise RingfenceError(
                Kind.INVALID,
                "what the agent kept of fabrics can't be read: what the node holds of them stays until the server says",
                where=str(self._path / _FABRICS),
                hint=f"`ringfence fabric remove` takes away one that is no more ({type(error).__name__})",
            ) from error

    def save_fabrics(self, kept: KeptFabrics) -> None:
        """Keep it, on the disk when this returns; raises OSError. Runs in a thread."""
        self._write(_FABRICS, {"update": base64.b64encode(kept.update).decode(), "keys": sorted(kept.keys)})

    def _read(self, name: str) -> dict[str, Any] | None:
        try:
            kept = json.loads((self._path / name).read_bytes())
        except FileNotFoundError:
            return None
        return kept if isinstance(kept, dict) and kept.get("format") == _FORMAT else None

    def _write(self, name: str, document: dict[str, Any]) -> None:
        """Whole or not at all, also when the power goes: new file, fsync, rename, fsync of the folder."""
        target = self._path / name
        draft = target.with_suffix(".new")
        with suppress(FileNotFoundError):
            draft.unlink()
        file = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(file, "wb") as out:
            out.write(json.dumps({"format": _FORMAT, **document}).encode())
            out.flush()
            os.fsync(out.fileno())
        draft.replace(target)
        folder = os.open(self._path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
