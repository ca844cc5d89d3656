"""Revocation lists of intermediates: what an authority below an operator's root takes back, openssl believes too."""

from __future__ import annotations

from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.certs.crl import sign_crl
from tests.broker.test_upstream import authority_below, now, pem
from tests.ca import new_pki, openssl
from tests.certs.material import HOUR, TRAINER, new_key
from tests.certs.test_crl import revoked


@pytest.mark.parametrize("kind", ["ec", "rsa"])
def test_openssl_refuses_a_leaf_that_our_intermediate_lists(tmp_path: Path, kind: str) -> None:
    """Whatever the operator's root is made of; a leaf that is not on the list is taken."""
    authority = authority_below(new_pki(tmp_path, kind=kind))
    burnt, good = (authority.issue_x509(TRAINER, new_key().public_key(), now=now(), ttl=HOUR) for _ in range(2))
    made = sign_crl(authority.current.x509, [revoked(burnt[0], now=now())], number=1, now=now())
    files = {name: tmp_path / f"{name}.pem" for name in ("crl", "roots", "others", "burnt", "good")}
    files["crl"].write_bytes(x509.load_der_x509_crl(made.der).public_bytes(Encoding.PEM))
    files["roots"].write_bytes(authority.bundle(1).x509_pem())
    files["others"].write_bytes(pem(*burnt[1:]))
    files["burnt"].write_bytes(pem(burnt[0]))
    files["good"].write_bytes(pem(good[0]))
    verify = ("verify", "-x509_strict", "-crl_check", "-CAfile", files["roots"], "-untrusted", files["others"])
    with pytest.raises(AssertionError, match="certificate revoked"):
        openssl(*verify, "-CRLfile", files["crl"], files["burnt"])
    assert "OK" in openssl(*verify, "-CRLfile", files["crl"], files["good"])
