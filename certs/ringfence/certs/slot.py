"""One generation of an authority: a root for X.509-SVIDs and a key for JWT-SVIDs."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import ClassVar, Self

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec

from ringfence.certs import tbs
from ringfence.certs.attempt import each, only
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.certificate import issuer_key_id, read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.intermediate import AuthorityDraft, check_authority, lay_out
from ringfence.certs.keys.port import KeyManager
from ringfence.certs.leaf_check import LeafCheck
from ringfence.certs.profile import BACKDATE, LeafDraft, check_draft, draft_leaf, new_serial
from ringfence.certs.request import signed_request
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer
from ringfence.certs.upstream import Upstream

X509_PREFIX, JWT_PREFIX, WIT_PREFIX = "x509-", "jwt-", "wit-"


class X509Authority:
    """A root, or an intermediate of an upstream's, and the name of its key in a key manager; the key is never here.

    `chain` is what follows a leaf of its (nothing for a root), `roots` what others trust it by.
    """

    def __init__(
        self,
        trust_domain: TrustDomain,
        der: bytes,
        *,
        key_id: str,
        keys: KeyManager,
        above: tuple[bytes, ...] = (),
        roots: tuple[bytes, ...] = (),
    ) -> None:
        self.chain = (der, *above) if roots else ()
        self.roots = roots or (der,)
        self.trust_domain = trust_domain
        self.der = der
        self.key_id = key_id
        self.certificate = read_certificate(der)
        self.not_before = self.certificate.not_valid_before_utc
        self.not_after = self.certificate.not_valid_after_utc
        self._keys = keys
        self._check = LeafCheck.of(self.certificate)
        self._template = tbs.LeafTemplate.of(self.certificate)

    def __repr__(self) -> str:
        return f"<X509Authority {self.subject_key_id} of {self.trust_domain} until {self.not_after:%Y-%m-%dT%H:%M:%SZ}>"

    @property
    def issuer_id(self) -> str:
        """The subject key id of the upstream that signed it, in hex; empty for a root."""
        return issuer_key_id(self.certificate) if self.chain else ""

    @property
    def id(self) -> str:
        """The same as `subject_key_id`."""
        return self.subject_key_id

    @property
    def subject_key_id(self) -> str:
        """The subject key identifier, 40 hexadecimal digits: the name of this authority in listings."""
        return self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest.hex()

    @classmethod
    def create(
        cls,
        trust_domain: TrustDomain,
        keys: KeyManager,
        *,
        now: datetime,
        ttl: timedelta,
        upstream: Upstream | None = None,
    ) -> X509Authority:
        """A new root, or an intermediate of *upstream*, valid from 10 s ago for *ttl*.

        It is proven by a throw-away leaf before anyone hears of it.
        """
        key_id = X509_PREFIX + secrets.token_hex(16)
        public_key = keys.generate(key_id)
        if upstream is not None:
            request = signed_request(public_key, partial(keys.sign, key_id))
            minted = upstream.mint(trust_domain, request, now=now, ttl=ttl)
            made = cls(
                trust_domain, minted.certificate, key_id=key_id, keys=keys, above=minted.above, roots=minted.roots
            )
            made.prove(now)
            return made
        layout = tbs.authority_tbs(
            trust_domain,
            public_key,
            serial=new_serial(),
            not_before=(now - BACKDATE).replace(microsecond=0),
            not_after=(now + ttl).replace(microsecond=0),
        )
        made = cls(trust_domain, tbs.certificate(layout, keys.sign(key_id, layout)), key_id=key_id, keys=keys)
        made.prove(now)
        return made

    def sign(self, draft: LeafDraft) -> bytes:
        """The certificate (DER) that *draft* asks for; raises INVALID or DENIED, and then nothing was handed out."""
        return only(self.sign_all([draft]))

    def sign_all(self, drafts: Sequence[LeafDraft]) -> list[bytes | RingfenceError]:
        """The same of each of *drafts*, or why it is refused."""
        # 1. Only what was checked is signed.
        checked = each(self._check_draft, drafts)
        # 2. The layout is ours, the signature the key manager's.
        signed = each(self._certificate, each(self._template.fill, checked))
        # 3. Only what reads back as the draft leaves this house.
        return self._check.check_all(signed, drafts)

    def check_content(self, signed: bytes, draft: LeafDraft) -> None:
        """Raise INVALID unless *signed* says what *draft* says; whoever signed it has checked the signature."""
        self._check.check_content(signed, draft)

    def sign_authority(self, draft: AuthorityDraft) -> bytes:
        """The certificate (DER) of an authority below this one; raises INVALID, and then nothing was handed out."""
        layout = lay_out(draft, self.certificate)
        signed = tbs.certificate(layout, self._keys.sign(self.key_id, layout))
        check_authority(signed, draft, self.certificate)
        return signed

    def signature(self, layout: bytes) -> bytes:
        """The key's ECDSA SHA-256 signature (DER) over a list of what is revoked; raises NOT_FOUND without the key."""
        return self._keys.sign(self.key_id, layout)

    def prove(self, now: datetime) -> None:
        """Raise INVALID unless this root verifies itself and its key signs leaves that verify."""
        if not self.chain:
            self._prove_root()
        leaf = self.sign(
            draft_leaf(
                SpiffeId(self.trust_domain, "/ringfence/proof"),
                ec.generate_private_key(ec.SECP256R1()).public_key(),
                now=now,
                ttl=timedelta(minutes=1),
                issuer_not_before=self.not_before,
                issuer_not_after=self.not_after,
            )
        )
        if self.chain:
            self._prove_chain(leaf, now)

    def _check_draft(self, draft: LeafDraft) -> LeafDraft:
        check_draft(draft, trust_domain=self.trust_domain)
        return draft

    def _certificate(self, layout: bytes) -> bytes:
        return tbs.certificate(layout, self._keys.sign(self.key_id, layout))

    def _prove_root(self) -> None:
        try:
            self.certificate.verify_directly_issued_by(self.certificate)
        except (ValueError, InvalidSignature):
            raise RingfenceError(
                Kind.INVALID,
                f"the root {self.subject_key_id} does not verify under its own key",
                hint="The key manager holds another key under this name",
            ) from None

    def _prove_chain(self, leaf: bytes, now: datetime) -> None:
        try:
            verify_peer((leaf, *self.chain), SpiffeBundle(self.trust_domain, self.roots), now=now)
        except RingfenceError as error:
            raise RingfenceError(
                Kind.INVALID,
                f"what the upstream signed does not lead to its roots: {error.detail}",
                hint="Check that --upstream-cert holds every certificate between ours and --upstream-roots",
            ) from None


