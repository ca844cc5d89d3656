"""Documents of fabrics: what each kind has, and what is refused of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.fabrics import ENFORCERS, PARTITIONS, Enforcer, FabricKind, InterfaceForm, PartitionKind
from ringfence.policy.findings import Finding
from tests.policy.intent import FABRIC, GRANT, MESH, TRAINER, load, model_of

SPELLED = {
    PartitionKind.PKEY: "pkey: 18",
    PartitionKind.VLAN: "vlan: 40",
    PartitionKind.VNI: "vni: 1024",
    PartitionKind.SECURITY_GROUP: "securityGroup: sg-0123456789abcdef0",
}


def fabric(kind: FabricKind, enforcer: Enforcer, partition: PartitionKind | None = None) -> str:
    """The least that is to be said of one."""
    spec = {"kind": kind.value, "enforcedBy": enforcer.value, "tenants": "[team-a]"}
    if kind is not FabricKind.NVLINK:
        spec["interfaces"] = "[fab0]"
    if partition is not None:
        spec["partition"] = f"{{{SPELLED[partition]}}}"
    said = ", ".join(f"{name}: {value}" for name, value in spec.items())
    return f"\nkind: Fabric\nmetadata: {{name: rail, namespace: platform}}\nspec: {{{said}}}\n"


def changed(old: str, new: str) -> list[Finding]:
    """What is found when a line of the fabric says something else; findings of the workload aside."""
    assert old in FABRIC
    return [one for one in load(MESH, TRAINER, FABRIC.replace(old, new)).findings if one.code != "RF1302"]


@pytest.mark.parametrize("kind", list(FabricKind))
@pytest.mark.parametrize("partition", [None, *PartitionKind])
def test_each_kind_has_the_partition_that_fits_it_and_no_other(kind: FabricKind, partition: PartitionKind | None):
    """A VLAN says nothing to a subnet manager."""
    loaded = load(MESH, TRAINER, fabric(kind, Enforcer.NOTHING, partition))
    assert (loaded.model is not None) is (partition in {None, PARTITIONS.get(kind)})
    if loaded.model is None:
        assert [one.code for one in loaded.findings if one.level == "error"] == ["RF1112"]
    else:
        found = loaded.model.fabrics["platform/rail"].partition
        assert (found.kind if found is not None else None) is partition


@pytest.mark.parametrize("kind", list(FabricKind))
@pytest.mark.parametrize("enforcer", list(Enforcer))
def test_nobody_is_said_to_enforce_what_he_cannot(kind: FabricKind, enforcer: Enforcer):
    """That nothing does may always be said."""
    loaded = load(MESH, TRAINER, fabric(kind, enforcer))
    can = enforcer is Enforcer.NOTHING or enforcer in ENFORCERS[kind]
    assert [one.code for one in loaded.findings if one.level == "error"] == ([] if can else ["RF1113"])


def test_a_host_firewall_on_verbs_is_refused_with_the_reason() -> None:
    """The segment that everybody believed to be filtered is the hole that this is about."""
    found = changed("enforcedBy: pkey", "enforcedBy: host-firewall")
    assert [one.code for one in found] == ["RF1113"]
    assert "a host's firewall sees sockets, and the data of infiniband crosses none" in found[0].message
    assert "pkey or rdma-netns" in found[0].hint
    assert found[0].line == FABRIC.splitlines().index("  enforcedBy: pkey") + MESH.count("\n") + TRAINER.count("\n")


@pytest.mark.parametrize(
    ("old", "new", "code", "says"),
    [
        ("pkey: 0x0012", "pkey: 0x8012", "RF1112", "write 0x0012"),
        ("pkey: 0x0012", "pkey: 32786", "RF1112", "write 0x0012"),
        ("pkey: 0x0012", "pkey: 0x0000", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: 0x8000", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: 65536", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: -1", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: true", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: ml", "RF1112", "no partition key"),
        ("pkey: 0x0012", "pkey: 1, vlan: 2", "RF1112", "one of pkey, vlan, vni and securityGroup"),
        ("partition: {pkey: 0x0012}", "partition: {}", "RF1112", "one of pkey"),
        ("pkey: 0x0012", "vlan: 4095", "RF1112", "no VLAN"),
        ("pkey: 0x0012", "vlan: 0", "RF1112", "no VLAN"),
        ("pkey: 0x0012", "vni: 65536", "RF1112", "no VNI"),
        ("pkey: 0x0012", "securityGroup: default", "RF1112", "no security group"),
        ('"ib*"', '"*"', "RF1105", "no network interface"),
        ('"ib*"', "ib0=", "RF1105", "no network interface"),
        ('"ib*"', "^ib", "RF1105", "no network interface"),
        ('"ib*"', "a-name-of-sixteen", "RF1105", "no network interface"),
        ('"ib*"', "7", "RF1105", "no network interface"),
        ('"ib*"', "lo", "RF1104", "loopback"),
        ('"ib*"', '"l*"', "RF1104", "loopback"),
        ("192.168.50.0/24", "192.168.50.1/24", "RF1104", "no range of addresses"),
        ("192.168.50.0/24", "0.0.0.0/0", "RF1104", "loopback"),
        ("192.168.50.0/24", '"::/0"', "RF1104", "loopback"),
        ("192.168.50.0/24", "169.254.0.0/17", "RF1104", "metadata"),
        ("192.168.50.0/24", '"fe80::/64"', "RF1104", "link-local"),
        ("192.168.50.0/24", "240.7.0.0/16", "RF1104", "reserved"),
        ("192.168.50.0/24", '"ff02::/16"', "RF1104", "multicast"),
        ("mtu: 4092", "mtu: 60", "RF1104", "mtu"),
        ("50000-51000", "51000-50000", "RF1104", "no TCP port"),
        ("50000-51000", "0", "RF1104", "no TCP port"),
        ("50000-51000", "1-65536", "RF1104", "no TCP port"),
        ("50000-51000", "true", "RF1104", "no TCP port"),
        ("kind: infiniband", "kind: nvlink", "RF1112", "nvlink has no pkey"),
        ("kind: infiniband", "kind: wifi", "RF1104", "kind"),
    ],
)
def test_what_a_fabric_cannot_have_is_refused(old: str, new: str, code: str, says: str) -> None:
    """Each by its code, in words that say what is to be written."""
    found = [one for one in changed(old, new) if one.level == "error"]
    assert code in {one.code for one in found}
    assert any(says in f"{one.message} {one.hint}" for one in found), [str(one) for one in found]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ("interfaces: [nv0], enforcedBy: imex", "network interfaces, and NVLink none"),
        ("cidrs: [10.0.0.0/8], enforcedBy: imex", "no addresses"),
        ("ports: [5], enforcedBy: imex", "no addresses"),
        ("mtu: 9000, enforcedBy: imex", "no addresses"),
    ],
)
def test_nvlink_is_no_network_of_packets(more: str, says: str) -> None:
    """It has neither interfaces nor addresses."""
    loaded = load(MESH, f"kind: Fabric\nmetadata: {{name: n, namespace: p}}\nspec: {{kind: nvlink, {more}}}\n")
    assert [one.code for one in loaded.findings] == ["RF1104"]
    assert says in loaded.findings[0].message


def test_every_other_kind_names_its_interfaces() -> None:
    """What has no way to be told from the rest cannot be kept apart from it."""
    found = changed('  interfaces: ["ib*", "0000:17:00.0"]\n', "")
    assert [one.code for one in found] == ["RF1104"]


@pytest.mark.parametrize(
    ("old", "new", "code"),
    [
        ("identities: [{workload: trainer}]", "identities: [{}]", "RF1104"),
        ("identities: [{workload: trainer}]", "identities: []", "RF1104"),
        ("{workload: trainer}", "{all: true}", "RF1102"),
        ("{workload: trainer}", "{id: 'spiffe://other.example/x'}", "RF1102"),
        ("{workload: trainer}", "{workload: trainer, cidrs: [10.0.0.0/8]}", "RF1102"),
        ("job: llm-7b", "job: ../llm", "RF1105"),
        ("job: llm-7b", "job: ..", "RF1105"),
        ("  job: llm-7b\n", "", "RF1103"),
        ("  expires: 2027-01-31T00:00:00Z\n", "", "RF1103"),
        ("  owner: ml-platform\n", "", "RF1103"),
        ("  reason: pre-training\n", "", "RF1103"),
        ("expires: 2027-01-31T00:00:00Z", "expires: never", "RF1108"),
    ],
)
def test_a_grant_is_for_some_for_one_job_and_for_a_time(old: str, new: str, code: str) -> None:
    """Leave for everybody, for ever, or without anybody who answers for it cannot be written."""
    assert old in GRANT
    loaded = load(MESH, TRAINER, FABRIC, GRANT.replace(old, new))
    assert loaded.model is None
    assert code in {one.code for one in loaded.findings}


@given(st.integers(-(1 << 17), 1 << 17), st.booleans())
def test_a_partition_key_is_taken_where_it_has_fifteen_bits(number: int, as_text: bool) -> None:  # noqa: FBT001
    """As a number or in hexadecimal it is one key."""
    text = f"{number:#06x}" if as_text else str(number)
    loaded = load(MESH, TRAINER, FABRIC.replace("0x0012", text))
    assert (loaded.model is not None) is (0 < number < 1 << 15)
    if loaded.model is not None:
        partition = loaded.model.fabrics["platform/rail"].partition
        assert partition is not None
        assert partition.number == number


@given(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", fullmatch=True).filter(lambda name: name != "lo"))
def test_every_name_of_an_interface_that_is_taken_is_meant_as_it_stands(name: str) -> None:
    """By itself, and by a beginning of it where it is not loopback's."""
    quoted = FABRIC.replace('"ib*"', f'"{name}"')
    (first, _) = model_of(MESH, TRAINER, quoted).fabrics["platform/rail"].interfaces
    assert first.form is InterfaceForm.NAME
    assert first.takes(name)
    assert not first.takes(f"{name}0")


