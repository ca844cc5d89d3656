"""What an editor of namespaces may do to the intent: change documents of its own that reach no further."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from ringfence.broker.access.namespaces import overlaps
from ringfence.broker.access.refusal import denied
from ringfence.broker.access.registrations import own_dns_name
from ringfence.broker.access.rights import Caller, Role

if TYPE_CHECKING:  # the policy room costs 0.1 s that a server without intent saves
    from ringfence.certs.spiffe_id import TrustDomain
    from ringfence.policy.load import LoadedDocument
    from ringfence.policy.model import Model, Rule, Workload

_NAMESPACED = frozenset({"Workload", "External", "Allow", "Deny", "Traffic", "FabricGrant"})


@dataclass(frozen=True, slots=True)
class Intended:
    """The documents of an intent and what they mean together; before the first apply there are none."""

    documents: Sequence[LoadedDocument]
    model: Model | None


@dataclass(frozen=True, slots=True)
class IntentPermit:
    """What *caller* may do to the intent."""

    caller: Caller

    def check(self, before: Intended, after: Intended) -> None:
        """Raise DENIED unless every document that differs is the caller's to change."""
        # 1. An admin may.
        if self.caller.rights.admin:
            return
        held = tuple(self.caller.privileged())
        for document in _touched(before.documents, after.documents):
            # 2. What holds for the whole mesh is not a namespace's.
            if document.kind not in _NAMESPACED:
                raise denied(self.caller, f"change or remove {document}", Role.ADMIN)
            # 3. A document of another namespace stays as it is: it is neither changed nor left out.
            namespace = document.key.partition("/")[0]
            if not self.caller.rights.changes(namespace):
                raise denied(self.caller, f"change, add or leave out {document}", Role.EDITOR, namespace)
            for side in (before, after):
                self._check_reach(document, side, held)

    def _check_reach(self, document: LoadedDocument, side: Intended, held: Sequence[str]) -> None:
        """Raise DENIED for a document that, as it was or as it is to be, decides about others."""
        if side.model is None:
            return
        for rule in _rules(side.model, document):
            self._check_rule(document, rule, side.model.mesh.trust_domain)
        # 7. Who is on a fabric, past all proxies, is for the editors of the fabric's namespace to say.
        for fabric in _granted(side.model, document):
            owner = fabric.partition("/")[0]
            if not self.caller.rights.changes(owner):
                raise denied(self.caller, f"decide by {document} who is on {fabric}", Role.EDITOR, owner)
        # 8. A workload gets no name that has rights of its own, no host's name that is another's, and no such callers.
        workload = side.model.workloads.get(document.key) if document.kind == "Workload" else None
        if workload is not None:
            self._check_names(document, workload, held)
            if any(port.plaintext is not None for port in workload.serves):
                raise denied(self.caller, f"change {document}, which takes callers without an identity", Role.ADMIN)

    def _check_rule(self, document: LoadedDocument, rule: Rule, own: TrustDomain) -> None:
        # 4. Who may reach a workload is for the editors of its namespace to say.
        for destination in rule.destinations:
            owner = destination.key.partition("/")[0]
            if not self.caller.rights.changes(owner):
                raise denied(self.caller, f"decide by {document} who reaches {destination.key}", Role.EDITOR, owner)
        # 5. And who trusts another trust domain, for the one that federates.
        if any(source.foreign(own) for source in rule.sources):
            raise denied(self.caller, f"speak in {document} of callers of another trust domain", Role.ADMIN)
        # 6. And who lets in callers that prove nothing, for the one that answers for the mesh.
        if rule.plaintext is not None:
            raise denied(self.caller, f"speak in {document} of callers without an identity", Role.ADMIN)

    def _check_names(self, document: LoadedDocument, workload: Workload, held: Sequence[str]) -> None:
        if overlaps(workload.path, held):
            raise denied(self.caller, f"change {document}, since that name has rights of its own", Role.ADMIN)
        if stray := [name for name in workload.dns_names if not own_dns_name(name, workload.namespace)]:
            what = f"give the DNS name {stray[0]} (yours end in .{workload.namespace}) to {document}"
            raise denied(self.caller, what, Role.ADMIN)


def _touched(before: Iterable[LoadedDocument], after: Iterable[LoadedDocument]) -> Iterator[LoadedDocument]:
    """Every document that is new, gone or means something else."""
    held = {str(document): document for document in before}
    for document in after:
        known = held.pop(str(document), None)
        if known is None or known.hash != document.hash:
            yield document
    yield from held.values()


def _rules(model: Model, document: LoadedDocument) -> Iterator[Rule]:
    if document.kind in {"Allow", "Deny"}:
        yield from (rule for rule in model.rules if rule.id == document.key)


def _granted(model: Model, document: LoadedDocument) -> Iterator[str]:
    """The key of the fabric that *document* grants."""
    if document.kind == "FabricGrant" and document.key in model.fabric_grants:
        yield model.fabric_grants[document.key].fabric
