"""A signer: a process of the server's that proves requests and signs drafts until its input ends.

It is told on its standard input which keys there are and what opens them, and answers on its standard output. It makes
no decision: who gets what is the server's business, and on record before a draft arrives here.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Any, BinaryIO, TypeVar

from ringfence.broker.keys.choice import MEMORY, Unlocked
from ringfence.broker.signing import wire
from ringfence.certs.attempt import attempt
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.profile import csr_public_keys
from ringfence.certs.slot import X509Authority
from ringfence.certs.spiffe_id import TrustDomain

A = TypeVar("A")
B = TypeVar("B")
_AUTHORITIES = 2  # that are held ready: the one that signs, and the one before while its last batches are under way


class Work:
    """What a signer does: `answer` a message."""

    def __init__(self, trust_domain: TrustDomain, unlocked: Unlocked) -> None:
        if unlocked.manager == MEMORY:
            raise RingfenceError(Kind.INVALID, "keys in another process's memory cannot be opened")
        self._trust_domain = trust_domain
        self._unlocked = unlocked
        self._keys: KeyManager = unlocked.open(alone=False)
        self._authorities: dict[str, X509Authority] = {}

    @classmethod
    def of(cls, said: dict[str, Any]) -> Work:
        """As the first message says; raises what the key manager raises."""
        return cls(TrustDomain(said["trust_domain"]), wire.hear_keys(said["keys"]))

    def answer(self, message: dict[str, Any]) -> dict[str, Any]:
        """The answers to what *message* asks, in its order; or why there is none at all."""
        try:
            if "requests" in message:
                return {"answers": _answers(message["requests"], wire.unbinary, csr_public_keys, wire.say_key)}
            if "drafts" in message:
                authority = self._authority(message["authority"], message["key_id"])
                # The drafts are checked before and the certificates after, their signatures too: see X509Authority.
                return {"answers": _answers(message["drafts"], wire.hear_draft, authority.sign_all, wire.binary)}
        except RingfenceError as error:
            return {"failed": wire.say_error(error)}
        return {"failed": wire.say_error(RingfenceError(Kind.UNIMPLEMENTED, "a signer proves and signs"))}

    def _authority(self, certificate: str, key_id: str) -> X509Authority:
        if certificate not in self._authorities:
            # A key that came since this process began: the server has made it, and rotates to it.
            if key_id not in self._keys.key_ids():
                self._keys = self._unlocked.open(alone=False)
            made = X509Authority(self._trust_domain, wire.unbinary(certificate), key_id=key_id, keys=self._keys)
            while len(self._authorities) >= _AUTHORITIES:
                del self._authorities[next(iter(self._authorities))]
            self._authorities[certificate] = made
        return self._authorities[certificate]


def _answers(
    items: list[Any],
    hear: Callable[[Any], A],
    work: Callable[[list[A]], list[B | RingfenceError]],
    say: Callable[[B], str],
) -> list[str | dict[str, str]]:
    """What *work* makes of those of *items* that can be read; for each of the others, that it cannot."""
    heard = [attempt(partial(_readable, hear), item) for item in items]
    made = iter(work([one for one in heard if not isinstance(one, RingfenceError)]))
    done = [one if isinstance(one, RingfenceError) else next(made) for one in heard]
    return [wire.say_error(one) if isinstance(one, RingfenceError) else say(one) for one in done]


def _readable(hear: Callable[[Any], A], item: Any) -> A:
    try:
        return hear(item)
    except (ValueError, TypeError):
        raise RingfenceError(Kind.INVALID, "a signer was told what it cannot read") from None


def _read(source: BinaryIO) -> dict[str, Any] | None:
    header = source.read(wire.HEADER.size)
    if len(header) < wire.HEADER.size:
        return None
    (size,) = wire.HEADER.unpack(header)
    body = source.read(size)
    return wire.unframe(body) if len(body) == size else None


def _begin(source: BinaryIO) -> tuple[Work | None, dict[str, Any]]:
    """What the first message sets up, and the answer to it."""
    said = _read(source)
    if said is None:
        return None, {}
    try:
        return Work.of(said), {"answers": []}
    except RingfenceError as error:
        return None, {"failed": wire.say_error(error)}


def main() -> None:
    """Answer until the input ends, as it does when the server ends, however it ends."""
    # A terminal or a supervisor tells all of a server's processes; the server has batches to finish.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    work, answer = _begin(source)
    sink.write(wire.frame(answer))
    sink.flush()
    while work is not None and (message := _read(source)) is not None:
        sink.write(wire.frame(work.answer(message)))
        sink.flush()


if __name__ == "__main__":
    main()
