"""TokenIssuer documents and what rules ask of tokens, as values of the model."""

from __future__ import annotations

from ringfence.policy.findings import did_you_mean
from ringfence.policy.model import Origin
from ringfence.policy.references import References
from ringfence.policy.token_document import JwtRef, TokenIssuerDocument
from ringfence.policy.tokens import ClaimMatch, TokenIssuer, TokenMatch


def issuer_of(document: TokenIssuerDocument, origin: Origin) -> TokenIssuer:
    """The issuer that *document* means."""
    spec, metadata = document.spec, document.metadata
    audiences = tuple(sorted(set(spec.audiences)))
    return TokenIssuer(metadata.namespace, metadata.name, spec.issuer, audiences, spec.jwks, origin)


def token_of(ref: JwtRef, references: References) -> TokenMatch | None:
    """What the reference means; None, and noted, when no document declares the issuer."""
    names, parsed = references.names, references.parsed
    key = f"{ref.namespace or parsed.namespace}/{ref.issuer}"
    if key not in names.issuers:
        if not names.excuses(key):
            place, hint = parsed.node.at("spec", "jwt", "issuer"), did_you_mean(key, names.issuers)
            references.findings.add("RF1202", place, f"no document declares the token issuer {key!r}", hint)
        return None
    wanted = ((name, tuple(sorted(set(values)))) for name, values in (ref.claims or {}).items())
    return TokenMatch(key, tuple(ClaimMatch(name, values) for name, values in sorted(wanted)))
