"""`ringfence fabric env`: what a job is told, and whether it was."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.broker.cli.operator import Done, ringfence
from tests.broker.fabric.ranks import running
from tests.broker.fabric.sysfs import interface, pci_device, rdma_device

FABRICS = """
kind: Mesh
spec: {trustDomain: example.org}
---
kind: Fabric
metadata: {name: fab, namespace: team-a}
spec:
  kind: tcp
  interfaces: [fab0]
  cidrs: [10.91.0.0/24]
  ports: ["50000-51000"]
  tenants: [team-a]
  enforcedBy: host-firewall
---
kind: Fabric
metadata: {name: wide, namespace: team-a}
spec:
  kind: infiniband
  interfaces: ["mlx5_*"]
  cidrs: [10.92.0.0/24]
  partition: {pkey: 0x123}
  ports: ["50000-51000"]
  enforcedBy: pkey
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
---
kind: FabricGrant
metadata: {name: ended, namespace: team-a}
spec:
  {fabric: {name: fab}, identities: [{workload: trainer}], job: ended, expires: 2020-01-01T00:00:00Z,
   owner: o, reason: r}
"""


@pytest.fixture
def told(tmp_path: Path) -> tuple[str, ...]:
    """The options that name the documents and a copy of a node's /sys."""
    intent, sys = tmp_path / "intent", tmp_path / "sys"
    intent.mkdir()
    (intent / "fabrics.yaml").write_text(FABRICS)
    interface(sys, "fab0")
    device = pci_device(sys, "0000:50:00.0", "ib0")
    rdma_device(sys, "mlx5_0", device, pkeys=(0xFFFF, 0x8456, 0x8123))
    return "--dir", str(intent), "--sys", str(sys)


def variables(done: Done) -> dict[str, str]:
    """What `--format env` said, without its remarks."""
    assert done.code == 0, done.err
    return dict(line.split("=", 1) for line in done.out.splitlines() if not line.startswith("#"))


async def test_a_fabric_is_named_at_once_or_after_show(told: tuple[str, ...]) -> None:
    """With options before it or behind, by its whole name or by the one that it alone has."""
    short = await ringfence("fabric", "env", "fab", *told)
    assert variables(short)["NCCL_SOCKET_IFNAME"] == "=fab0"
    assert short == await ringfence("fabric", "env", "show", "team-a/fab", *told)
    assert short == await ringfence("fabric", "env", *told, "fab")


async def test_a_partition_is_looked_up_in_the_nodes_own_table(told: tuple[str, ...]) -> None:
    """The value is the document's, the index this node's."""
    found = variables(await ringfence("fabric", "env", "wide", *told))
    assert (found["UCX_IB_PKEY"], found["NCCL_IB_PKEY"], found["NCCL_IB_HCA"]) == ("0x0123", "2", "=mlx5_0:1")


async def test_a_job_has_its_magic_by_a_secret(told: tuple[str, ...], tmp_path: Path) -> None:
    """The same wherever the secret is, by whichever of its names, and nothing of the secret in what is printed."""
    secret = tmp_path / "secret"
    secret.write_bytes(b"0123456789abcdef")
    job = ("--job", "team-a/llama", "--secret-file", str(secret))
    done = await ringfence("fabric", "env", "fab", *told, *job, "--format", "json")
    assert done.json["variables"]["NCCL_SOCKET_MAGIC"] == "0x5918a1023f011f77"
    assert "0123456789abcdef" not in done.out
    assert done == await ringfence("fabric", "env", "fab", *told, "--job", "llama", *job[2:], "--format", "json")
    assert (await ringfence("fabric", "env", "fab", *told, *job[2:])).code == 2
    secret.write_bytes(b"short")
    assert (await ringfence("fabric", "env", "fab", *told, *job)).code == 4


@pytest.mark.parametrize(
    ("fabric", "job"), [("fab", "ended"), ("fab", "team-b/llama"), ("wide", "llama"), ("fab", "no")]
)
async def test_a_job_without_leave_gets_no_environment(told: tuple[str, ...], fabric: str, job: str) -> None:
    """A grant that has ended, of another namespace or for another fabric is none: exit 5, with the next step."""
    done = await ringfence("fabric", "env", fabric, *told, "--job", job)
    assert (done.code, done.out) == (5, "")
    assert f"no grant in force lets job {job} use fabric team-a/{fabric}" in done.err
    assert "FabricGrant" in done.err


