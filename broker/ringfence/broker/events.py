"""One function an event of the server: the log line and the number together, so that neither is forgotten."""

from __future__ import annotations

from collections.abc import Sequence

from ringfence.broker import metrics
from ringfence.broker.log import log
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId


def issued(kind: str, agent: str, documents: Sequence[tuple[str, str, str]]) -> None:
    """SVIDs were signed and recorded for one request: (serial, SPIFFE ID, entry) each; *kind* is x509, jwt or wit.

    A batch is one line; the inventory and the audit log have each of them.
    """
    if not documents:
        return
    metrics.ISSUED.labels(kind, "ok").inc(len(documents))
    if len(documents) == 1:
        ((serial, spiffe_id, _),) = documents
        log.info("svid issued", type=kind, spiffe_id=spiffe_id, serial=serial)
    else:
        log.info("svids issued", type=kind, count=len(documents), agent=agent)


def refused(kind: str, spiffe_id: SpiffeId, error: RingfenceError) -> None:
    """An SVID was asked for and not given."""
    metrics.ISSUED.labels(kind, "refused").inc()
    log.warning("svid refused", type=kind, spiffe_id=str(spiffe_id), kind=error.kind.value, detail=error.detail)


def signers(pids: Sequence[int]) -> None:
    """Signer processes run."""
    log.info("signers", pids=list(pids))


def signer_failed(detail: str) -> None:
    """A signer process could not do its work, which is done in the server instead."""
    log.warning("signer failed", detail=detail)


def unfinished(serials: Sequence[str]) -> None:
    """The last run ended, or failed, between recording an intent to sign and recording that it was done."""
    log.warning("issuance left unfinished", count=len(serials), serials=list(serials[:20]))


def attested(attestor: str, spiffe_id: str, address: str) -> None:
    """A node proved itself."""
    metrics.ATTESTED.labels(attestor, "ok").inc()
    log.info("node attested", attestor=attestor, spiffe_id=spiffe_id, address=address)


def attestation_failed(attestor: str, address: str, error: RingfenceError) -> None:
    """A node did not prove itself."""
    metrics.ATTESTED.labels(attestor, "refused").inc()
    log.warning("node refused", attestor=attestor, address=address, detail=error.detail)


def authorities_read(count: int) -> None:
    """The files of those who issue nodes' certificates have changed."""
    log.info("authorities of nodes read", count=count)


def authorities_kept(error: RingfenceError) -> None:
    """They have changed, to something that cannot be used."""
    log.error("authorities of nodes kept as they were", error=str(error))


def cluster_failed(cluster: str, error: RingfenceError) -> None:
    """A Kubernetes cluster could not be asked about a node."""
    log.error("cluster not asked", cluster=cluster, error=str(error))


def agent_connected(spiffe_id: SpiffeId, address: str, version: str) -> None:
    """An agent opened its stream."""
    metrics.AGENTS.labels("connected").inc()
    log.info("agent connected", spiffe_id=str(spiffe_id), address=address, version=version)


def agent_left(spiffe_id: SpiffeId, address: str) -> None:
    """Its stream ended."""
    metrics.AGENTS.labels("connected").dec()
    log.info("agent left", spiffe_id=str(spiffe_id), address=address)


def node_ended(spiffe_id: SpiffeId, how: str, streams: int) -> None:
    """An operator evicted or banned an agent."""
    metrics.NODES_ENDED.labels(how).inc()
    log.warning(f"node {how}", spiffe_id=str(spiffe_id), streams=streams)


def node_unbanned(spiffe_id: SpiffeId) -> None:
    """An operator lifted a ban."""
    log.warning("node unbanned", spiffe_id=str(spiffe_id))


def revoked(kind: str, subject: str, documents: int, reason: str) -> None:
    """An operator revoked an identity, a serial, or all that a node got."""
    metrics.REVOCATIONS.labels(kind).inc()
    log.warning("revoked", kind=kind, subject=subject, documents=documents, reason=reason)


def lifted(spiffe_id: str) -> None:
    """The revocation of an identity was lifted, or its time was over."""
    metrics.REVOCATIONS.labels("lift").inc()
    log.warning("revocation lifted", spiffe_id=spiffe_id)


def crl_signed(authority: str, number: int, serials: int) -> None:
    """An authority has a new revocation list."""
    log.info("revocation list", authority=authority, number=number, serials=serials)


def crl_failed(authority: str, error: RingfenceError) -> None:
    """It has none: what it revoked is refused here and by proxies, but not by those who read lists only."""
    log.error("no revocation list", authority=authority, detail=error.detail)


def peer_turned_away(spiffe_id: SpiffeId, address: str, how: str, why: str) -> None:
    """Somebody showed a revoked certificate, or had shown it before it was revoked."""
    metrics.TURNED_AWAY.labels(how).inc()
    log.warning("peer turned away", spiffe_id=str(spiffe_id), address=address, how=how, why=why)


def audit_opened(seq: int, head: str, *, cut_off: int) -> None:
    """The audit log goes on from here: kept elsewhere, this line is an anchor for `audit verify --anchor`."""
    if cut_off:
        log.warning("audit log had a torn last line", bytes_cut_off=cut_off)
    log.info("audit log", seq=seq, head=head)


def authority_step(step: str, key_id: str) -> None:
    """The authority prepared, activated or pruned."""
    log.info("authority", step=step, id=key_id)


def key_missed(by: str, done: str) -> None:
    """Somebody saw a key that is in no bundle here. Not logged: a stranger can make one up."""
    metrics.MISSED_KEYS.labels(by, done).inc()


def fetching_early(kind: str, trust_domain: str, by: str) -> None:
    """A partner's bundle is fetched before its hint says so, because of such a key."""
    key_missed(kind, "fetched_early")
    log.info("bundle fetched early", trust_domain=trust_domain, by=by)


def bundle_sent_again(agent: SpiffeId) -> None:
    """An agent saw a token of ours by a key that it does not know."""
    key_missed("agent", "sent_again")
    log.info("bundle sent again", agent=str(agent))


def applied(revision: str, *, changed: int, rules: int, proxies: int) -> None:
    """Intent came into force."""
    metrics.REVISION.clear()
    metrics.REVISION.labels(revision).set(1)
    metrics.RULES.set(rules)
    log.info("intent applied", revision=revision, changed=changed, rules=rules, proxies=proxies)
