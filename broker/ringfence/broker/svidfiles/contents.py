"""What the files hold: from what the agent gave to the bytes of every file. No I/O."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import load_pem_x509_certificates

from ringfence.broker.agent.fetching import Delivery, FetchedSvid
from ringfence.broker.svidfiles.wanted import Access, Wanted
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.bundle_map import write_map
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class Content:
    """The bytes of one file, which may be secret."""

    data: bytes = field(repr=False)
    mode: int


def chosen(delivery: Delivery, wanted: Wanted) -> FetchedSvid:
    """The first SVID that fits *wanted*; raises DENIED, with the names that the agent gave."""
    for svid in delivery.svids:
        if wanted.is_chosen(svid.spiffe_id, svid.hint):
            return svid
    given = ", ".join(svid.spiffe_id for svid in delivery.svids)
    raise RingfenceError(
        Kind.DENIED,
        f"the agent gave {given or 'nothing'}, and not what --spiffe-id or --hint asks for",
        hint="`ringfence svid fetch x509` shows what this user gets",
    )


def contents(delivery: Delivery, tokens: Mapping[str, str], wanted: Wanted, access: Access) -> dict[str, Content]:
    """Every file that can be written now: one whose bundle or token is not there (yet) is left out."""
    svid = chosen(delivery, wanted)
    joined = [svid.bundle, *(delivery.federated.values() if wanted.join_federated else ())]
    public = {wanted.cert: svid.chain, wanted.bundle: "".join(joined)}
    public |= {name: delivery.federated.get(domain, "") for name, domain in wanted.federated.items()}
    if wanted.bundle_map:
        public[wanted.bundle_map] = _bundle_map(svid, delivery.federated)
    secret = {wanted.key: svid.key, wanted.combined: svid.chain + svid.key}
    secret |= {name: tokens.get(name, "") for name in wanted.jwt}
    return _files(public, access.cert_mode) | _files(secret, access.key_mode)


def changed(before: Mapping[str, Content], after: Mapping[str, Content]) -> list[str]:
    """The names of the files that differ, or came, or went."""
    return sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))


def chosen_token(answers: Iterable[Mapping[str, str]], wanted: Wanted) -> str:
    """The first token that fits *wanted*; raises DENIED."""
    for answer in answers:
        if wanted.is_chosen(answer["spiffe_id"], answer["hint"]):
            return answer["svid"]
    raise RingfenceError(Kind.DENIED, "the agent gave no JWT-SVID for the identity that is asked for")


def token_life(token: str) -> tuple[datetime, datetime]:
    """`iat` and `exp` of a JWT (RFC 7519 4.1), unverified: it came from our own agent. Raises INVALID."""
    try:
        payload = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        end = datetime.fromtimestamp(claims["exp"], UTC)
        return datetime.fromtimestamp(claims.get("iat", claims["exp"]), UTC), end
    except (IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError, OSError):
        raise RingfenceError(Kind.INVALID, "the agent sent something that is no JWT-SVID") from None


def _bundle_map(svid: FetchedSvid, federated: Mapping[str, str]) -> str:
    """The roots of every trust domain under its name, as gRPC and Envoy read them; one without any is left out."""
    bundles = [(SpiffeId.parse(svid.spiffe_id).trust_domain, svid.bundle)]
    bundles += [(TrustDomain(name), pem) for name, pem in sorted(federated.items())]
    return write_map(SpiffeBundle(name, _roots(pem)) for name, pem in bundles if pem).decode()


def _roots(pem: str) -> tuple[bytes, ...]:
    return tuple(root.public_bytes(Encoding.DER) for root in load_pem_x509_certificates(pem.encode()))


def _files(texts: Mapping[str, str], mode: int) -> dict[str, Content]:
    return {name: Content(text.encode(), mode) for name, text in texts.items() if name and text}
