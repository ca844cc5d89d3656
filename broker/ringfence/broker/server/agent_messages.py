"""What the server says to an agent, from our values to messages."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.entry import DEFAULT_JWT_TTL, DEFAULT_X509_TTL, Entry
from ringfence.broker.issue import Answer
from ringfence.broker.registry import Delta, Registry
from ringfence.broker.revoked import Revoked
from ringfence.broker.status import code_of
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId
from ringfence.policy.entries import LaunchRule

_ENTRIES_A_MESSAGE = 2_000  # about 0.6 MB, well under the 4 MiB that gRPC clients take


def entries_updates(delta: Delta) -> Iterator[pb.ServerMessage]:
    """*delta* in one message, or in several: only the last names the new revision, so a cut short series is resumed."""
    pieces = [
        delta.upserts[start : start + _ENTRIES_A_MESSAGE]
        for start in range(0, max(len(delta.upserts), 1), _ENTRIES_A_MESSAGE)
    ]
    for position, piece in enumerate(pieces):
        update = pb.EntriesUpdate(full=delta.full and position == 0, upserts=map(_entry, piece))
        if position == len(pieces) - 1:
            update.revision = delta.revision
            update.removed.extend(gone.id for gone in delta.removed)
            update.launch_changed = delta.launch is not None
            update.launch_rules.extend(map(_launch_rule, delta.launch or ()))
        yield pb.ServerMessage(entries=update)


def revocations(delta: Delta, registry: Registry, agent: SpiffeId) -> pb.ServerMessage | None:
    """The identities that lost their last entry, to be dropped at once; None when there is none."""
    if not delta.removed:
        return None
    kept = {entry.spiffe_id for entry in registry.entitled(agent)}
    lost = {str(gone.spiffe_id) for gone in delta.removed if gone.spiffe_id not in kept}
    return pb.ServerMessage(revocations=pb.Revocations(spiffe_ids=sorted(lost))) if lost else None


def revoked(held: Revoked, agent: SpiffeId) -> bytes:
    """A `Revoked` with all that *agent* has to know, always the same bytes for the same; empty for nothing."""
    name, current = str(agent), held.current
    return pb.Revoked(
        identities=[
            pb.RevokedIdentity(spiffe_id=one.spiffe_id, reason=one.reason)
            for _, one in sorted(current.identities.items())
        ],
        serials=sorted(one.serial for one in current.serials.values() if one.node == name),
        crls=[crl.der for _, crl in sorted(held.crls.items())],
    ).SerializeToString(deterministic=True)


def svid_response(request_id: int, answers: Iterable[Answer]) -> pb.ServerMessage:
    """The chains asked for, or for each why not."""
    return pb.ServerMessage(svids=pb.SvidResponse(id=request_id, results=map(_result, answers)))


def jwt_refused(request_id: int, error: RingfenceError) -> pb.ServerMessage:
    """Why there is no token."""
    return pb.ServerMessage(jwt=pb.JwtResponse(id=request_id, code=code_of(error.kind), detail=error.detail))


def wit_refused(request_id: int, error: RingfenceError) -> pb.ServerMessage:
    """Why there is no WIT-SVID."""
    return pb.ServerMessage(wit=pb.WitResponse(id=request_id, code=code_of(error.kind), detail=error.detail))


def renew_refused(request_id: int, error: RingfenceError) -> pb.ServerMessage:
    """Why the agent's own SVID is not renewed."""
    return pb.ServerMessage(renew=pb.RenewResponse(id=request_id, code=code_of(error.kind), detail=error.detail))


def _result(answer: Answer) -> pb.SvidResult:
    result = pb.SvidResult(entry_id=answer.entry_id, chain=answer.chain)
    if answer.refused is not None:
        result.code = code_of(answer.refused.kind)
        result.detail = answer.refused.detail
    return result


def _entry(entry: Entry) -> pb.Entry:
    return pb.Entry(
        id=entry.id,
        spiffe_id=str(entry.spiffe_id),
        selectors=map(str, entry.selectors),
        x509_ttl=entry.x509_ttl or DEFAULT_X509_TTL,
        jwt_ttl=entry.jwt_ttl or DEFAULT_JWT_TTL,
        dns_names=entry.dns_names,
        hint=entry.hint,
        created_at=entry.created_at,
        expires_at=entry.expires_at,
        federates_with=[domain.name for domain in entry.federates_with],
        store_svid=entry.store_svid,
        template=entry.template,
    )


def _launch_rule(rule: LaunchRule) -> pb.LaunchRule:
    by = [pb.SelectorSet(selectors=map(str, selectors)) for selectors in rule.by]
    return pb.LaunchRule(namespace=rule.namespace, name=rule.name, by=by, job=rule.job)
