"""The SVIDs that the agent holds for its workloads: keys made here, chains from the server, dates to renew by."""

from __future__ import annotations

import base64
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any, Generic, Protocol, Self, TypeVar

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_der_private_key
from cryptography.x509 import load_der_x509_certificate

from ringfence.broker.agent.entry import Entry
from ringfence.certs.certificate import issuer_key_id
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.rotation import renew_at
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.certs.svid import parse_svid


class Held(Protocol):
    """A document with its key, as the store below sees it."""

    @property
    def renew_at(self) -> datetime:
        """When to get the next one."""
        ...

    @property
    def authority(self) -> str:
        """The id of whoever signed it."""
        ...

    def is_valid(self, now: datetime) -> bool:
        """Whether peers accept it now."""
        ...

    def renewed_by(self, when: datetime) -> Self:
        """The same, to be renewed no later than *when*."""
        ...


H = TypeVar("H", bound=Held)

_LONGEST_REST = 5.0  # seconds


def draw_jitter() -> float:
    """A draw in [-1, 1]; once for each SVID, or the spread would collapse to its early end."""
    return random.uniform(-1, 1)  # noqa: S311  # it spreads load, it guards nothing


def new_key() -> ec.EllipticCurvePrivateKey:
    """A fresh P-256 key; a renewal never uses the old one again."""
    return ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True, slots=True)
class HeldSvid:
    """An X.509-SVID with its key (PKCS #8 DER, never shown), and when to renew it."""

    spiffe_id: SpiffeId
    chain: tuple[bytes, ...] = field(repr=False)
    key: bytes = field(repr=False)
    serial: int
    not_before: datetime
    not_after: datetime
    renew_at: datetime

    @classmethod
    def of(
        cls, chain: Iterable[bytes], key: ec.EllipticCurvePrivateKey, spiffe_id: SpiffeId, jitter: float
    ) -> HeldSvid:
        """What the server issued, once it is what was asked for; raises UNAUTHENTICATED when it is not."""
        svid = parse_svid(tuple(chain))
        leaf = load_der_x509_certificate(svid.chain[0])
        if svid.spiffe_id != spiffe_id:
            raise RingfenceError(Kind.UNAUTHENTICATED, f"the server issued {svid.spiffe_id} when asked for {spiffe_id}")
        if leaf.public_key() != key.public_key():
            raise RingfenceError(Kind.UNAUTHENTICATED, f"the server issued {spiffe_id} for another key")
        return cls(
            spiffe_id,
            svid.chain,
            key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption()),
            leaf.serial_number,
            svid.not_before,
            svid.not_after,
            renew_at(svid.not_before, svid.not_after, jitter),
        )

    @property
    def authority(self) -> str:
        """The key id, in hex, of whoever signed it."""
        return issuer_key_id(load_der_x509_certificate(self.chain[0]))

    def is_valid(self, now: datetime) -> bool:
        """Whether peers accept it now, ends included."""
        return now <= self.not_after

    def rest(self, now: datetime) -> float:
        """Seconds to leave the server alone now that this came; none, unless it is due already.

        It is by a clock that is ahead of the server's, or when little is left of the authority: asking again at once
        would bring the same.
        """
        if self.renew_at > now:
            return 0.0
        left = (self.not_after - now).total_seconds()
        return min(left / 3, _LONGEST_REST) if left > 0 else _LONGEST_REST

    def renewed_by(self, when: datetime) -> HeldSvid:
        """The same, to be renewed no later than *when*."""
        return replace(self, renew_at=min(self.renew_at, when))

    def dump(self) -> dict[str, Any]:
        """For the 0600 file that lets a restarted agent serve at once; it holds the key."""
        return {
            "chain": [base64.b64encode(der).decode() for der in self.chain],
            "key": base64.b64encode(self.key).decode(),
            "renew_at": self.renew_at.timestamp(),
        }

    @classmethod
    def load(cls, kept: dict[str, Any]) -> HeldSvid:
        """From that file; raises INVALID when it was damaged."""
        try:
            chain = tuple(base64.b64decode(der, validate=True) for der in kept["chain"])
            key = load_der_private_key(base64.b64decode(kept["key"], validate=True), None)
            if not isinstance(key, ec.EllipticCurvePrivateKey):
                raise RingfenceError(Kind.INVALID, "a kept key is no elliptic curve key")
            svid = cls.of(chain, key, parse_svid(chain).spiffe_id, 0.0)
            return replace(svid, renew_at=datetime.fromtimestamp(kept["renew_at"], svid.not_after.tzinfo))
        except (KeyError, TypeError, ValueError, UnsupportedAlgorithm) as error:
            raise RingfenceError(Kind.INVALID, "a kept SVID can't be read") from error


@dataclass(slots=True)
class _Slot(Generic[H]):
    svid: H
    used: datetime


class SvidStore(Generic[H]):
    """SVIDs of one kind by entry id. One that nobody used for `keep` is not renewed, and is dropped when it ends."""

    def __init__(self, *, keep: timedelta = timedelta(hours=1)) -> None:
        self._keep = keep
        self._slots: dict[str, _Slot[H]] = {}

    def __len__(self) -> int:
        return len(self._slots)

    def __iter__(self) -> Iterator[tuple[str, H]]:
        return iter([(entry_id, slot.svid) for entry_id, slot in self._slots.items()])

    def put(self, entry_id: str, svid: H, now: datetime) -> None:
        """Hold *svid* from now on; its predecessor is forgotten."""
        slot = self._slots.get(entry_id)
        self._slots[entry_id] = _Slot(svid, slot.used if slot else now)

    def get(self, entry_id: str, now: datetime) -> H | None:
        """The SVID, if peers still accept it."""
        slot = self._slots.get(entry_id)
        return slot.svid if slot and slot.svid.is_valid(now) else None

    def use(self, entry: Entry, now: datetime) -> H | None:
        """The same, and remember that it is in use."""
        slot = self._slots.get(entry.id)
        if slot is None or not slot.svid.is_valid(now):
            return None
        slot.used = now
        return slot.svid

    def drop(self, entry_ids: Iterable[str]) -> None:
        """Forget these."""
        for entry_id in entry_ids:
            self._slots.pop(entry_id, None)

    def drop_ended(self, now: datetime) -> None:
        """Forget those that have ended."""
        self.drop([entry_id for entry_id, slot in self._slots.items() if not slot.svid.is_valid(now)])

    def due(self, now: datetime, watched: frozenset[str]) -> tuple[str, ...]:
        """Entries to renew now: past their date, and watched or used of late."""
        return tuple(
            entry_id
            for entry_id, slot in self._slots.items()
            if slot.svid.renew_at <= now and (entry_id in watched or now - slot.used <= self._keep)
        )

    def next_due(self) -> datetime | None:
        """When the next one is to be renewed."""
        return min((slot.svid.renew_at for slot in self._slots.values()), default=None)

    def spread(
        self, now: datetime, over: timedelta, draw: Callable[[], float], authorities: frozenset[str] = frozenset()
    ) -> None:
        """Renew those that *authorities* signed (none: all of them), spread over *over* from now.

        `draw` gives numbers in [0, 1).
        """
        for slot in self._slots.values():
            if not authorities or slot.svid.authority in authorities:
                slot.svid = slot.svid.renewed_by(now + over * draw())
