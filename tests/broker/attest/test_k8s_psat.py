"""Nodes that attest by the token of their agent's pod, judged by a real Kubernetes API."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import RSAKey
from lightkube.resources.authentication_v1 import TokenReview
from lightkube.resources.core_v1 import Node, Pod, ServiceAccount

from ringfence.agent.v1 import agent_pb2 as pb
from ringfence.broker.attest import k8s_psat
from ringfence.broker.attest.k8s_clusters import AUDIENCE, Cluster
from ringfence.broker.attest.k8s_psat import PsatAttestor
from ringfence.broker.attest.node_port import Evidence, Proven
from ringfence.certs.errors import Kind, RingfenceError
from tests.broker.attest.agent_pod import ACCOUNT, NAMESPACE, AgentPod
from tests.kubernetes import ADMIN, ISSUER, Kubernetes

pytestmark = [pytest.mark.k8s, pytest.mark.slow, pytest.mark.xdist_group("kubernetes")]


@pytest.fixture
def agent(kubernetes: Kubernetes) -> AgentPod:
    """On a node of its own."""
    return AgentPod.of(kubernetes)


async def _prove(cluster: Cluster, token: str, name: str = "test") -> Proven:
    return await PsatAttestor([cluster]).prove(Evidence(pb.K8sPsat(cluster=name, token=token), b"", b""))


async def _refusal(cluster: Cluster, token: str, name: str = "test") -> RingfenceError:
    with pytest.raises(RingfenceError) as caught:
        await _prove(cluster, token, name)
    assert token not in str(caught.value) or not token
    return caught.value


def _claims(agent: AgentPod, **fields: Any) -> dict[str, Any]:
    """As in a token of the agent's pod."""
    assert agent.pod.metadata is not None
    now = int(time.time())
    account = agent.kubernetes.admin.get(ServiceAccount, ACCOUNT, namespace=NAMESPACE)
    assert account.metadata is not None
    bound = {
        "namespace": NAMESPACE,
        "serviceaccount": {"name": ACCOUNT, "uid": account.metadata.uid},
        "pod": {"name": agent.pod.metadata.name, "uid": agent.pod.metadata.uid},
    }
    times = {"iat": now - 7200, "nbf": now - 7200, "exp": now + 600}
    subject = f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}"
    return {
        "iss": ISSUER,
        "aud": [AUDIENCE],
        "sub": subject,
        **times,
        "kubernetes.io": bound | fields.pop("bound", {}),
        **fields,
    }


def _signed(agent: AgentPod, claims: dict[str, Any]) -> str:
    """By the cluster's own key, which a test can reach."""
    key = RSAKey.import_key(agent.kubernetes.signing_key.read_text())
    return jwt.encode({"alg": "RS256"}, claims, key)


async def test_a_node_has_the_name_and_the_selectors_that_spire_gives_it(agent: AgentPod) -> None:
    """By the node's UID; of labels those whose keys the operator named."""
    labels = frozenset({"topology.kubernetes.io/zone", "absent"})
    proven = await _prove(agent.cluster(node_labels=labels, pod_labels=frozenset({"app"})), agent.token())
    pod, node = agent.pod.metadata, agent.node.metadata
    assert pod is not None
    assert node is not None
    assert proven.name == f"test/{node.uid}"
    assert [str(selector) for selector in proven.selectors] == [
        "k8s_psat:agent_node_label:topology.kubernetes.io/zone:a",
        f"k8s_psat:agent_node_name:{node.name}",
        f"k8s_psat:agent_node_uid:{node.uid}",
        f"k8s_psat:agent_ns:{NAMESPACE}",
        "k8s_psat:agent_pod_label:app:agent",
        f"k8s_psat:agent_pod_name:{pod.name}",
        f"k8s_psat:agent_pod_uid:{pod.uid}",
        f"k8s_psat:agent_sa:{ACCOUNT}",
        "k8s_psat:cluster:test",
    ]


async def test_labels_are_no_selectors_unless_asked_for(agent: AgentPod) -> None:
    """Whoever may label nodes would choose who they are."""
    proven = await _prove(agent.cluster(), agent.token())
    assert not any("label" in selector.value for selector in proven.selectors)


async def test_the_address_of_the_node_is_told_once_it_is_known(agent: AgentPod) -> None:
    """As the kubelet reports it."""
    assert agent.pod.metadata is not None
    agent.kubernetes.report(agent.pod, [], hostIP="192.0.2.7", hostIPs=[{"ip": "192.0.2.7"}])
    proven = await _prove(agent.cluster(), agent.token())
    assert "k8s_psat:agent_node_ip:192.0.2.7" in map(str, proven.selectors)


