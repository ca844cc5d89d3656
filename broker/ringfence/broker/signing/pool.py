"""Signer processes of one server: started when first needed, replaced when they die, and done without if need be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.broker import events
from ringfence.broker.keys.choice import MEMORY, Unlocked
from ringfence.broker.signing import wire
from ringfence.broker.signing.port import Here
from ringfence.broker.signing.signer import GoneError, Signer
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import LeafDraft
from ringfence.certs.slot import X509Authority
from ringfence.certs.spiffe_id import TrustDomain

_AGAIN_SECONDS = 5.0  # between two tries to start a signer

T = TypeVar("T")


class Signers:
    """`Signing` by processes beside this one. While none runs, and for what they cannot do, it is done here."""

    def __init__(self, count: int, trust_domain: TrustDomain, keys: Unlocked) -> None:
        check_keys(keys.manager)
        self._count = count
        self._trust_domain = trust_domain
        self._keys = keys
        self._here = Here()
        self._signers: list[Signer] = []
        self._starting: asyncio.Task[None] | None = None
        self._not_before = 0.0  # loop time of the next try to start

    def __repr__(self) -> str:
        return f"<Signers {self._signers} of {self._count}>"

    @property
    def pids(self) -> list[int]:
        """Of those that run."""
        return [signer.pid for signer in self._living()]

    async def keys(self, requests: Sequence[bytes]) -> list[ec.EllipticCurvePublicKey | RingfenceError]:
        """See `Signing`."""
        message = {"requests": [wire.binary(request) for request in requests]}
        answers = await self._ask(message, len(requests))
        if answers is None:
            return await self._here.keys(requests)
        return [_heard(wire.hear_key, answer) for answer in answers]

    async def sign(self, authority: X509Authority, drafts: Sequence[LeafDraft]) -> list[bytes | RingfenceError]:
        """See `Signing`. The authority travels with the batch, so a rotation meanwhile is no matter."""
        message = {
            "authority": wire.binary(authority.der),
            "key_id": authority.key_id,
            "drafts": [wire.say_draft(draft) for draft in drafts],
        }
        answers = await self._ask(message, len(drafts))
        if answers is None:
            # The same drafts, and so the same serials: whatever a signer made of them before it died was never seen.
            return await self._here.sign(authority, drafts)
        return [
            _heard(partial(_checked, authority, draft), answer) for draft, answer in zip(drafts, answers, strict=True)
        ]

    async def start(self) -> None:
        """Have all of them run, if they can; the first batch does as much without waiting."""
        self._begin()
        if self._starting is not None:
            await self._starting

    async def close(self) -> None:
        """End them all."""
        self._count = 0
        if self._starting is not None:
            await self._starting
        await asyncio.gather(*(signer.close() for signer in self._signers))

    async def _ask(self, message: dict[str, Any], count: int) -> list[Any] | None:
        """What a signer answers, *count* answers; None when it is to be done here."""
        if not count:
            return []
        self._begin()
        while living := self._living():
            try:
                answers = await min(living, key=lambda signer: signer.busy).ask(message)
            except GoneError:
                self._begin()
                continue
            except RingfenceError as error:
                events.signer_failed(error.detail)
                return None
            if len(answers) == count:
                return answers
            events.signer_failed(f"{len(answers)} answers to {count} questions")
            return None
        return None

    def _living(self) -> list[Signer]:
        return [signer for signer in self._signers if not signer.gone]

    def _begin(self) -> None:
        """Start what is missing, in the background, and not again and again."""
        now = asyncio.get_running_loop().time()
        idle = self._starting is None or self._starting.done()
        if idle and now >= self._not_before and len(self._living()) < self._count:
            self._not_before = now + _AGAIN_SECONDS
            self._starting = asyncio.create_task(self._start_missing())

    async def _start_missing(self) -> None:
        dead = [signer for signer in self._signers if signer.gone]
        self._signers = self._living()
        await asyncio.gather(*(signer.close() for signer in dead))
        missing = self._count - len(self._signers)
        started = await asyncio.gather(
            *(Signer.start(self._trust_domain, self._keys) for _ in range(missing)), return_exceptions=True
        )
        self._signers += [one for one in started if isinstance(one, Signer)]
        for error in started:
            if isinstance(error, RingfenceError | GoneError):
                events.signer_failed(str(error))
            elif isinstance(error, BaseException):
                raise error
        events.signers(self.pids)


def check_keys(manager: str) -> None:
    """Raise INVALID for a key manager whose keys another process cannot open."""
    if manager == MEMORY:
        raise RingfenceError(
            Kind.INVALID,
            "--signers needs keys that another process can open",
            hint="Not with keys in memory: leave it out, or keep them on disk or on a token (--key-manager)",
        )


def _checked(authority: X509Authority, draft: LeafDraft, answer: str) -> bytes:
    """The certificate, if it says what was asked for: the signer has verified the signature, under the same key."""
    signed = wire.unbinary(answer)
    authority.check_content(signed, draft)
    return signed


def _heard(take: Callable[[str], T], answer: str | dict[str, str]) -> T | RingfenceError:
    """What *take* makes of an answer, or the error that it is."""
    if isinstance(answer, dict):
        return wire.hear_error(answer)
    try:
        return take(answer)
    except ValueError:
        return RingfenceError(Kind.INVALID, "a signer answered what is no answer")
    except RingfenceError as error:
        return error
