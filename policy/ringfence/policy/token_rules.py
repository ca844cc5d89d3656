"""TokenIssuer documents and what rules ask of tokens, as values of the model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from types import MappingProxyType
from urllib.parse import SplitResult, urlsplit

from ringfence.policy.findings import Findings, did_you_mean
from ringfence.policy.forbidden import is_metadata, is_misspelt_address
from ringfence.policy.jwks import check_jwks
from ringfence.policy.model import Model
from ringfence.policy.parse import Parsed
from ringfence.policy.references import References
from ringfence.policy.resolve import Reader, beside, ca_of, reason
from ringfence.policy.token_document import JwtRef, TokenIssuerDocument
from ringfence.policy.tokens import ClaimMatch, KeySource, TokenIssuer, TokenMatch

DEFAULT_MAX_AGE = timedelta(hours=24)


def issuer_of(document: TokenIssuerDocument, parsed: Parsed, read: Reader, findings: Findings) -> TokenIssuer:
    """The issuer that *document* means; keys that cannot be read or fetched from there are noted."""
    spec, metadata = document.spec, document.metadata
    audiences = tuple(sorted(set(spec.audiences)))
    keys = spec.jwks or (_keys_in(spec.jwks_file, parsed, read, findings) if spec.jwks_file else "")
    source = None
    if spec.jwks_uri is not None:
        _check_host(spec.jwks_uri, parsed, findings)
        ca = ca_of(spec.ca, spec.ca_file, parsed, read, findings)
        source = KeySource(spec.jwks_uri, ca, spec.jwks_max_age or DEFAULT_MAX_AGE)
    return TokenIssuer(metadata.namespace, metadata.name, spec.issuer, audiences, keys, parsed.origin, source)


def _keys_in(file: str, parsed: Parsed, read: Reader, findings: Findings) -> str:
    place, path = parsed.node.at("spec", "jwksFile"), beside(parsed, file)
    try:
        text = read(path)
    except (OSError, UnicodeError, ValueError) as error:
        findings.add("RF1110", place, f"cannot read {path}: {reason(error)}", "Name a .jwks file beside the document")
        return ""
    try:
        return check_jwks(text)
    except ValueError as error:
        findings.add("RF1110", place, f"{path} is no set of public keys: {error}")
        return ""


def _check_host(uri: str, parsed: Parsed, findings: Findings) -> None:
    """Nobody has a server of ours ask a metadata service, or a host of which there is more than one reading."""
    place, parts = parsed.node.at("spec", "jwksUri"), urlsplit(uri)
    host = parts.hostname or ""
    if is_metadata(host):
        findings.add("RF1111", place, f"{host} is a cloud's metadata service")
    elif not _has_port(parts) or is_misspelt_address(host):
        findings.add("RF1105", place, f"{uri} has no clear host and port", "Write https://NAME:PORT/PATH")


def _has_port(parts: SplitResult) -> bool:
    """Whether the port of a URL is one; urllib judges it when it is asked for."""
    try:
        return parts.port != 0
    except ValueError:
        return False


def with_keys(model: Model, fetched: Mapping[str, str]) -> Model:
    """*model* with the key sets that were *fetched*, by the key of their issuer; its revision stays.

    The keys of an issuer that has a source and is not among them are not known, so that none of its tokens is valid.
    """
    if all(issuer.source is None for issuer in model.issuers.values()):
        return model
    issuers = {
        key: issuer if issuer.source is None else replace(issuer, jwks=fetched.get(key, ""))
        for key, issuer in model.issuers.items()
    }
    return replace(model, issuers=MappingProxyType(issuers))


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
