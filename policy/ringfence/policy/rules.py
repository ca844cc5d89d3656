"""Allow and Deny documents as rules of the model: every name resolved, every mismatch noted."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from pydantic import ValidationError

from ringfence.policy.findings import Findings
from ringfence.policy.headers import HeaderMatch
from ringfence.policy.meaning import digest, rule_meaning, spelled_destination, spelled_source
from ringfence.policy.model import Effect, HttpMatch, Mode, Rule
from ringfence.policy.parse import Parsed
from ringfence.policy.part import DestinationRef, HttpRef
from ringfence.policy.paths import PathPattern
from ringfence.policy.references import Names, References
from ringfence.policy.rule_document import AllowDocument, DenyDocument, SourceRef
from ringfence.policy.token_rules import token_of

_HASH_DIGITS = 12


def rule_of(document: AllowDocument | DenyDocument, parsed: Parsed, names: Names, findings: Findings) -> Rule:
    """The rule that *document* means; references that lead nowhere are noted and left out."""
    spec, resolving = document.spec, References(parsed, names, findings)
    known = ((i, ref) for i, ref in enumerate(spec.sources) if not ref.plaintext)
    sources = {s for i, ref in known if (s := resolving.source(("spec", "from", i), ref)) is not None}
    found = {
        d for i, ref in enumerate(spec.destinations) if (d := resolving.destination(("spec", "to", i), ref)) is not None
    }
    domain = names.mesh.trust_domain
    rule = Rule(
        namespace=document.metadata.namespace,
        name=document.metadata.name,
        effect=Effect.ALLOW if isinstance(document, AllowDocument) else Effect.DENY,
        mode=Mode(spec.mode),
        sources=tuple(sorted(sources, key=lambda source: spelled_source(source, domain))),
        destinations=tuple(sorted(found, key=spelled_destination)),
        http=_http(spec.requests),
        owner=spec.owner,
        reason=spec.reason,
        expires=spec.expires,
        hash="",
        origin=parsed.origin,
        token=token_of(spec.jwt, resolving) if spec.jwt is not None else None,
        plaintext=_plaintext(spec.sources),
        server_names=resolving.server_names(spec.server_names or (), found),
    )
    return replace(rule, hash=digest(rule_meaning(rule, domain))[:_HASH_DIGITS])


def check_references(parsed: Parsed, names: Names, findings: Findings) -> None:
    """Notes the references that lead nowhere in a rule that has errors elsewhere, so that all are seen at once."""
    resolving = References(parsed, names, findings)
    spec = parsed.node.child("spec") or parsed.node
    for index, node in spec.items("from"):
        with suppress(ValidationError):  # noted when the document was parsed
            source = SourceRef.model_validate(node.plain())
            if not source.plaintext:
                resolving.source(("spec", "from", index), source)
    for index, node in spec.items("to"):
        with suppress(ValidationError):
            resolving.destination(("spec", "to", index), DestinationRef.model_validate(node.plain()))


def _plaintext(refs: list[SourceRef]) -> tuple[str, ...] | None:
    """Where the callers without an identity come from: anywhere, if one of the entries says so."""
    named = [ref for ref in refs if ref.plaintext]
    if not named:
        return None
    if any(ref.cidrs is None for ref in named):
        return ()
    return tuple(sorted({cidr for ref in named for cidr in ref.cidrs or ()}))


def _http(refs: list[HttpRef]) -> tuple[HttpMatch, ...]:
    found = {
        HttpMatch(
            frozenset(ref.methods or ()),
            tuple(sorted({PathPattern(path) for path in ref.paths or ()})),
            tuple(sorted({HeaderMatch(h.name, h.exact, h.prefix) for h in ref.headers or ()}, key=repr)),
        )
        for ref in refs
    }
    return tuple(sorted(found, key=lambda match: (sorted(match.methods), match.paths, repr(match.headers))))