@pytest.mark.parametrize("form", ["env", "nccl.conf", "shell", "slurm", "json", "kubernetes"])
async def test_each_form_is_printed(told: tuple[str, ...], form: str) -> None:
    """And ends with a line's end, so that it may be a file."""
    done = await ringfence("fabric", "env", "fab", *told, "--format", form)
    assert (done.code, done.err) == (0, "")
    assert "NCCL_NET" in done.out
    assert done.out.endswith("\n")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["fab9"], 1, "no fabric is named fab9; fabrics: team-a/fab, team-a/wide"),
        (["check", "1"], 1, "none is named; fabrics: team-a/fab, team-a/wide"),
        (["fab", "--bootstrap", "fab0"], 4, "Leave --bootstrap out"),
        ([], 2, "Missing argument"),
        (["check", "0", "--fabric", "fab"], 2, "0"),
    ],
)
async def test_a_failure_says_the_next_step(told: tuple[str, ...], arguments: list[str], code: int, said: str) -> None:
    """One line, by the exit codes of all commands."""
    done = await ringfence("fabric", "env", *arguments, *told)
    assert done.code == code
    assert said in done.err


async def test_documents_in_error_are_not_compiled(told: tuple[str, ...]) -> None:
    """The first finding, at its place, and where the others are."""
    (Path(told[1]) / "bad.yaml").write_text("kind: Nonsense\n")
    done = await ringfence("fabric", "env", "fab", *told)
    assert done.code == 4
    assert "bad.yaml:1" in done.err
    assert "policy validate" in done.err


async def test_a_rank_that_was_started_as_asked_is_told_so(told: tuple[str, ...]) -> None:
    """A real process, with the environment that was printed."""
    wanted = variables(await ringfence("fabric", "env", "fab", *told))
    with running(wanted) as pid:
        done = await ringfence("fabric", "env", "check", str(pid), "--fabric", "fab", *told)
    assert (done.code, done.out) == (0, "1 process was started as fabric team-a/fab asks for\n")


async def test_every_rank_is_held_against_the_fabric(told: tuple[str, ...]) -> None:
    """Which variable of which rank differs, is missing or overrides, and whether traffic can leave by it: exit 3."""
    wanted = variables(await ringfence("fabric", "env", "fab", *told))
    prefix = {**wanted, "NCCL_SOCKET_IFNAME": "fab0"}
    without = {name: value for name, value in wanted.items() if name != "GLOO_SOCKET_IFNAME"}
    stronger = {**wanted, "NCCL_COMM_ID": "10.0.0.1:9999", "UCX_TCP_PORT_RANGE": "0"}
    with ExitStack() as ranks:
        pids = [ranks.enter_context(running(one)) for one in (wanted, prefix, without, stronger)]
        called = ("fabric", "env", "check", *map(str, pids), "--fabric", "team-a/fab", *told)
        done = await ringfence(*called, "-o", "json")
        table = await ringfence(*called)

    assert (done.code, table.code) == (3, 3)
    assert [(one["pid"], one["variable"], one["wrong"], one["leaves"]) for one in done.json["items"]] == [
        (pids[1], "NCCL_SOCKET_IFNAME", "differs", "yes"),
        (pids[2], "GLOO_SOCKET_IFNAME", "missing", "yes"),
        (pids[3], "UCX_TCP_PORT_RANGE", "differs", "no"),
        (pids[3], "NCCL_COMM_ID", "overrides", "yes"),
    ]
    assert table.out.splitlines()[0].split() == ["PID", "VARIABLE", "WRONG", "WANTED", "FOUND", "LEAVES"]


async def test_a_rank_that_is_gone_is_no_good_rank(told: tuple[str, ...]) -> None:
    """It fails, and does not pass as one without findings."""
    with running({"A": "b"}) as pid:
        pass
    done = await ringfence("fabric", "env", "check", str(pid), "--fabric", "fab", *told)
    assert done.code == 1
    assert f"process {pid} is not there" in done.err
