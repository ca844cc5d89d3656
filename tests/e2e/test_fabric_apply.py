"""`ringfence fabric apply` on a node with a control wire and a fabric: there members reach each other, nobody else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from ringfence.fabric.plan_routes import tables
from tests import parts
from tests.e2e.fabric_nodes import COLLECTIVE, PATIENCE, SHORT, STORE, Nodes

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.xdist_group("fabric-apply")]

INTENT = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: fab, namespace: team-a}
spec:
  kind: tcp
  interfaces: ["fab*"]
  cidrs: [10.91.0.0/24, "fd91::/64"]
  ports: ["50000-51000"]
  tenants: [team-a]
  enforcedBy: host-firewall
---
kind: Workload
metadata: {name: trainer, namespace: team-a}
spec: {role: training, match: [{unix.uid: 1001}]}
---
kind: FabricGrant
metadata: {name: llama, namespace: team-a}
spec:
  {fabric: {name: fab}, identities: [{workload: trainer}], job: llama, expires: 2999-01-01T00:00:00Z,
   owner: o, reason: r}
"""
# What a mesh's capture does to every connection of a node, with no proxy behind it (fabric traffic is not left out).
CAPTURE = """
table ip captured {
  chain output {
    type nat hook output priority -100; policy accept;
    meta l4proto tcp redirect to :15001
  }
}
"""
NOBODYS = "table inet somebody {\n chain c {\n  type filter hook input priority 5; policy accept;\n }\n}\n"


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    """Made once; what each test leaves is a fabric of which it says what it needs."""
    folder: Path = tmp_path_factory.mktemp("intent")
    (folder / "fabric.yaml").write_text(INTENT)
    with ExitStack() as exits:
        made = Nodes(folder, exits)
        assert made.reaches(made.peer, made.STRANGER, made.RANK, STORE) == "x"  # the hole that is to be closed
        yield made


@pytest.fixture
def applied(nodes: Nodes) -> Iterator[Nodes]:
    """With both ranks as members, and nothing left afterwards."""
    nodes.apply(nodes.RANK, nodes.PEER)
    yield nodes
    nodes.fabric("remove", "team-a/fab")


def test_members_reach_each_other_on_the_fabrics_ports(applied: Nodes) -> None:
    """In both directions."""
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, COLLECTIVE) == "x"
    assert applied.reaches(applied.rank, applied.RANK, applied.PEER, COLLECTIVE) == "x"


def test_a_stranger_on_the_wire_reaches_nothing(applied: Nodes) -> None:
    """Not the job's ports, and not the store, which listens on every address."""
    assert applied.reaches(applied.peer, applied.STRANGER, applied.RANK, COLLECTIVE, SHORT) == "TimeoutError"
    assert applied.reaches(applied.peer, applied.STRANGER, applied.RANK, STORE, SHORT) == "TimeoutError"


def test_a_member_reaches_no_other_port(applied: Nodes) -> None:
    """Neither way: the store is for the proxies. The program on this node is told at once."""
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, STORE, SHORT) == "TimeoutError"
    assert applied.reaches(applied.rank, applied.RANK, applied.PEER, STORE) == "OSError"


def test_a_port_of_the_fabric_at_the_near_end_opens_nothing(applied: Nodes) -> None:
    """What looks like an answer by its ports is none while it asks for a connection."""
    own = COLLECTIVE + 1
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, STORE, SHORT, own) == "TimeoutError"
    assert applied.reaches(applied.rank, applied.RANK, applied.PEER, STORE, own=own) == "OSError"


def test_a_node_that_is_in_no_job_is_reached_by_no_member(nodes: Nodes) -> None:
    """Both ends have to be in the set: a member of a job elsewhere is a stranger here."""
    nodes.apply(nodes.PEER)
    assert nodes.reaches(nodes.peer, nodes.PEER, nodes.RANK, COLLECTIVE, SHORT) == "TimeoutError"
    nodes.fabric("remove", "team-a/fab")


def test_nothing_goes_to_the_fabric_by_another_wire(applied: Nodes) -> None:
    """Though a route leads there."""
    applied.ip("-n", applied.rank, "route", "add", f"{applied.PEER}/32", "via", applied.PEER_CONTROL)
    try:
        assert applied.reaches(applied.rank, applied.RANK_CONTROL, applied.PEER, STORE) == "OSError"
    finally:
        applied.ip("-n", applied.rank, "route", "del", f"{applied.PEER}/32")


def test_without_leave_it_says_what_is_missing(nodes: Nodes) -> None:
    """Exit 5, and the node is as it was."""
    before, drop = nodes.state(), (parts.program("setpriv", "util-linux"), "--bounding-set=-net_admin")
    done = nodes.inside(*drop, *nodes.command("apply", "fab", *nodes.intent))
    assert (done.returncode, done.stdout) == (5, "")
    assert "needs CAP_NET_ADMIN" in done.stderr
    assert nodes.state() == before


