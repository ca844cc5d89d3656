"""Which files are wanted, under which names and with which rights; all of it checked before anything is written."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from ringfence.certs.errors import Kind, RingfenceError

# A plain name: no folder, no option of some command, and none of the names that the folder keeps for itself.
_NAME = re.compile(r"(?!\.\.)[A-Za-z0-9._][A-Za-z0-9._+-]{0,199}")
_WIDEST_KEY, _WIDEST_CERT = 0o640, 0o644


@dataclass(frozen=True, slots=True)
class Access:
    """Modes, and the user and group that own the files; -1 leaves them to the process."""

    key_mode: int = 0o600
    cert_mode: int = 0o644
    uid: int = -1
    gid: int = -1

    def __post_init__(self) -> None:
        if self.key_mode & ~_WIDEST_KEY:
            raise _invalid(f"mode {self.key_mode:04o} opens the key too far", "At most 0640")
        if self.cert_mode & ~_WIDEST_CERT:
            raise _invalid(f"mode {self.cert_mode:04o} lets others change certificates", "At most 0644")


@dataclass(frozen=True, slots=True)
class Wanted:
    """File names; an empty one is not written. `jwt`: file to audience, `federated`: file to trust domain."""

    cert: str = "svid.pem"
    key: str = "key.pem"
    bundle: str = "bundle.pem"
    combined: str = ""
    bundle_map: str = ""
    jwt: Mapping[str, str] = field(default_factory=dict)
    federated: Mapping[str, str] = field(default_factory=dict)
    join_federated: bool = False
    spiffe_id: str = ""
    hint: str = ""

    def __post_init__(self) -> None:
        names = self._names()
        if not names:
            raise _invalid("no file is wanted", "Name one, for example --cert-file svid.pem")
        for name in names:
            if not _NAME.fullmatch(name):
                raise _invalid(f"{name!r} is no plain file name", "Name the folder with --dir")
        if twice := {name for name in names if names.count(name) > 1}:
            raise _invalid(f"{', '.join(sorted(twice))}: wanted for two things", "Give each its own name")

    @property
    def names(self) -> frozenset[str]:
        """Every file that is wanted."""
        return frozenset(self._names())

    def _names(self) -> list[str]:
        plain = [name for name in (self.cert, self.key, self.bundle, self.combined, self.bundle_map) if name]
        return [*plain, *self.jwt, *self.federated]

    def is_chosen(self, spiffe_id: str, hint: str) -> bool:
        """Whether the identity with that ID and hint may be the one that is wanted."""
        return self.spiffe_id in {"", spiffe_id} and self.hint in {"", hint}


def pairs(texts: tuple[str, ...], *, flag: str) -> dict[str, str]:
    """`WHAT=FILE` as FILE to WHAT (an audience may hold `=`, a file name may not); raises INVALID."""
    found: dict[str, str] = {}
    for text in texts:
        what, _, name = text.rpartition("=")
        if not what or not name:
            raise _invalid(f"{flag} {text}: no WHAT=FILE", f"For example {flag} db=db.token")
        if name in found:
            raise _invalid(f"{name}: wanted for two things", "Give each its own name")
        found[name] = what
    return found


def _invalid(detail: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, hint=hint)
