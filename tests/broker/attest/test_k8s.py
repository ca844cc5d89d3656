"""The k8s attestor: a process in the cgroup of a container, and the pods that are known of."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import uuid4

import pytest

from ringfence.broker.attest.k8s import KubernetesAttestor
from ringfence.broker.attest.k8s_pod import Container, Pod
from ringfence.broker.attest.k8s_pods import Pods
from ringfence.broker.attest.port import Partly
from ringfence.broker.attest.procfs import Process
from ringfence.certs.selectors import Selector
from tests.broker.attest import cgroups
from tests.broker.attest.pods import CONTAINER_ID, DEBUG_ID, IMAGE, OTHER_UID, pod

UID = str(uuid4())  # a cgroup has one name on a machine, where others may run this too
ACCOUNT = frozenset({"k8s:sa", "k8s:container-name"})
UID_FACT = Selector("k8s", f"pod-uid:{UID}")
FULL = {UID_FACT, Selector("k8s", "sa:trainer"), Selector("k8s", "container-name:main")}


def _running(uid: str = UID, container_id: str = CONTAINER_ID) -> Pod:
    return pod(uid, containers=(Container("main", container_id, frozenset({IMAGE})),))


@pytest.fixture
def pods() -> Pods:
    """Of an API that answers, none yet."""
    made = Pods()
    made.outage = ""
    return made


@pytest.fixture
def process() -> Iterator[Process]:
    """A process in the container."""
    with cgroups.container_cgroup(UID, CONTAINER_ID) as folder, cgroups.doer() as doer:
        cgroups.move(doer.pid, folder)
        yield doer.held


@pytest.fixture
def outside() -> Iterator[Process]:
    """A process in no pod."""
    with cgroups.doer() as doer:
        yield doer.held


async def test_a_process_has_what_is_wanted_of_its_pod_and_container(pods: Pods, process: Process) -> None:
    """And the pod's UID; not what no entry asks for."""
    pods.put(_running())
    assert await KubernetesAttestor(pods).attest(process, ACCOUNT) == FULL


async def test_a_process_outside_has_nothing(pods: Pods, outside: Process) -> None:
    """At once, whatever pods there are."""
    pods.put(_running())
    assert await KubernetesAttestor(pods).attest(outside, ACCOUNT) == frozenset()


async def test_the_uid_alone_needs_no_api(process: Process) -> None:
    """It stands in the cgroup's path."""
    assert await KubernetesAttestor(Pods()).attest(process, frozenset({"k8s:pod-uid"})) == {UID_FACT}


async def test_a_container_is_waited_for(pods: Pods, process: Process) -> None:
    """The pod comes by a watch, then the kubelet's report of the container; the workload may be faster."""
    asking = asyncio.create_task(KubernetesAttestor(pods).attest(process, ACCOUNT))
    for seen in (None, pod(UID), _running(container_id="")):
        if seen is not None:
            pods.put(seen)
        await asyncio.sleep(0)
        assert not asking.done()
    pods.put(_running())
    assert await asking == FULL


async def test_a_pod_that_went_is_not_waited_for(pods: Pods, process: Process) -> None:
    """Its process may outlive it, its identity may not."""
    pods.put(_running())
    pods.remove(UID)
    async with asyncio.timeout(30):
        with pytest.raises(Partly, match=f"no pod {UID}"):
            await KubernetesAttestor(pods, patience=60).attest(process, ACCOUNT)


@pytest.mark.parametrize(
    ("known", "says"),
    [
        (None, f"no pod {UID}"),
        (_running(OTHER_UID), f"no pod {UID}"),
        (_running(container_id=DEBUG_ID), f"does not show the container {CONTAINER_ID}"),
    ],
    ids=["none", "another pod", "another container"],
)
async def test_a_pod_or_container_that_does_not_show_tells_nothing(
    pods: Pods, process: Process, known: Pod | None, says: str
) -> None:
    """Another pod's facts are not ours, nor are a pod's for a container that the kubelet does not name."""
    if known is not None:
        pods.put(known)
    with pytest.raises(Partly, match=says) as caught:
        await KubernetesAttestor(pods, patience=0.01).attest(process, ACCOUNT)
    assert caught.value.found == {UID_FACT}


async def test_during_an_outage_what_is_known_is_used_and_it_is_said(pods: Pods, process: Process) -> None:
    """A workload that restarts while the API is away gets its identity."""
    pods.put(_running())
    pods.outage = "nobody answers"
    with pytest.raises(Partly, match="nobody answers") as caught:
        await KubernetesAttestor(pods).attest(process, ACCOUNT)
    assert caught.value.found == FULL


async def test_an_api_that_never_answered_is_what_failed(process: Process) -> None:
    """Not the pod, of which nothing can be known."""
    with pytest.raises(Partly, match="was not reached yet"):
        await KubernetesAttestor(Pods(), patience=0.01).attest(process, ACCOUNT)


async def test_a_static_pod_has_its_hash_and_no_more(pods: Pods) -> None:
    """Whoever may write pods to the API could give one that hash as its UID's annotation, or name."""
    static = uuid4().hex
    pods.put(_running(static))
    with cgroups.container_cgroup(static, CONTAINER_ID) as folder, cgroups.doer() as doer:
        cgroups.move(doer.pid, folder)
        assert await KubernetesAttestor(pods).attest(doer.held, ACCOUNT) == {Selector("k8s", f"pod-uid:{static}")}


async def test_a_process_of_the_pod_in_no_container_has_the_uid_alone(pods: Pods) -> None:
    """As the pause process of some runtimes; a container that was not started has an empty id, too."""
    pods.put(_running(container_id=""))
    with cgroups.container_cgroup(UID, "x") as folder, cgroups.doer() as doer:
        cgroups.move(doer.pid, folder)
        with pytest.raises(Partly, match="of this process") as caught:
            await KubernetesAttestor(pods, patience=0.01).attest(doer.held, ACCOUNT)
    assert caught.value.found == {UID_FACT}