def test_the_control_wire_is_as_it_was(applied: Nodes) -> None:
    """Every port of it; only the fabric's addresses are not to be had there, in or out."""
    assert applied.reaches(applied.peer, applied.PEER_CONTROL, applied.RANK_CONTROL, STORE) == "x"
    assert applied.reaches(applied.rank, applied.RANK_CONTROL, applied.PEER_CONTROL, STORE) == "x"
    around = (applied.peer, "route", "add", f"{applied.RANK}/32", "via", applied.RANK_CONTROL)
    applied.ip("-n", *around)
    try:
        assert applied.reaches(applied.peer, applied.PEER_CONTROL, applied.RANK, STORE, SHORT) == "TimeoutError"
    finally:
        applied.ip("-n", applied.peer, "route", "del", f"{applied.RANK}/32")


def test_what_is_the_fabrics_leaves_by_it_or_not_at_all(applied: Nodes) -> None:
    """From its address nothing else can be reached, though the node has a default route."""
    said = applied.inside("ip", "route", "get", "203.0.113.9", "from", applied.RANK)
    assert "No route to host" in said.stderr
    assert "dev fab0" in applied.inside("ip", "route", "get", applied.PEER, "from", applied.RANK).stdout


def test_what_is_marked_leaves_by_the_marks_interface_or_not_at_all(applied: Nodes) -> None:
    """Without an address that it comes from; unmarked, the same goes by the default route."""
    mark = hex(tables("team-a/fab")[0])
    assert "dev fab0" in applied.inside("ip", "route", "get", applied.PEER, "mark", mark).stdout
    assert "No route to host" in applied.inside("ip", "route", "get", "203.0.113.9", "mark", mark).stderr
    assert "dev ctl0" in applied.inside("ip", "route", "get", "203.0.113.9").stdout


def test_an_interface_that_comes_later_is_denied_before_it_is_there(applied: Nodes) -> None:
    """By the document's prefix: nobody has applied anything since."""
    applied.ip("-n", applied.rank, "link", "add", "fab7", "type", "veth", "peer", "name", "fab7", "netns", applied.peer)
    try:
        for name, address in ((applied.rank, "10.92.0.1"), (applied.peer, "10.92.0.2")):
            applied.ip("-n", name, "address", "add", f"{address}/24", "dev", "fab7")
            applied.ip("-n", name, "link", "set", "fab7", "up")
        assert applied.reaches(applied.peer, "10.92.0.2", "10.92.0.1", STORE, SHORT) == "TimeoutError"
        assert applied.reaches(applied.rank, "10.92.0.1", "10.92.0.2", COLLECTIVE) == "OSError"
    finally:
        applied.ip("-n", applied.rank, "link", "del", "fab7")


def test_whoever_leaves_the_set_is_cut_off(applied: Nodes) -> None:
    """What is open falls silent too, and comes back with the member."""
    talk = applied.opened(applied.peer, applied.PEER, applied.RANK, COLLECTIVE, PATIENCE)
    assert talk.stdin is not None
    assert talk.stdout is not None
    assert talk.stdout.readline() == "x\n"
    applied.apply(applied.RANK)
    talk.stdin.write("\n")
    talk.stdin.flush()
    assert talk.stdout.readline() == "TimeoutError\n"
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, COLLECTIVE, SHORT) == "TimeoutError"
    applied.apply(applied.RANK, applied.PEER)
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, COLLECTIVE) == "x"


def test_a_capture_does_not_get_the_fabrics_connections(nodes: Nodes) -> None:
    """What redirects all of a node's TCP turns them to a proxy before, and not after."""
    assert nodes.inside("nft", "-f", "-", text=CAPTURE).returncode == 0
    try:
        assert nodes.reaches(nodes.rank, nodes.RANK, nodes.PEER, COLLECTIVE) == "ConnectionRefusedError"
        nodes.apply(nodes.RANK, nodes.PEER)
        assert nodes.reaches(nodes.rank, nodes.RANK, nodes.PEER, COLLECTIVE) == "x"
    finally:
        nodes.fabric("remove", "team-a/fab")
        nodes.inside("nft", "delete", "table", "ip", "captured")


def test_applied_twice_it_changes_nothing(applied: Nodes) -> None:
    """And says so; what somebody changed by hand is put right."""
    before = applied.state()
    assert applied.apply(applied.RANK, applied.PEER) == "fabric team-a/fab was applied: nothing changed\n"
    assert applied.state() == before
    applied.ip("-n", applied.rank, "rule", "del", "from", applied.RANK)
    assert applied.apply(applied.RANK, applied.PEER) == "fabric team-a/fab is applied\n"
    assert applied.state() == before


