"""The pods in memory: found, waited for, and listened to."""

from __future__ import annotations

import asyncio

import pytest

from ringfence.broker.attest import k8s_pods
from ringfence.broker.attest.k8s_pods import Pods
from tests.broker.attest.pods import OTHER_UID, UID, pod


@pytest.fixture
def heard() -> list[str]:
    """UIDs, as they were told."""
    return []


@pytest.fixture
def pods(heard: list[str]) -> Pods:
    """With one pod, which was not told."""
    made = Pods()
    made.put(pod())
    made.listen(heard.append)
    return made


@pytest.mark.parametrize(
    ("asked", "found"),
    [
        ({"uid": UID}, True),
        ({"namespace": "team-a", "name": "trainer-0"}, True),
        ({"uid": UID, "namespace": "team-a", "name": "trainer-0"}, True),
        ({"uid": OTHER_UID, "namespace": "team-a", "name": "trainer-0"}, False),
        ({"uid": UID, "namespace": "team-b", "name": "trainer-0"}, False),
        ({"uid": UID, "namespace": "team-a", "name": "trainer-1"}, False),
        ({"namespace": "team-b", "name": "trainer-0"}, False),
        ({"uid": OTHER_UID}, False),
        ({}, False),
    ],
)
def test_a_pod_is_found_by_what_all_agrees_on(pods: Pods, asked: dict[str, str], found: bool) -> None:  # noqa: FBT001
    """By UID, by name, or by both; one that is wrong finds nothing."""
    assert pods.find(**asked) == (pod() if found else None)


def test_a_change_is_told_once(pods: Pods, heard: list[str]) -> None:
    """The same again is no change; what nobody wants to know any more is not told."""
    pods.put(pod())
    assert heard == []
    stop = pods.listen(heard.append)
    stop()
    pods.put(pod(service_account="other"))
    assert heard == [UID]
    assert pods.find(uid=UID) == pod(service_account="other")


def test_a_pod_that_goes_is_told_once(pods: Pods, heard: list[str]) -> None:
    """And is found no more, by no name."""
    pods.remove(UID)
    pods.remove(UID)
    assert heard == [UID]
    assert pods.find(uid=UID) is pods.find(namespace="team-a", name="trainer-0") is None
    assert (pods.is_gone(UID), pods.is_gone(OTHER_UID)) == (True, False)


def test_only_so_many_that_went_are_remembered(pods: Pods, monkeypatch: pytest.MonkeyPatch) -> None:
    """The oldest are forgotten: they would only be waited for a moment in vain."""
    monkeypatch.setattr(k8s_pods, "_GONE_KEPT", 2)
    for uid in "123":
        pods.put(pod(uid))
        pods.remove(uid)
    assert [pods.is_gone(uid) for uid in "123"] == [False, True, True]


def test_a_successor_of_the_same_name_ends_the_first(pods: Pods, heard: list[str]) -> None:
    """The removal may have been missed: an API has one object of a name."""
    pods.put(pod(OTHER_UID))
    assert heard == [UID, OTHER_UID]
    assert pods.find(uid=UID) is None
    assert pods.find(namespace="team-a", name="trainer-0") == pod(OTHER_UID)


def test_a_whole_list_tells_what_differs(pods: Pods, heard: list[str]) -> None:
    """As after an outage: those that went, those that came, none that stayed."""
    pods.put(pod(OTHER_UID, "trainer-1"))
    heard.clear()
    pods.replace([pod(), pod("9", "trainer-9")])
    assert sorted(heard) == sorted([OTHER_UID, "9"])
    assert len(pods) == 2


async def test_a_pod_is_waited_for(pods: Pods) -> None:
    """The event may come after the process; others that come meanwhile are not it."""
    waiting = asyncio.create_task(pods.expect(lambda: pods.find(uid=OTHER_UID), 10))
    await asyncio.sleep(0)
    pods.put(pod("9", "trainer-9"))
    await asyncio.sleep(0)
    assert not waiting.done()
    pods.put(pod(OTHER_UID, "trainer-1"))
    assert await waiting == pod(OTHER_UID, "trainer-1")


async def test_a_wait_in_vain_ends(pods: Pods) -> None:
    """Bounded, without an error: who asks says what that means."""
    assert await pods.expect(lambda: pods.find(uid=OTHER_UID), 0.01) is None
