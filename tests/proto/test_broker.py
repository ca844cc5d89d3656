"""Tests of the Broker API's messages in their own pool, and of how they relate to the Workload API's."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool

from ringfence.proto import broker, workload
from ringfence.proto.service import path_of


def test_paths_are_those_of_the_standard() -> None:
    """The service is `spiffe.broker.API`, and has these four methods (SPIFFE_Broker_API.md)."""
    names = ("SubscribeToX509SVID", "SubscribeToX509Bundles", "FetchJWTSVID", "SubscribeToJWTBundles")
    assert [path_of(method) for method in broker.DESCRIPTOR.methods] == [f"/spiffe.broker.API/{name}" for name in names]
    assert [method.server_streaming for method in broker.DESCRIPTOR.methods] == [True, True, False, True]


def test_default_pool_is_left_alone() -> None:
    """Nothing of it is in the default pool, where another copy may be."""
    assert broker.WorkloadReference.DESCRIPTOR.file.pool is not descriptor_pool.Default()


def test_a_reference_carries_its_type_url() -> None:
    """The bytes below were written out by hand, with the type URL of the standard."""
    url = b"type.googleapis.com/spiffe.broker.WorkloadPIDReference"
    packed = b"\x0a" + bytes([len(url)]) + url + b"\x12\x02\x08\x07"
    found = broker.reference(broker.WorkloadPIDReference(pid=7))
    assert found.SerializeToString() == b"\x0a" + bytes([len(packed)]) + packed


def test_field_numbers_of_an_object_reference() -> None:
    """Numbers and types are those of the standard: the bytes below were written out by hand."""
    found = broker.KubernetesObjectReference(
        type=broker.KubernetesObjectType(plural="a", group="b"),
        key=broker.KubernetesObjectKey(namespace="c", name="d"),
        uid="e",
    )
    assert found.SerializeToString() == b"\x0a\x06\x0a\x01a\x12\x01b\x12\x06\x0a\x01c\x12\x01d\x1a\x01e"


def test_field_numbers_of_requests() -> None:
    """The reference is field 1 of every request; audience and spiffe_id follow it."""
    for method in broker.DESCRIPTOR.methods:
        assert method.input_type.fields_by_number[1].name == "reference"
    request = broker.FetchJWTSVIDRequest(audience=["a"], spiffe_id="b")
    assert request.SerializeToString() == b"\x12\x01a\x1a\x01b"


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (
            workload.X509SVIDResponse(
                svids=[workload.X509SVID(spiffe_id="a", x509_svid=b"b", x509_svid_key=b"c", bundle=b"d", hint="e")],
                crl=[b"f"],
                federated_bundles={"g": b"h"},
            ),
            broker.SubscribeToX509SVIDResponse,
        ),
        (workload.X509BundlesResponse(crl=[b"a"], bundles={"b": b"c"}), broker.SubscribeToX509BundlesResponse),
        (
            workload.JWTSVIDResponse(svids=[workload.JWTSVID(spiffe_id="a", svid="b", hint="c")]),
            broker.FetchJWTSVIDResponse,
        ),
        (workload.JWTBundlesResponse(bundles={"a": b"b"}), broker.SubscribeToJWTBundlesResponse),
    ],
)
def test_answers_are_those_of_the_workload_api(ours: Any, theirs: Any) -> None:
    """Each answer has the names, numbers and types of the Workload API's, so that one encoder serves both."""
    data = ours.SerializeToString(deterministic=True)
    read = theirs.FromString(data)
    assert str(read) == str(ours)
    assert read.SerializeToString(deterministic=True) == data
