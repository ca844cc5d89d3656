"""Every target as text, against a file; and that text against the fields that the readers of it have."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.fabric.emit.targets import TARGETS, emit
from tests.fabric.emit.intents import GUIDS, INTENT, asked
from tests.fabric.emit.schemas import checked, fits, objects

GOLDEN = Path(__file__).parent / "golden"
VF: dict[str, Any] = {"resource": "openshift.io/fabvf"}
LABEL: dict[str, Any] = {"label": "app.kubernetes.io/name"}
# File, target, fabric, facts.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("opensm.conf", "opensm", "ib", {"guids": GUIDS}),
    ("ufm.json", "ufm", "ib", {"guids": GUIDS}),
    ("sriov-ib.yaml", "sriov", "ib", {**VF, "operator": "nvidia-network-operator"}),
    ("sriov-roce.yaml", "sriov", "roce", {**VF, "operator": "nvidia-network-operator"}),
    ("nad-ib.yaml", "nad", "ib", VF),
    ("nad-roce.yaml", "nad", "roce", VF),
    ("nad-tcp.yaml", "nad", "tcp", {"master": "fab0", "ipam": '{"type": "nv-ipam", "poolName": "fab"}'}),
    ("multi-network-policy-tcp.yaml", "multi-network-policy", "tcp", LABEL),
    ("multi-network-policy-roce.yaml", "multi-network-policy", "roce", LABEL),
    ("dra-ib.yaml", "dra", "ib", {"count": 8}),
    ("dra-roce.yaml", "dra", "roce", {"count": 2}),
    ("dra-tcp.yaml", "dra", "tcp", {"count": 1}),
    ("dra-efa.yaml", "dra", "efa", {"count": 4}),
    ("gke-roce.yaml", "gke", "roce", {"vpc": "rdma-vpc", "subnets": ("rdma-0", "rdma-1")}),
    ("gke-tcp.yaml", "gke", "tcp", {"vpc": "fab-vpc", "subnets": ("fab",)}),
    ("efa-new.tf.json", "efa", "efa", {"vpc": "vpc-0a1b2c3d"}),
    ("efa-known.tf.json", "efa", "known-efa", {}),
    ("slurm-slingshot.conf", "slurm", "hsn", {"vnis": "1024-65535"}),
    ("slurm-nvlink.conf", "slurm", "nvl", {}),
    ("slurm-prolog.sh", "slurm-prolog", "tcp", {"partitions": ("gpu",), "groups": ("ml-a=team-a", "ml-b=team-b")}),
]


@pytest.mark.parametrize(("file", "target", "fabric", "facts"), CASES, ids=[case[0] for case in CASES])
def test_golden(file: str, target: str, fabric: str, facts: dict[str, Any]) -> None:
    """The same text every time."""
    assert emit(asked(target, fabric, **facts)) == (GOLDEN / file).read_text()


@pytest.mark.parametrize("file", sorted(case[0] for case in CASES if case[0].endswith(".yaml")))
def test_objects_have_the_fields_of_their_kinds(file: str) -> None:
    """And those alone; each document says first where in the intent it comes from."""
    text = (GOLDEN / file).read_text()
    for body in objects(text):
        checked(body)
    assert all(part.startswith("# from fabrics.yaml:") for part in text.split("---\n")[1:])


def test_requests_of_ufm_have_the_fields_of_its_api() -> None:
    """The key is a string, and GUIDs have 16 without 0x."""
    body = {"pkey": ("0x0012",), "index0": bool, "ip_over_ib": bool}
    made, members = json.loads((GOLDEN / "ufm.json").read_text())["requests"]
    request = {"method": ("POST",), "path": ("/ufmRest/resources/pkeys/add",)}
    fits({**request, "body": body | {"partition_name": str}})(made)
    request = {"method": ("PUT",), "path": ("/ufmRest/resources/pkeys/",)}
    fits({**request, "body": body | {"membership": ("full",), "guids": [str]}})(members)
    assert all(re.fullmatch("[0-9a-f]{16}", guid) for guid in members["body"]["guids"])


@pytest.mark.parametrize("file", ["efa-new.tf.json", "efa-known.tf.json"])
def test_a_security_group_is_open_to_itself_both_ways(file: str) -> None:
    """All protocols, to and from the group itself, and to nobody else."""
    told = json.loads((GOLDEN / file).read_text())
    assert told["//"].startswith("from fabrics.yaml:")
    resources = told["resource"]
    rule = {"security_group_id": str, "referenced_security_group_id": str, "ip_protocol": ("-1",)}
    for way in ("ingress", "egress"):
        for one in resources.pop(f"aws_vpc_security_group_{way}_rule").values():
            fits(rule)(one)
            assert one["security_group_id"] == one["referenced_security_group_id"]
    for group in resources.pop("aws_security_group", {}).values():
        fits({"name": str, "description": str, "vpc_id": str})(group)
    assert not resources


def test_every_target_has_a_golden_file_and_no_file_is_left_over() -> None:
    """A new target without one is found here."""
    assert {target for _, target, _, _ in CASES} == set(TARGETS)
    assert {file for file, _, _, _ in CASES} == {path.name for path in GOLDEN.iterdir()}


FITS = {
    "opensm": {"ib"},
    "ufm": {"ib"},
    "sriov": {"ib", "roce", "tcp"},
    "nad": {"ib", "roce", "tcp"},
    "multi-network-policy": {"roce", "tcp"},
    "dra": {"ib", "roce", "tcp", "efa"},
    "gke": {"roce", "tcp"},
    "efa": {"efa"},
    "slurm": {"hsn", "nvl"},
    "slurm-prolog": {"ib", "roce", "tcp", "efa", "nvl", "hsn"},
}


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_that_does_not_fit_is_refused_with_the_reason(target: str) -> None:
    """Of another kind, and of another plane; by file and line."""
    for fabric in {"ib", "roce", "tcp", "efa", "nvl", "hsn"} - FITS[target]:
        with pytest.raises(RingfenceError, match=f"and {target} is for .*: ") as refused:
            emit(asked(target, fabric))
        assert refused.value.kind is Kind.INVALID
        assert refused.value.where.startswith("fabrics.yaml:")
    with pytest.raises(RingfenceError, match="is of the plane storage"):
        emit(asked(target, "disks"))


@pytest.mark.parametrize(
    ("target", "fabric", "facts", "option"),
    [
        ("opensm", "ib", {}, "--guid"),
        ("ufm", "ib", {}, "--guid"),
        ("sriov", "roce", {"operator": "x"}, "--resource-name"),
        ("sriov", "roce", {"resource": "x"}, "--operator-namespace"),
        ("nad", "ib", {}, "--resource-name"),
        ("nad", "tcp", {}, "--master"),
        ("nad", "roce", {"master": "fab0"}, "--resource-name"),
        ("multi-network-policy", "tcp", {}, "--workload-label"),
        ("dra", "ib", {}, "--count"),
        ("gke", "tcp", {"subnets": ("a",)}, "--vpc"),
        ("gke", "tcp", {"vpc": "a"}, "--subnet"),
        ("efa", "efa", {}, "--vpc"),
        ("slurm", "hsn", {}, "--vnis"),
        ("slurm-prolog", "hsn", {"groups": ("a=team-a",)}, "--partition"),
        ("slurm-prolog", "hsn", {"partitions": ("gpu",)}, "--group"),
    ],
)
def test_a_fact_that_is_missing_is_asked_for(target: str, fabric: str, facts: dict[str, Any], option: str) -> None:
    """By the option that says it."""
    with pytest.raises(RingfenceError) as refused:
        emit(asked(target, fabric, **facts))
    assert option in refused.value.hint


def test_a_path_cannot_write_into_the_file() -> None:
    """A line break in the name of a document ends no comment: what follows it would be a partition."""
    one = asked("opensm", "ib", guids=GUIDS)
    origin = replace(one.fabric.origin, path="a\nAll=0x1 : ALL=full ;\u2028#")
    text = emit(replace(one, fabric=replace(one.fabric, origin=origin)))
    assert text.splitlines()[0].startswith("# from a?All=0x1")
    assert text.splitlines()[1].startswith("Default=0x7fff")


def test_two_fabrics_of_one_name_in_the_target_are_refused() -> None:
    """`platform/ib` for the tenant `x`, and `platform-ib/x`: one would overwrite the other."""
    other = """