@pytest.mark.parametrize("audiences", [["another"], [ISSUER]])
async def test_a_token_for_another_audience_is_refused(agent: AgentPod, audiences: list[str]) -> None:
    """One for the cluster's own API too: whoever it was shown to could show it here."""
    error = await _refusal(agent.cluster(), agent.token(audiences))
    assert (error.kind, AUDIENCE in error.detail) == (Kind.UNAUTHENTICATED, True)


async def test_the_audience_is_what_the_operator_says(agent: AgentPod) -> None:
    """Two trust domains in one cluster tell their agents apart."""
    proven = await _prove(agent.cluster(audience="another"), agent.token(["another"]))
    assert proven.name.startswith("test/")


async def test_an_account_that_is_not_listed_is_refused(kubernetes: Kubernetes) -> None:
    """Else every pod could make itself a node."""
    error = await _refusal(AgentPod.of(kubernetes).cluster(), AgentPod.of(kubernetes, "workload").token())
    assert error.kind is Kind.UNAUTHENTICATED
    assert "ringfence:workload is no service account of agents" in error.detail


async def test_an_account_of_that_name_in_another_namespace_is_refused(agent: AgentPod) -> None:
    """The list is of both."""
    cluster = replace(agent.cluster(), service_accounts=frozenset({f"other:{ACCOUNT}"}))
    assert (await _refusal(cluster, agent.token())).kind is Kind.UNAUTHENTICATED


async def test_a_user_who_is_no_service_account_is_refused(agent: AgentPod) -> None:
    """Also one that the cluster knows."""
    cluster = replace(agent.cluster(audience=ISSUER), service_accounts=frozenset({"admin"}))
    assert (await _refusal(cluster, ADMIN)).kind is Kind.UNAUTHENTICATED


async def test_a_token_of_the_account_alone_is_refused(agent: AgentPod) -> None:
    """It would prove no node."""
    error = await _refusal(agent.cluster(), agent.token(bound=False))
    assert (error.kind, "not bound to a pod" in error.detail) == (Kind.UNAUTHENTICATED, True)


async def test_a_token_of_a_pod_that_is_gone_is_refused(agent: AgentPod) -> None:
    """Its bearer is not where it was."""
    token = agent.token()
    agent.kubernetes.delete_pod(agent.pod)
    assert (await _refusal(agent.cluster(), token)).kind is Kind.UNAUTHENTICATED


async def test_a_node_that_is_gone_proves_nothing(agent: AgentPod) -> None:
    """Its pod may still stand in the API for a while."""
    assert agent.node.metadata is not None
    token = agent.token()
    agent.kubernetes.admin.delete(type(agent.node), agent.node.metadata.name or "")
    error = await _refusal(agent.cluster(), token)
    assert (error.kind, "not there any more" in error.detail) == (Kind.UNAUTHENTICATED, True)


async def test_a_token_that_names_another_node_is_refused(agent: AgentPod) -> None:
    """A node of that name may have been made anew since; and one without a node (before 1.32) is good."""
    assert agent.node.metadata is not None
    good = {"name": agent.node.metadata.name, "uid": agent.node.metadata.uid}
    assert (await _prove(agent.cluster(), _signed(agent, _claims(agent)))).name.startswith("test/")
    assert (await _prove(agent.cluster(), _signed(agent, _claims(agent, bound={"node": good})))).name.startswith(
        "test/"
    )
    for spoilt in (good | {"uid": "0"}, good | {"name": "other"}):
        error = await _refusal(agent.cluster(), _signed(agent, _claims(agent, bound={"node": spoilt})))
        assert error.kind is Kind.UNAUTHENTICATED


async def test_an_expired_token_is_refused(agent: AgentPod) -> None:
    """Though the cluster's own key signed it."""
    expired = _signed(agent, _claims(agent, exp=int(time.time()) - 3600))
    assert (await _refusal(agent.cluster(), expired)).kind is Kind.UNAUTHENTICATED


async def test_a_token_that_another_key_signed_is_refused(agent: AgentPod) -> None:
    """Whatever it claims."""
    forged = jwt.encode({"alg": "RS256"}, _claims(agent), RSAKey.generate_key(2048))
    assert (await _refusal(agent.cluster(), forged)).kind is Kind.UNAUTHENTICATED


@pytest.mark.parametrize(
    "token", ["", "x", "a.b", "a.b.c.d", "a.b.c\n", "ä.b.c", "a." * 20_000 + "b", "a.b." + "c" * 20_000]
)
async def test_what_cannot_be_a_token_is_not_asked_about(token: str) -> None:
    """The cluster of this test could not be asked at all."""
    error = await _refusal(Cluster("test", frozenset(), None), token)
    assert (error.kind, error.detail) == (Kind.UNAUTHENTICATED, "that is no service account token")


