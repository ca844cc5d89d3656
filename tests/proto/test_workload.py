"""Tests of the Workload API's messages in their own pool."""

from __future__ import annotations

import subprocess
import sys

import pytest
from google.protobuf import descriptor_pool

from ringfence.proto import workload
from ringfence.proto.service import path_of


def test_paths_have_no_package() -> None:
    """The service is called by its bare name (SPIFFE_Workload_API.md section 4)."""
    assert workload.SERVICE == "SpiffeWorkloadAPI"
    assert [path_of(method) for method in workload.DESCRIPTOR.methods] == [
        f"/SpiffeWorkloadAPI/{name}"
        for name in (
            *("FetchX509SVID", "FetchX509Bundles", "FetchJWTSVID", "FetchJWTBundles", "ValidateJWTSVID"),
            *("FetchWITSVID", "FetchWITBundles"),
        )
    ]


def test_default_pool_is_left_alone() -> None:
    """Nothing of it is in the default pool, where another copy may be."""
    with pytest.raises(KeyError):
        descriptor_pool.DescriptorPool().FindMessageTypeByName("X509SVIDResponse")
    assert workload.X509SVIDResponse.DESCRIPTOR.file.pool is not descriptor_pool.Default()


@pytest.mark.slow
def test_beside_the_spiffe_client() -> None:
    """The spiffe package and our copy load in one process, in either order, and read each other's bytes."""
    for order in (
        "import spiffe; from ringfence.proto import workload",
        "from ringfence.proto import workload; import spiffe",
    ):
        subprocess.run([sys.executable, "-W", "error::UserWarning", "-c", order], check=True, timeout=60)


def test_field_numbers() -> None:
    """Numbers and types are those of the standard: the bytes below were written out by hand."""
    svid = workload.X509SVID(spiffe_id="a", x509_svid=b"b", x509_svid_key=b"c", bundle=b"d", hint="e")
    assert svid.SerializeToString() == b"\x0a\x01a\x12\x01b\x1a\x01c\x22\x01d\x2a\x01e"
    response = workload.X509SVIDResponse(svids=[svid], crl=[b"f"], federated_bundles={"g": b"h"})
    assert (
        response.SerializeToString() == b"\x0a\x0f" + svid.SerializeToString() + b"\x12\x01f\x1a\x06\x0a\x01g\x12\x01h"
    )


def test_field_numbers_of_wit_messages() -> None:
    """The same for section 7, whose bundles are strings."""
    answer = workload.WITSVIDResponse()
    svid = answer.svids.add(spiffe_id="a", wit_svid="b", wit_svid_key="c", hint="d")
    assert answer.SerializeToString() == b"\x0a\x0c\x0a\x01a\x12\x01b\x1a\x01c\x22\x01d"
    assert svid.SerializeToString() == b"\x0a\x01a\x12\x01b\x1a\x01c\x22\x01d"
    assert workload.WITSVIDRequest(spiffe_id="a").SerializeToString() == b"\x0a\x01a"
    assert workload.WITBundlesResponse(bundles={"g": "h"}).SerializeToString() == b"\x0a\x06\x0a\x01g\x12\x01h"
