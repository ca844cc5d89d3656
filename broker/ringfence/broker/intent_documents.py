"""What documents of intent mean to this server, what is wrong with them, and what they change."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from ringfence.broker.store.document import Document
from ringfence.broker.store.entries import CONFIGURED, CREATED, PRUNED, UNCHANGED
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

if TYPE_CHECKING:
    from ringfence.policy.findings import Finding
    from ringfence.policy.load import Loaded, LoadedDocument
    from ringfence.policy.model import Origin


def judged(
    texts: Sequence[Document],
    trust_domain: TrustDomain,
    now: datetime,
    federated: Container[TrustDomain] | None = None,
) -> Loaded:
    """What *texts* mean to a server of *trust_domain*; raises INVALID when they are for another one.

    *federated*: the other trust domains whose bundles it has, where that is known.
    """
    from ringfence.policy.load import load_documents  # 0.1 s of YAML and pydantic that an empty server saves

    pairs = [(document.path, document.text) for document in texts]
    loaded = load_documents(pairs, default_trust_domain=trust_domain, now=now, federated=federated)
    if loaded.model is not None and loaded.model.mesh.trust_domain != trust_domain:
        mesh = next(document for document in loaded.documents if document.kind == "Mesh")
        raise RingfenceError(
            Kind.INVALID,
            f"the documents are for {loaded.model.mesh.trust_domain}, this server is of {trust_domain}",
            where=str(mesh.origin),
            hint="Correct spec.trustDomain, or apply them to another server",
        )
    return loaded


def written(texts: Iterable[Document], origin: Origin) -> str:
    """The document that begins at *origin*, up to the next one in its file; empty where no such file was applied.

    A line that begins with `---` or `...` and no more than space ends a document, whatever stands in it (YAML 1.2.2,
    section 9.1.2).
    """
    text = next((document.text for document in texts if document.path == origin.path), b"")
    lines = text.decode("utf-8").splitlines(keepends=True)[origin.line - 1 :]
    end = next((i for i, line in enumerate(lines) if i and line[:3] in {"---", "..."} and not line[3:4].strip()), None)
    return "".join(lines[:end])


def refused(findings: Iterable[Finding]) -> RingfenceError:
    """The first error of *findings* as a failure, with how many more there are."""
    errors = [finding for finding in findings if finding.level == "error"]
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    first = errors[0]
    return RingfenceError(Kind.INVALID, f"{first.code} {first.message}{more}", where=first.where, hint=first.hint)


def changed(before: Iterable[LoadedDocument], after: Iterable[LoadedDocument]) -> Iterable[tuple[str, str]]:
    """Each document of either, with what becomes of it when *after* replaces *before*."""
    held = {str(document): document.hash for document in before}
    for document in after:
        known = held.pop(str(document), None)
        action = CREATED if known is None else UNCHANGED if known == document.hash else CONFIGURED
        yield str(document), action
    for name in held:
        yield name, PRUNED