async def test_a_cluster_that_is_not_configured_is_not_asked(agent: AgentPod) -> None:
    """Its name is not a way to make us ask another."""
    error = await _refusal(agent.cluster(), agent.token(), name="other")
    assert (error.kind, "--k8s-clusters" in error.hint) == (Kind.UNAUTHENTICATED, True)


async def test_each_cluster_vouches_for_its_own(agent: AgentPod) -> None:
    """Of several: the one that the agent names is asked, with its rules."""
    one, two = agent.cluster(), replace(agent.cluster(), name="two", audience="another")
    both = PsatAttestor([one, two])
    for cluster, audience, good in (("two", "another", True), ("two", AUDIENCE, False), ("test", AUDIENCE, True)):
        evidence = Evidence(pb.K8sPsat(cluster=cluster, token=agent.token([audience])), b"", b"")
        if good:
            assert (await both.prove(evidence)).name.startswith(f"{cluster}/")
        else:
            with pytest.raises(RingfenceError):
                await both.prove(evidence)


async def test_a_right_that_the_server_lacks_is_no_verdict(agent: AgentPod) -> None:
    """UNAVAILABLE: the agent tries again; where the cluster is and what it said stays in the log."""
    token = agent.kubernetes.token(NAMESPACE, ACCOUNT, [ISSUER])
    cluster = replace(agent.cluster(), kubeconfig=agent.kubernetes.kubeconfig(token))
    error = await _refusal(cluster, agent.token())
    assert (error.kind, error.detail) == (Kind.UNAVAILABLE, "the cluster test cannot be asked now")


async def test_an_api_that_is_away_is_no_verdict(agent: AgentPod) -> None:
    """The same; and the next proof after it is good."""
    cluster, token = agent.cluster(), agent.token()
    agent.kubernetes.stop()
    try:
        assert (await _refusal(cluster, token)).kind is Kind.UNAVAILABLE
    finally:
        agent.kubernetes.start()
    assert (await _prove(cluster, token)).name.startswith("test/")


class _Api:
    """An API that answers less carefully than the real one: what it leaves open is ours to check."""

    def __init__(self, *, review: dict[str, Any] | None = None, pod: dict[str, Any] | None = None) -> None:
        claims = {"pod-name": ["agent"], "pod-uid": ["1"], "node-name": ["n"], "node-uid": ["2"]}
        extra = {f"authentication.kubernetes.io/{name}": values for name, values in claims.items()}
        user = {"username": f"system:serviceaccount:{NAMESPACE}:{ACCOUNT}", "extra": extra}
        self.review = {"authenticated": True, "audiences": [AUDIENCE], "user": user} | (review or {})
        self.pod = {"uid": "1", "serviceAccountName": ACCOUNT, "nodeName": "n"} | (pod or {})

    async def create(self, _: Any) -> Any:
        return TokenReview.from_dict({"spec": {"token": ""}, "status": self.review})

    async def get(self, kind: Any, name: str, **_: Any) -> Any:
        if kind is Node:
            return Node.from_dict({"metadata": {"name": name, "uid": "2"}})
        spec = {key: self.pod[key] for key in ("serviceAccountName", "nodeName")} | {"containers": []}
        meta = {"name": name, "namespace": NAMESPACE, "uid": self.pod["uid"]}
        return Pod.from_dict({"metadata": meta, "spec": spec})


_FAKE = Cluster("test", frozenset({f"{NAMESPACE}:{ACCOUNT}"}))


async def test_what_the_careless_api_says_is_good_as_it_is() -> None:
    """So that each of the next refusals has one cause."""
    assert (await k8s_psat._prove(_Api(), _FAKE, "a.b.c")).name == "test/2"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "api",
    [
        pytest.param(_Api(review={"audiences": []}), id="an API that knows nothing of audiences"),
        pytest.param(_Api(review={"audiences": ["another"]}), id="another audience"),
        pytest.param(_Api(review={"authenticated": False}), id="unknown, with a user"),
        pytest.param(_Api(review={"authenticated": None}), id="no word on it"),
        pytest.param(_Api(review={"user": {}}), id="no user"),
        pytest.param(_Api(pod={"uid": "9"}), id="another pod of that name"),
        pytest.param(_Api(pod={"serviceAccountName": "other"}), id="a pod of another account"),
        pytest.param(_Api(pod={"nodeName": ""}), id="a pod on no node"),
    ],
)
async def test_what_an_api_leaves_open_is_checked(api: _Api) -> None:
    """Deny unless everything fits."""
    with pytest.raises(RingfenceError) as caught:
        await k8s_psat._prove(api, _FAKE, "a.b.c")  # type: ignore[arg-type]
    assert caught.value.kind is Kind.UNAUTHENTICATED
