"""How a server comes by its authority: loaded again with the same keys, or made, and then published."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from ringfence.broker.audit.authority import keys_of
from ringfence.broker.log import log
from ringfence.broker.others import Others
from ringfence.broker.published import Place
from ringfence.broker.store import authority as stored
from ringfence.broker.store.authority import Kept, sequence_of
from ringfence.broker.trust import Trust
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.spiffe_id import TrustDomain
from ringfence.certs.upstream import Upstream


@dataclass(frozen=True, slots=True)
class Terms:
    """What the operator says of an authority.

    With *wit* it has keys for WIT-SVIDs; without, those that it had are published no more, and then forgotten.
    Without *keys_last* the keys ended with the process before: the authority is new, and that is said.
    """

    trust_domain: TrustDomain
    ca_ttl: timedelta
    upstream: Upstream | None = None
    wit: bool = False
    keys_last: bool = True


@dataclass(frozen=True, slots=True)
class _Found:
    """What the store has: our own state (empty for none that can go on), the others', and the sequence of all."""

    state: Mapping[str, Any]
    sequence: int
    others: Others


async def load_trust(terms: Terms, keys: KeyManager, place: Place) -> Trust:
    """The authority as it was, or a new one; raises what the store and the key manager raise.

    Raises CONFLICT for the folder of another trust domain, and of a server that an operator has forgotten.
    """
    found = await _find(terms, place)
    if not found.state:
        return await _make(terms, keys, place, found)
    return await _go_on(terms, keys, place, found)


async def _find(terms: Terms, place: Place) -> _Found:
    kept = await place.store.run(stored.every)
    own, folder = kept.get(place.me, Kept({}, 0)), place.pem.parent
    _check_in_service(own, folder)
    state = own.state
    if state and not terms.keys_last:
        _check_domain(TrustDomain(state["trust_domain"]), terms.trust_domain, folder)
        log.warning("the keys of the last run ended with it: what it signed is believed by nobody any more")
        state = {}
    return _Found(state, sequence_of(kept), await asyncio.to_thread(Others.of, kept, place.me))


async def _make(terms: Terms, keys: KeyManager, place: Place, found: _Found) -> Trust:
    """A new one; where the keys were lost, in the place of another: the bundle goes on."""
    authority = await asyncio.to_thread(
        Authority.create,
        terms.trust_domain,
        keys,
        now=place.clock(),
        ca_ttl=terms.ca_ttl,
        upstream=terms.upstream,
    )
    await asyncio.to_thread(_want_wit, authority, place.clock(), terms.wit)
    trust = Trust(authority, found.sequence, place, others=found.others, before=None)
    await trust.publish()
    await trust.let_others_show()
    return trust


async def _go_on(terms: Terms, keys: KeyManager, place: Place, found: _Found) -> Trust:
    """The one that there was."""
    authority = await asyncio.to_thread(Authority.from_state, found.state, keys, upstream=terms.upstream)
    _check_domain(authority.trust_domain, terms.trust_domain, place.pem.parent)
    authority.ca_ttl = terms.ca_ttl
    trust = Trust(authority, found.sequence, place, others=found.others, before=keys_of(authority))
    # Off for longer than an authority lives: all that it signed has ended, so nobody has to hear first.
    while place.clock() >= authority.current.x509.not_after:
        await trust.step()
    if await asyncio.to_thread(_want_wit, authority, place.clock(), terms.wit):
        await trust.publish()
        await asyncio.to_thread(authority.forget_keys)
    await trust.show()
    return trust


def _want_wit(authority: Authority, now: datetime, wanted: bool) -> bool:  # noqa: FBT001  # run in a thread
    """Have keys for WIT-SVIDs or none, and the code that uses them; whether the keys came or went."""
    if wanted:
        import ringfence.certs.wit_svid  # noqa: F401  # the files of a module are not read in the event loop
    return authority.want_wit(now, wanted=wanted)


def _check_in_service(own: Kept, folder: Path) -> None:
    if own.until:
        raise RingfenceError(
            Kind.CONFLICT,
            "this server was forgotten by an operator",
            where=str(folder),
            hint="Start it with a new --data-dir: it is another server then",
        )


def _check_domain(found: TrustDomain, wanted: TrustDomain, folder: Path) -> None:
    if found != wanted:
        raise RingfenceError(
            Kind.CONFLICT,
            f"this folder belongs to the trust domain {found}",
            where=str(folder),
            hint=f"Give --trust-domain {found}, or another --data-dir for {wanted}",
        )