@given(
    st.fixed_dictionaries(
        {"kind": st.sampled_from([*(kind.value for kind in FabricKind), "x", 1])},
        optional={
            "plane": st.sampled_from(["fabric", "storage", "x"]),
            "interfaces": st.lists(st.text("ib0l*:.^", max_size=17) | st.integers(), max_size=3),
            "cidrs": st.lists(st.text("0123456789./:af", max_size=20), max_size=3),
            "mtu": st.integers() | st.text(max_size=3),
            "partition": st.dictionaries(
                st.sampled_from(["pkey", "vlan", "vni", "securityGroup", "x"]), st.integers() | st.text(max_size=8)
            ),
            "ports": st.lists(st.integers() | st.text("0123456789-", max_size=12), max_size=3),
            "tenants": st.lists(st.text("team-a", max_size=8), max_size=3),
            "enforcedBy": st.sampled_from([*(one.value for one in Enforcer), "x"]),
        },
    )
)
def test_whatever_is_written_is_a_fabric_or_an_error_of_the_document(spec: dict[str, Any]) -> None:
    """Nothing that a document says is a crash, and what is taken has an enforcer and the partition of its kind."""
    text = json.dumps({"kind": "Fabric", "metadata": {"name": "n", "namespace": "p"}, "spec": spec})
    loaded = load(MESH, f"{text}\n")
    assert (loaded.model is None) is any(one.level == "error" for one in loaded.findings)
    if loaded.model is not None:
        made = loaded.model.fabrics["p/n"]
        assert made.partition is None or made.partition.kind is PARTITIONS[made.kind]
        assert not any(one.takes("lo") for one in made.interfaces)
