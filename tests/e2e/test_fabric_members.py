"""Membership on a fabric follows identity: a real server, two nodes with agents, and a stranger on the wire.

Tests are in the order of a job's life, and each leaves the cluster with nobody joined and the first intent in force.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from ringfence.fabric.plan_routes import tables
from tests.e2e.fabric_cluster import Cluster, Node, Workload
from tests.e2e.fabric_nodes import COLLECTIVE, PATIENCE, SHORT, STORE
from tests.e2e.plane import until
from tests.e2e.stack import RINGFENCE

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("fabric-members")]

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: fab, namespace: team-a}
spec:
  kind: tcp
  interfaces: ["fab*"]
  cidrs: [10.91.0.0/24]
  ports: ["50000-51000"]
  tenants: [team-a, team-b]
  enforcedBy: host-firewall
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.gid: 1001}]}
---
kind: Workload
metadata: {name: other, namespace: team-b}
spec: {role: training, match: [{unix.gid: 1002}]}
"""
GRANT = """
---
kind: FabricGrant
metadata: {name: llama, namespace: team-a}
spec:
  {fabric: {name: fab}, identities: [{workload: trainer}], job: llama, expires: EXPIRES, owner: o, reason: r}
---
kind: FabricGrant
metadata: {name: bert, namespace: team-b}
spec:
  fabric: {name: fab, namespace: team-a}
  identities: [{workload: other}]
  job: bert
  expires: 2999-01-01T00:00:00Z
  owner: o
  reason: r
"""
GRANTED = INTENT + GRANT.replace("EXPIRES", "2999-01-01T00:00:00Z")
TRAINER = "spiffe://example.org/ns/team-a/sa/trainer"
NOBODYS = "table inet somebody {\n chain c {\n  type filter hook input priority 5; policy accept;\n }\n}\n"


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Started once."""
    with TemporaryDirectory(prefix="rf") as folder, ExitStack() as exits:
        yield Cluster(Path(folder), exits, GRANTED)


@pytest.fixture
def job(cluster: Cluster) -> Iterator[tuple[Workload, Workload]]:
    """A workload on each node, both in the job; gone afterwards."""
    first, second = cluster.nodes
    made = first.join(), second.join()
    for one in made:
        one.joined()
    for node in cluster.nodes:
        node.holds(first.address, second.address)
    yield made
    for one in made:
        one.close()
    for node in cluster.nodes:
        node.holds()


def reaches(cluster: Cluster, first: Node, second: Node, seconds: float = PATIENCE) -> str:
    """What the job's port of the second node says to the first one."""
    return cluster.reaches(first.name, first.address, second.address, COLLECTIVE, seconds)


def test_without_a_member_nobody_reaches_anybody(cluster: Cluster) -> None:
    """A fabric is closed on every node of it as soon as the agent is there, and told so by `fabric status`."""
    first, second = cluster.nodes
    until(lambda: first.run("nft", "list", "tables").count("ringfence-fabric"), "the filter")
    assert reaches(cluster, first, second) == "OSError"
    assert cluster.silent(cluster.STRANGER, first.address, STORE)
    assert cluster.reaches(first.name, first.control, second.control, STORE) == "x"


def test_members_come_in_by_joining(cluster: Cluster, job: tuple[Workload, Workload]) -> None:
    """Both ways and on the fabric's ports; a stranger on the wire is refused, and each is told of the others."""
    first, second = cluster.nodes
    assert reaches(cluster, first, second) == "x"
    assert reaches(cluster, second, first) == "x"
    assert cluster.reaches(first.name, first.address, second.address, STORE) == "OSError"
    assert cluster.silent(cluster.STRANGER, first.address, COLLECTIVE)
    assert cluster.silent(cluster.STRANGER, first.address, STORE)
    for one in job:
        one.members(first.address, second.address)
    told = job[0].joined()
    assert (told["job"], told["spiffeId"], told["interfaces"]) == ("team-a/llama", TRAINER, ["fab0"])
    assert told["fabric"]["cidrs"] == ["10.91.0.0/24"]
    assert 0 < min(first.members().values()) <= 3600


def test_who_has_no_leave_is_told_so(cluster: Cluster) -> None:
    """A workload of another tenant does not get into the job by asking for it."""
    first, _ = cluster.nodes
    first.stop()
    first.start("--hold", "1")
    try:
        said = first.join(group=1002).answer()
        assert said["code"] == "PERMISSION_DENIED"
        assert "and this is spiffe://example.org/ns/team-b/sa/other" in said["detail"]
    finally:
        first.stop()
        first.start()


