"""JWT-SVIDs and WIT-SVIDs, one at a time: authorised, recorded, signed and read back, recorded."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta

from ringfence.broker.entry import Entry
from ringfence.broker.issuance.grants import JWT, WIT, Grants
from ringfence.broker.issuance.records import Records
from ringfence.broker.store.ledger import Issuance
from ringfence.broker.telemetry.names import ENTRY, ISSUE, SPIFFE_ID
from ringfence.broker.telemetry.spans import span
from ringfence.certs.authority import Authority
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.profile import csr_public_key
from ringfence.certs.spiffe_id import SpiffeId

_Sign = Callable[[Entry, datetime, timedelta, str], tuple[str, datetime]]  # the token and its end; last: its serial
_Begin = Callable[[], tuple[str, _Sign]]  # checks what was asked for; the id of the key that signs, and how


class Tokens:
    """What agents ask for at the moment when a workload asks them."""

    def __init__(
        self,
        authority: Authority,
        grants: Grants,
        records: Records,
        *,
        clock: Callable[[], datetime],
        jwt_issuer: str,
    ) -> None:
        self._authority = authority
        self._grants = grants
        self._records = records
        self._clock = clock
        self._jwt_issuer = jwt_issuer

    async def jwt(self, agent: SpiffeId, entry_id: str, audience: Sequence[str]) -> tuple[str, datetime]:
        """See `Issuer.jwt_svid`."""

        def begin() -> tuple[str, _Sign]:
            _check_audience(audience)
            return self._authority.current.jwt.kid, sign

        def sign(entry: Entry, now: datetime, ttl: timedelta, serial: str) -> tuple[str, datetime]:
            token_id = serial if entry.jwt_jti else ""  # by which the ledger knows it
            return self._authority.issue_jwt(
                entry.spiffe_id, tuple(audience), now=now, ttl=ttl, issuer=self._jwt_issuer, token_id=token_id
            )

        return await self._issue(JWT, agent, entry_id, begin)

    async def wit(self, agent: SpiffeId, entry_id: str, csr: bytes) -> tuple[str, datetime]:
        """See `Issuer.wit_svid`."""
        self._authority.wit_key()
        from ringfence.certs.wit_svid import issue_wit  # most servers sign none

        def begin() -> tuple[str, _Sign]:
            key = csr_public_key(csr)

            def sign(entry: Entry, now: datetime, ttl: timedelta, serial: str) -> tuple[str, datetime]:
                return issue_wit(self._authority, entry.spiffe_id, key, now=now, ttl=ttl, token_id=serial)

            return self._authority.wit_key().kid, sign

        return await self._issue(WIT, agent, entry_id, begin)

    async def _issue(self, kind: str, agent: SpiffeId, entry_id: str, begin: _Begin) -> tuple[str, datetime]:
        # 1. Authorise.
        entry, kid, sign = await self._authorised(kind, agent, entry_id, begin)
        with span(ISSUE, {SPIFFE_ID: str(entry.spiffe_id), ENTRY: entry.id}):
            # 2. Record the intent.
            serial, spiffe_id = secrets.token_hex(16), str(entry.spiffe_id)
            now, ttl = self._clock(), self._grants.life(entry, kind)
            ends = int((now + ttl).timestamp())
            await self._records.intend([Issuance(serial, kind, spiffe_id, entry.id, str(agent), kid, ends)])
            # 3. Sign, unless it was revoked meanwhile.
            self._grants.check(entry.spiffe_id)
            token, expires_at = sign(entry, now, ttl, serial)
            # 4. Record, then deliver.
            await self._records.close(kind, str(agent), [(serial, spiffe_id, entry.id)])
            return token, expires_at

    async def _authorised(self, kind: str, agent: SpiffeId, entry_id: str, begin: _Begin) -> tuple[Entry, str, _Sign]:
        try:
            return self._grants.entry(agent, entry_id), *begin()
        except RingfenceError as error:
            await self._records.close(kind, str(agent), [], [(entry_id, error)])
            raise


def _check_audience(audience: Sequence[str]) -> None:
    if not audience or not all(audience):
        raise RingfenceError(Kind.INVALID, "a JWT-SVID needs an audience", hint="Name who is to accept it")