def test_removed_it_leaves_nothing_and_takes_nothing_of_others(nodes: Nodes) -> None:
    """Settings are those of before the first time, and another tool's table is untouched."""
    assert nodes.inside("nft", "-f", "-", text=NOBODYS).returncode == 0
    nodes.inside("sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/fab0/rp_filter")
    before = nodes.state()
    nodes.apply(nodes.RANK, nodes.PEER)
    nodes.apply(nodes.RANK)
    assert nodes.state() != before
    assert nodes.fabric("remove", "team-a/fab") == "fabric team-a/fab is removed\n"
    assert nodes.state() == before
    assert nodes.fabric("remove", "team-a/fab") == "this node has nothing of fabric team-a/fab\n"
    nodes.inside("nft", "delete", "table", "inet", "somebody")


def test_a_dry_run_changes_nothing(nodes: Nodes) -> None:
    """It says what would; the script that `plan` prints does just that."""
    before, intent = nodes.state(), nodes.intent
    said = nodes.fabric("apply", "fab", "--dry-run", *intent)
    assert "rule add from 10.91.0.1" in said
    assert "sysctl -w net/ipv4/conf/fab0/arp_ignore=1" in said
    assert nodes.state() == before
    script = nodes.fabric("plan", "fab", *intent).replace("sysctl -w net", "true net")
    assert nodes.inside("sh", text=script).returncode == 0
    assert nodes.reaches(nodes.peer, nodes.STRANGER, nodes.RANK, STORE, SHORT) == "TimeoutError"
    nodes.fabric("remove", "team-a/fab")
    assert nodes.state() == before


def test_what_fails_half_way_is_taken_back(nodes: Nodes) -> None:
    """A route of somebody's in our table is none of ours: there is then no filter and no setting either."""
    theirs = ("10.91.0.0/24", "dev", "fab0", "table", str(tables("team-a/fab")[0]))
    nodes.ip("-n", nodes.rank, "route", "add", *theirs)
    try:
        before = nodes.state()
        done = nodes.inside(*nodes.command("apply", "fab", *nodes.intent))
        assert (done.returncode, done.stdout) == (1, "")
        assert "`ip -4 -batch -` failed" in done.stderr
        assert nodes.state() == before
    finally:
        nodes.ip("-n", nodes.rank, "route", "del", *theirs)


def test_what_fails_half_way_leaves_what_was_applied_before(nodes: Nodes) -> None:
    """The members of before are in, and no other."""
    nodes.apply(nodes.RANK, nodes.PEER)
    theirs = ("10.91.0.0/24", "dev", "fab0", "table", str(tables("team-a/fab")[0]))
    try:
        nodes.ip("-n", nodes.rank, "route", "replace", *theirs)
        before = nodes.state()
        done = nodes.inside(*nodes.command("apply", "fab", *nodes.intent))
        assert (done.returncode, nodes.state()) == (1, before)
        assert nodes.reaches(nodes.peer, nodes.PEER, nodes.RANK, COLLECTIVE) == "x"
    finally:
        nodes.ip("-n", nodes.rank, "route", "del", *theirs)
        nodes.fabric("remove", "team-a/fab")


def test_with_an_interface_down_members_can_still_be_taken_out(applied: Nodes) -> None:
    """It leads nowhere meanwhile; once it is up again, `apply` gives it its routes back."""
    before = applied.state()
    applied.ip("-n", applied.rank, "link", "set", "fab0", "down")
    try:
        assert applied.apply(applied.RANK) == "fabric team-a/fab is applied\n"
    finally:
        applied.ip("-n", applied.rank, "link", "set", "fab0", "up")
    assert applied.apply(applied.RANK, applied.PEER) == "fabric team-a/fab is applied\n"
    assert applied.state() == before
    assert applied.reaches(applied.peer, applied.PEER, applied.RANK, COLLECTIVE) == "x"


def test_neighbours_find_each_other_by_ipv6(nodes: Nodes) -> None:
    """A member is reached by it, a stranger not, and nothing of it is left."""
    for name, address in ((nodes.rank, "fd91::1"), (nodes.peer, "fd91::2"), (nodes.peer, "fd91::3")):
        nodes.ip("-n", name, "address", "add", f"{address}/64", "dev", "fab0", "nodad")
    before = nodes.state()
    nodes.apply("fd91::1", "fd91::2")
    assert nodes.reaches(nodes.peer, "fd91::2", "fd91::1", COLLECTIVE) == "x"
    assert nodes.reaches(nodes.rank, "fd91::1", "fd91::2", COLLECTIVE) == "x"
    assert nodes.reaches(nodes.peer, "fd91::3", "fd91::1", COLLECTIVE, SHORT) == "TimeoutError"
    nodes.fabric("remove", "team-a/fab")
    assert nodes.state() == before