def test_when_a_process_ends_its_node_is_out_at_once(cluster: Cluster) -> None:
    """In the middle of an open connection, at both ends, by SIGKILL."""
    first, second = cluster.nodes
    left, right = first.join(), second.join()
    try:
        for node in cluster.nodes:
            node.holds(first.address, second.address)
        talk = cluster.opened(second.name, second.address, first.address, COLLECTIVE, PATIENCE)
        assert talk.stdin is not None
        assert talk.stdout is not None
        assert talk.stdout.readline() == "x\n"
        left.close()
        first.holds()
        second.holds(second.address)
        talk.stdin.write("\n")
        talk.stdin.flush()
        assert talk.stdout.readline() == "TimeoutError\n"
        right.members(second.address)
    finally:
        left.close()
        right.close()


def test_a_revoked_identity_is_out(cluster: Cluster) -> None:
    """On every node, with the reason, and in again once that is lifted."""
    first, second = cluster.nodes
    ranks = first.join(), second.join()
    for one in ranks:
        one.joined()
    cluster.ringfence("identity", "revoke", TRAINER, "--reason", "key on a laptop")
    for node, one in zip(cluster.nodes, ranks, strict=True):
        node.holds()
        assert one.end()["code"] == "PERMISSION_DENIED"
        assert "revoked" in one.end()["detail"]
    cluster.ringfence("identity", "lift", TRAINER)
    again = first.join()
    again.joined()
    again.close()
    first.holds()


def test_without_the_grant_everybody_is_out(cluster: Cluster, job: tuple[Workload, Workload]) -> None:
    """The rest of the fabric stays closed."""
    first, second = cluster.nodes
    cluster.apply(INTENT)
    try:
        for one in job:
            assert "no identity any more" in one.end()["detail"]
        assert reaches(cluster, first, second) == "OSError"
    finally:
        cluster.apply(GRANTED)


def test_at_the_end_of_the_grant_everybody_is_out(cluster: Cluster) -> None:
    """Without a word of anybody, and the kernel has it by itself."""
    first, _ = cluster.nodes
    ends = datetime.now(UTC) + timedelta(seconds=4)
    cluster.apply(INTENT + GRANT.replace("EXPIRES", f"{ends:%Y-%m-%dT%H:%M:%SZ}"))
    try:
        one = first.join()
        one.joined()
        assert max(first.members().values()) <= 4
        assert "no identity any more" in one.end()["detail"]
        assert datetime.now(UTC) >= ends.replace(microsecond=0)
        first.holds()
    finally:
        cluster.apply(GRANTED)


def test_another_tenant_inherits_no_address(cluster: Cluster) -> None:
    """On a node that is in a job already it waits, and is in when that one has left, with nobody of it."""
    first, second = cluster.nodes
    ours = first.join(), second.join()
    for one in ours:
        one.joined()
    theirs = second.join(group=1002, job="team-b/bert")
    until(lambda: '"refusals": 1' in second.log(), "the refusal")
    assert not theirs.said
    second.holds(first.address, second.address)
    second.holds(job="team-b/bert")
    ours[1].close()
    assert [one["address"] for one in theirs.joined()["members"]] == [second.address]
    assert reaches(cluster, first, second, SHORT) == "OSError"
    theirs.close()
    ours[0].close()
    for node in cluster.nodes:
        node.holds()


def test_a_node_does_not_get_anothers_address(cluster: Cluster) -> None:
    """Whoever puts it on an interface is out: what it claims is not its own."""
    first, second = cluster.nodes
    ours = first.join(), second.join()
    for one in ours:
        one.joined()
    second.run("ip", "address", "add", f"{first.address}/24", "dev", "fab0", "noprefixroute")
    try:
        assert f"{first.address} is that of node" in ours[1].end()["detail"]
        second.holds()
        first.holds(first.address)
    finally:
        second.run("ip", "address", "del", f"{first.address}/24", "dev", "fab0")
        for one in ours:
            one.close()
    for node in cluster.nodes:
        node.holds()


def test_a_store_that_listens_everywhere_is_closed(cluster: Cluster) -> None:
    """To all but the node itself, on the control network too, while somebody wants it so; and open again afterwards."""
    first, second = cluster.nodes
    assert cluster.reaches(second.name, second.control, first.control, STORE) == "x"
    one = first.join(STORE)
    assert one.joined()["closedPorts"] == [STORE]
    assert cluster.reaches(second.name, second.control, first.control, STORE, SHORT) == "TimeoutError"
    assert cluster.reaches(first.name, "127.0.0.1", "127.0.0.1", STORE) == "x"
    one.close()
    until(lambda: "ringfence-closed" not in first.run("nft", "list", "tables"), "the port to be open")
    assert cluster.reaches(second.name, second.control, first.control, STORE) == "x"


def test_an_interface_that_comes_back_is_planned_again(cluster: Cluster, job: tuple[Workload, Workload]) -> None:
    """Closed from its first moment, and with its routes and its membership without anybody doing anything."""
    first, second = cluster.nodes
    first.run("ip", "link", "del", "fab0")
    job[1].members(second.address)
    cluster.wire(first.name, "fab0", first.address)
    for node in cluster.nodes:
        node.holds(first.address, second.address)
    until(lambda: "lookup" in first.run("ip", "rule", "show", "from", first.address), "its rule")
    until(lambda: "dev fab0" in first.run("ip", "route", "show", "table", "all", "proto", "82"), "its routes")
    assert reaches(cluster, first, second) == "x"
    job[0].members(first.address, second.address)


