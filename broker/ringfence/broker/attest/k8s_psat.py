"""Node attestation by Kubernetes: an agent shows its pod's token; the cluster says whose it is and on which node."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from ringfence.broker import events
from ringfence.broker.attest.k8s_client import client_of, failure, status_code
from ringfence.broker.attest.k8s_clusters import Cluster
from ringfence.broker.attest.node_port import Evidence, Proven
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import Selector

if TYPE_CHECKING:
    from lightkube import AsyncClient

ATTESTOR = "k8s_psat"
_TOKEN = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_MAX_TOKEN = 16 << 10  # characters
_PATIENCE = 10.0  # seconds for all that is asked of a cluster
_AT_ONCE = 16  # strangers make us ask: so many of them at a time
_ACCOUNT = re.compile(r"system:serviceaccount:([^:]+:[^:]+)")
_CLAIM = "authentication.kubernetes.io/"  # of what the API adds to whom it knows by a bound token


class PsatAttestor:
    """Believes the service accounts that each cluster's configuration names (a NodeAttestor).

    A client is made for each proof: credentials and authorities in files are read anew, and nothing is left open.
    """

    name = ATTESTOR
    can_reattest = True

    def __init__(self, clusters: Sequence[Cluster]) -> None:
        self._clusters = {cluster.name: cluster for cluster in clusters}
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def prove(self, evidence: Evidence) -> Proven:
        """The node of the pod that the token is bound to; raises UNAUTHENTICATED, UNAVAILABLE."""
        # 1. A cluster that we know, and something that may be a token.
        cluster, token = self._clusters.get(evidence.given.cluster), evidence.given.token
        if cluster is None:
            raise _refused("this server does not know that cluster", "See --k8s-clusters and --k8s-psat-cluster")
        if len(token) > _MAX_TOKEN or not _TOKEN.fullmatch(token):
            raise _refused("that is no service account token")
        async with self._turn:
            api = await asyncio.to_thread(client_of, cluster.kubeconfig)
            try:
                async with asyncio.timeout(_PATIENCE):
                    return await _prove(api, cluster, token)
            except RingfenceError:
                raise
            except Exception as error:
                # Whoever asks is a stranger: where the cluster is and what it says is for the log.
                events.cluster_failed(cluster.name, failure(error, api.config.cluster.server))
                raise RingfenceError(Kind.UNAVAILABLE, f"the cluster {cluster.name} cannot be asked now") from error
            finally:
                await api.close()


async def _prove(api: AsyncClient, cluster: Cluster, token: str) -> Proven:
    from lightkube.resources.core_v1 import Node, Pod

    # 2. The cluster knows the token, and it was made for us: one for its API or for another service proves nothing.
    user = await _review(api, cluster, token)
    # 3. It is a service account's that agents have.
    match = _ACCOUNT.fullmatch(user.username or "")
    if match is None or match[1] not in cluster.service_accounts:
        raise _refused(f"{user.username} is no service account of agents", "See service_accounts in --k8s-clusters")
    namespace, account = match[1].split(":")
    # 4. It is bound to a pod: one of the account alone could be used anywhere.
    claims = {key.removeprefix(_CLAIM): values for key, values in (user.extra or {}).items() if key.startswith(_CLAIM)}
    pod_name, pod_uid = _one(claims, "pod-name"), _one(claims, "pod-uid")
    if not pod_name or not pod_uid:
        raise _refused("the token is not bound to a pod", "Project it into the agent's pod")
    # 5. That very pod is there, runs as that account, and is on a node.
    pod = await _get(api, Pod, pod_name, namespace=namespace)
    if pod.metadata.uid != pod_uid or pod.spec.serviceAccountName != account or not pod.spec.nodeName:
        raise _refused("the token's pod is not there any more")
    # 6. So is that node, and it is the one that the token names, if it names one (Kubernetes 1.32 and newer).
    node = await _get(api, Node, pod.spec.nodeName)
    for claim, found in (("node-name", node.metadata.name), ("node-uid", node.metadata.uid)):
        if _one(claims, claim) not in {"", found}:
            raise _refused("the token names another node than its pod is on")
    facts = _facts(cluster, pod, node)
    return Proven(f"{cluster.name}/{node.metadata.uid}", tuple(sorted(Selector(ATTESTOR, fact) for fact in facts)))


async def _review(api: AsyncClient, cluster: Cluster, token: str) -> Any:
    from lightkube.models.authentication_v1 import TokenReviewSpec
    from lightkube.resources.authentication_v1 import TokenReview

    asked = TokenReview(spec=TokenReviewSpec(token=token, audiences=[cluster.audience]))
    status = (await api.create(asked)).status
    # An API that knows nothing of audiences answers without them.
    if status is None or status.authenticated is not True or cluster.audience not in (status.audiences or ()):
        raise _refused(
            f"the cluster {cluster.name} does not know that token as one for {cluster.audience}",
            "Check the audience and the age of the projected token",
        )
    return status.user


async def _get(api: AsyncClient, kind: Any, name: str, **where: str) -> Any:
    try:
        return await api.get(kind, name, **where)
    except Exception as error:
        if status_code(error) == HTTPStatus.NOT_FOUND:
            raise _refused("the token's pod or its node is not there any more") from error
        raise


def _facts(cluster: Cluster, pod: Any, node: Any) -> Iterator[str]:
    """As SPIRE names them; labels only where the operator said who may write them."""
    yield from (f"cluster:{cluster.name}", f"agent_ns:{pod.metadata.namespace}")
    yield from (f"agent_sa:{pod.spec.serviceAccountName}", f"agent_pod_name:{pod.metadata.name}")
    yield from (f"agent_pod_uid:{pod.metadata.uid}", f"agent_node_name:{node.metadata.name}")
    yield f"agent_node_uid:{node.metadata.uid}"
    if pod.status and pod.status.hostIP:
        yield f"agent_node_ip:{pod.status.hostIP}"
    for what, found, taken in (("node", node, cluster.node_labels), ("pod", pod, cluster.pod_labels)):
        labels = found.metadata.labels or {}
        yield from (f"agent_{what}_label:{key}:{labels[key]}" for key in taken & labels.keys())


def _one(claims: Mapping[str, Sequence[str]], name: str) -> str:
    values = claims.get(name) or ()
    return values[0] if len(values) == 1 else ""


def _refused(detail: str, hint: str = "Check --k8s-psat-token and --k8s-psat-cluster") -> RingfenceError:
    return RingfenceError(Kind.UNAUTHENTICATED, detail, hint=hint)
