"""Namespaces in one partition, shared devices, the default partition, and ports that are open to the outside."""

from __future__ import annotations

import json

import pytest

from ringfence.fabric.manifests.check import check
from tests.fabric.manifests.samples import JOB, codes, found
from tests.policy.intent import NOW

SRIOV = """\
kind: SriovNetwork
metadata: {name: rail, namespace: sriov}
spec: {resourceName: cx7, networkNamespace: team-a, vlan: 100}
"""
CONFIG = {"type": "ib-sriov", "pkey": "0x12", "rdmaIsolation": True}


def nad(namespace: str, **config: object) -> str:
    """A network of one namespace."""
    return f"""\
kind: NetworkAttachmentDefinition
metadata: {{name: rail, namespace: {namespace}, annotations: {{k8s.v1.cni.cncf.io/resourceName: cx7}}}}
spec:
  config: '{json.dumps({**CONFIG, **config})}'
"""


def test_two_namespaces_of_one_vlan():
    """Of another VLAN, or another wire, they are apart."""
    other = SRIOV.replace("team-a", "team-b")
    assert codes(SRIOV, other) == ["RF6108", "RF6108"]
    assert "VLAN 100 of cx7, as are networks of team-a and team-b" in found(SRIOV, other)[0].message
    assert codes(SRIOV, SRIOV.replace("name: rail", "name: again")) == []
    assert codes(SRIOV, other.replace("100", "101")) == []
    assert codes(SRIOV, other.replace("cx7", "cx8")) == []
    assert codes(SRIOV.replace(", vlan: 100", ""), other.replace("100", "0")) == ["RF6108", "RF6108"]


@pytest.mark.parametrize("key", ["0x12", "0x0012", "0x8012", 18])
def test_two_namespaces_of_one_partition_key(key: object):
    """However it is written."""
    assert codes(nad("team-a"), nad("team-b", pkey=key)) == ["RF6108", "RF6108"]
    assert codes(nad("team-a"), nad("team-b", pkey="0x13")) == []


def test_devices_that_pods_share():
    """By the mode of a pool, or by a plug-in that leaves them in the node's namespace."""
    pool = "kind: SriovNetworkPoolConfig\nmetadata: {name: p, namespace: sriov}\nspec: {rdmaMode: shared}\n"
    assert codes(pool) == ["RF6109"]
    assert codes(pool.replace("shared", "exclusive")) == []
    assert codes(nad("team-a", rdmaIsolation=False)) == ["RF6109"]
    chain = {"plugins": [{**CONFIG, "rdmaIsolation": False}, {"type": "rdma"}]}
    assert codes(nad("team-a", **chain)) == []


@pytest.mark.parametrize("config", ["", "[", "[1]", "1", '{"plugins": 1}', '{"plugins": [1]}', '{"pkey": "x"}'])
def test_a_configuration_that_is_none_says_nothing(config: str):
    """It is the cluster's own to refuse."""
    text = f"kind: NetworkAttachmentDefinition\nmetadata: {{name: n}}\nspec: {{config: '{config}'}}\n"
    assert codes(text) == []


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("Default=0x7fff,ipoib:ALL=full;\n", [1]),
        ("# all of them\nDefault=0x7fff , ipoib, defmember=full : ALL, ALL_SWITCHES=full;", [2]),
        ("Job=0x12: 0x1=full;\n\nAll=0xffff : ALL_CAS=both ;", [3]),
        ("Default : ALL=full ;", [1]),
        ("Default=0x7fff,ipoib:ALL=limited,SELF=full;\n", []),
        ("Default=0x7fff : ALL, SELF=full ;", []),
        ("Job=0x12 : ALL=full ;", []),
        ("# Default=0x7fff:ALL=full;", []),
        ("Default=0x7fff:ALL=full", []),
        ("Default=x:ALL=full;", []),
        ("", []),
    ],
)
def test_who_is_a_full_member_of_the_default_partition(text: str, lines: list[int]):
    """Everybody, by opensm's own word for that; the subnet manager itself has to be."""
    told = check([("partitions.conf", text)], None, NOW)
    assert [(one.code, one.line) for one in told] == [("RF6104", line) for line in lines]


def test_a_store_that_is_open_to_the_outside():
    """By a service, or by a port of the node."""
    service = "kind: Service\nmetadata: {name: s}\nspec: {type: LoadBalancer, ports: [{port: 80, targetPort: 29500}]}\n"
    assert codes(service) == ["RF6111"]
    assert codes(service.replace("LoadBalancer", "ClusterIP")) == []
    assert codes(service.replace("type: LoadBalancer", "externalIPs: [192.0.2.1]")) == ["RF6111"]
    assert codes(service.replace("29500", "8080")) == []
    port = "resources: {limits: {rdma/hca_a: 1}}\n          ports: [{containerPort: 6379, hostPort: 6379}]"
    text = JOB.replace("resources: {limits: {rdma/hca_a: 1}}", port)
    (one,) = found(text)
    assert (one.code, one.threats[0]) == ("RF6111", "FAB-01")
    assert codes(text.replace(", hostPort: 6379", "")) == []