@dataclass(frozen=True, slots=True)
class TokenAuthority:
    """The public half of a key that signs tokens, its `kid`, and the span within which its tokens live."""

    PREFIX: ClassVar[str]  # of the names of such keys in a key manager

    kid: str
    public_key: ec.EllipticCurvePublicKey
    not_before: datetime
    not_after: datetime

    @property
    def issuer_id(self) -> str:
        """Empty: nobody signs a token key."""
        return ""

    @property
    def id(self) -> str:
        """The same as `kid`."""
        return self.kid

    @property
    def key_id(self) -> str:
        """The name of the private half in the key manager."""
        return self.PREFIX + self.kid

    @classmethod
    def create(cls, keys: KeyManager, *, not_before: datetime, not_after: datetime) -> Self:
        """A new key with a random `kid`, so that none repeats over the life of a bundle. Times are whole seconds."""
        kid = secrets.token_hex(16)
        return cls(kid, keys.generate(cls.PREFIX + kid), not_before, not_after)


class JwtAuthority(TokenAuthority):
    """A JWT-SVID key (JWT-SVID 6.1)."""

    __slots__ = ()
    PREFIX = JWT_PREFIX


class WitAuthority(TokenAuthority):
    """A WIT-SVID key (WIT-SVID 6.1): one of its own, so that no token of either kind passes for the other."""

    __slots__ = ()
    PREFIX = WIT_PREFIX


@dataclass(frozen=True, slots=True)
class Slot:
    """An X.509 root and a JWT key that sign, or follow, at the same time."""

    x509: X509Authority
    jwt: JwtAuthority

    @property
    def key_ids(self) -> frozenset[str]:
        """The names of its private keys."""
        return frozenset({self.x509.key_id, self.jwt.key_id})