---
kind: Fabric
metadata: {name: team-a, namespace: platform-ib}
spec: {kind: tcp, interfaces: [x0], enforcedBy: nothing}
"""
    with pytest.raises(RingfenceError) as refused:
        emit(asked("nad", "ib", text=INTENT + other, **VF))
    assert refused.value.kind is Kind.CONFLICT


@pytest.mark.parametrize("target", ["sriov", "nad"])
def test_a_virtual_function_has_a_vlan(target: str) -> None:
    """Without one it is on the wire as everybody is."""
    with pytest.raises(RingfenceError, match="has no VLAN"):
        emit(asked(target, "tcp", **VF, operator="x"))


@pytest.mark.parametrize(
    "wrong", ["x", "1024", "0-9", "5-5", "9-5", "1024-65536", "1024-2000,job_vni=all", "1024-2000\n"]
)
def test_a_pool_of_vnis_is_a_range(wrong: str) -> None:
    """What else stands there would be other parameters of the switch."""
    with pytest.raises(RingfenceError, match="no pool of VNIs"):
        emit(asked("slurm", "hsn", vnis=wrong))


def test_a_pool_leaves_the_fabrics_own_vni_out() -> None:
    """Any job would get it."""
    with pytest.raises(RingfenceError, match="vni 1000, which Slurm would hand to any job"):
        emit(asked("slurm", "hsn", vnis="1000-2000"))
    assert "vnis=1001-2000\n" in emit(asked("slurm", "hsn", vnis="1001-2000"))


def test_lines_of_slurm_conf_have_its_parameters() -> None:
    """A comment, the plug-in, and for Slingshot the pool, which it wants."""
    lines = [(GOLDEN / file).read_text().splitlines() for file in ("slurm-slingshot.conf", "slurm-nvlink.conf")]
    assert all(line[0].startswith("# from fabrics.yaml:") for line in lines)
    assert [line[1:] for line in lines] == [
        ["SwitchType=switch/hpe_slingshot", "SwitchParameters=vnis=1024-65535"],
        ["SwitchType=switch/nvidia_imex"],
    ]


@pytest.mark.parametrize("wrong", ["{", "[]", '{"type": 1}', "[" * 100_000])
def test_ipam_is_an_object_with_a_type(wrong: str) -> None:
    """Anything else is refused here, and not by the CNI on a node."""
    with pytest.raises(RingfenceError, match="no JSON object with a type"):
        emit(asked("nad", "tcp", master="fab0", ipam=wrong))


def test_who_has_no_tenants_has_nobody_to_attach() -> None:
    """Deny is what nothing is said of."""
    one = asked("nad", "tcp", master="fab0")
    with pytest.raises(RingfenceError, match="no tenants"):
        emit(replace(one, fabric=replace(one.fabric, tenants=())))