def test_what_somebody_flushed_is_put_right(cluster: Cluster, job: tuple[Workload, Workload]) -> None:
    """As `systemctl reload nftables` does, on many a node: members, and ports that are to be closed."""
    del job
    first, second = cluster.nodes
    one = first.join(STORE)
    one.joined()
    first.run("nft", "flush", "ruleset")
    first.holds(first.address, second.address)
    assert cluster.silent(cluster.STRANGER, first.address, STORE)
    until(lambda: "ringfence-closed" in first.run("nft", "list", "tables"), "the port to be closed again")
    one.close()


def test_what_fails_half_way_is_taken_back_and_tried_again(cluster: Cluster, job: tuple[Workload, Workload]) -> None:
    """A route of somebody's stands in the way: members are in meanwhile, nobody else, and `fabric status` says why."""
    first, second = cluster.nodes
    theirs = ("10.91.0.0/24", "dev", "fab0", "table", str(tables("team-a/fab")[0]))
    first.run("ip", "route", "replace", *theirs)
    until(lambda: first.status()[0] == 3, "the failure to be told")
    assert "`ip -4 -batch -` failed" in first.status()[1]
    first.holds(first.address, second.address)
    assert reaches(cluster, second, first) == "x"
    assert cluster.silent(cluster.STRANGER, first.address, STORE)
    job[1].close()
    first.holds(first.address)
    first.run("ip", "route", "del", *theirs)
    until(lambda: first.status()[0] == 0, "it to be in force")
    until(lambda: "dev fab0" in first.run("ip", "route", "show", "table", "all", "proto", "82"), "its routes")


def test_a_killed_agent_leaves_everything_and_takes_it_up_again(
    cluster: Cluster, job: tuple[Workload, Workload]
) -> None:
    """Members stay meanwhile; one who does not come back is out when the agent has been back for a while."""
    first, second = cluster.nodes
    first.stop(signal.SIGKILL)
    assert set(first.members()) == {first.address, second.address}
    assert cluster.silent(cluster.STRANGER, first.address, STORE)
    assert reaches(cluster, second, first) == "x"
    first.run("ip", "rule", "del", "from", first.address)  # as one that was killed between two steps leaves it
    first.start()
    again = first.join()
    again.joined()
    first.holds(first.address, second.address)
    second.holds(first.address, second.address)
    again.close()
    first.holds()
    del job


def test_with_the_server_away_members_stay_and_then_time_out(cluster: Cluster) -> None:
    """Agents and server are gone: the kernel alone closes the set at the end of the lease."""
    first, second = cluster.nodes
    ends = datetime.now(UTC) + timedelta(seconds=12)
    cluster.apply(INTENT + GRANT.replace("EXPIRES", f"{ends:%Y-%m-%dT%H:%M:%SZ}"))
    ranks = first.join(), second.join()
    try:
        for one in ranks:
            one.joined()
        for node in cluster.nodes:
            node.holds(first.address, second.address)
        cluster.stop_server(signal.SIGKILL)
        first.stop()  # whoever takes part stays in when an agent is told to stop, and when it is killed
        second.stop(signal.SIGKILL)
        assert set(first.members()) == {first.address, second.address}
        second.start()  # restored from its disk, without a server
        assert set(first.members()) == {first.address, second.address}
        assert reaches(cluster, second, first) == "x"
        first.holds()
        second.holds()
        assert datetime.now(UTC) >= ends - timedelta(seconds=2)
        assert reaches(cluster, second, first) == "OSError"
    finally:
        for one in ranks:
            one.close()
        cluster.start_server()
        cluster.apply(GRANTED)
        first.start()


def test_removed_it_leaves_nothing(cluster: Cluster) -> None:
    """By `fabric remove` once the agent has gone, and by the agent once the server says so. Others' tables stay."""
    first, second = cluster.nodes
    first.run("nft", "-f", "-", text=NOBODYS)
    second.stop()
    assert "ringfence-fabric" in second.run("nft", "list", "tables")
    second.run(*RINGFENCE, "fabric", "remove", "team-a/fab")
    cluster.apply("kind: Mesh\nspec: {trustDomain: example.org}\n")
    for node in cluster.nodes:
        until(lambda node=node: "ringfence" not in node.run("nft", "list", "tables"), "nothing")  # type: ignore[misc]
        assert "52" not in node.run("ip", "rule", "show", "proto", "82")
        assert not node.run("ip", "route", "show", "table", "all", "proto", "82")
        assert node.run("cat", "/proc/sys/net/ipv4/conf/fab0/arp_ignore") == "0\n"
    assert "chain c" in first.run("nft", "list", "table", "inet", "somebody")
    assert cluster.reaches(first.name, first.address, second.address, STORE) == "x"
