"""Revocation lists: laid out as RFC 5280 section 5 says, and believed by OpenSSL and cryptography."""

from __future__ import annotations

import subprocess
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.certs.authority import Authority
from ringfence.certs.crl import LIFE, read_crl, sign_crl
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.revocation import RevokedSerial, serial_of
from tests import parts
from tests.certs.material import HOUR, NOW, SECOND, TRAINER, new_authority, new_key, openssl_time

REASONS = {
    "keyCompromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "cessationOfOperation": x509.ReasonFlags.cessation_of_operation,
    "privilegeWithdrawn": x509.ReasonFlags.privilege_withdrawn,
}


def revoked(der: bytes, code: str = "keyCompromise", *, now: datetime = NOW) -> RevokedSerial:
    """The revocation of a leaf."""
    leaf = x509.load_der_x509_certificate(der)
    serial, end = serial_of(leaf.serial_number), int(leaf.not_valid_after_utc.timestamp())
    return RevokedSerial(serial, str(TRAINER), "", "", end, int(now.timestamp()), code, "leaked")


def leaf_of(authority: Authority) -> bytes:
    """A new leaf."""
    return authority.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)[0]


def test_a_list_says_what_rfc_5280_asks() -> None:
    """Version 2, issuer, both times, number and key identifier, each serial with its time (sections 5.1 and 5.2)."""
    authority, _ = new_authority()
    root = authority.current.x509
    one = revoked(leaf_of(authority))
    made = sign_crl(root, [one], number=7, now=NOW)
    found = x509.load_der_x509_crl(made.der)
    assert found.issuer == root.certificate.subject
    assert found.last_update_utc == (NOW - 10 * SECOND).replace(microsecond=0)
    assert found.next_update_utc == found.last_update_utc + LIFE
    assert found.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number == 7
    key_id = found.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier).value.key_identifier
    assert key_id is not None
    assert key_id.hex() == root.subject_key_id == made.authority
    assert not any(extension.critical for extension in found.extensions)
    (entry,) = found
    assert serial_of(entry.serial_number) == one.serial
    assert entry.revocation_date_utc == NOW.replace(microsecond=0)


def test_what_is_read_is_what_was_made() -> None:
    """A stored list is the same value again; anything else is refused in words."""
    authority, _ = new_authority()
    made = sign_crl(authority.current.x509, [revoked(leaf_of(authority))], number=1, now=NOW)
    assert read_crl(made.der) == made
    other_version = made.der.replace(b"\x02\x01\x01", b"\x02\x01\x02", 1)
    for damaged in (b"", made.der[:-1], leaf_of(authority), other_version):
        with pytest.raises(RingfenceError) as caught:
            read_crl(damaged)
        assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize("code", [*REASONS, "unspecified"])
def test_each_reason_is_written_by_its_number(code: str) -> None:
    """Unspecified is said by leaving the extension out (section 5.3.1)."""
    authority, _ = new_authority()
    made = sign_crl(authority.current.x509, [revoked(leaf_of(authority), code)], number=1, now=NOW)
    (entry,) = x509.load_der_x509_crl(made.der)
    if code == "unspecified":
        assert not list(entry.extensions)
    else:
        assert entry.extensions.get_extension_for_class(x509.CRLReason).value.reason is REASONS[code]


def test_a_list_is_made_again_in_good_time() -> None:
    """When it says something else than is true, and at half of its life."""
    authority, _ = new_authority()
    one, two = revoked(leaf_of(authority)), revoked(leaf_of(authority))
    made = sign_crl(authority.current.x509, [one], number=1, now=NOW)
    assert not made.is_due([one], NOW + LIFE / 2 - timedelta(minutes=1))
    assert made.is_due([one], NOW + LIFE / 2)
    assert made.is_due([one, two], NOW)
    assert made.is_due([], NOW)


def test_an_empty_list_is_a_list() -> None:
    """The sequence of entries is left out altogether (section 5.1.2.6)."""
    authority, _ = new_authority()
    made = sign_crl(authority.current.x509, [], number=1, now=NOW)
    assert list(x509.load_der_x509_crl(made.der)) == []
    assert made.serials == frozenset()


def test_a_key_that_is_not_the_authoritys_signs_no_list() -> None:
    """What does not verify under the root is never handed out."""
    authority, keys = new_authority()
    root = authority.current.x509
    keys.delete(root.key_id)
    keys.generate(root.key_id)
    with pytest.raises(RingfenceError, match="does not verify"):
        sign_crl(root, [], number=1, now=NOW)


def test_a_retired_authority_still_signs_its_list() -> None:
    """Until the last of its certificates has ended, however often keys were forgotten."""
    authority, _ = new_authority()
    leaf = leaf_of(authority)
    first = authority.current.x509
    authority.prepare(NOW)
    authority.activate(NOW)
    authority.prune(NOW)
    assert sign_crl(first, [revoked(leaf)], number=1, now=NOW).serials == {revoked(leaf).serial}


def test_openssl_refuses_the_revoked_and_takes_the_others(tmp_path: Path) -> None:
    """`openssl verify -crl_check` believes the list: signature, issuer, times and the root's right to sign it."""
    openssl = parts.program("openssl", "openssl")
    authority, _ = new_authority()
    root = authority.current.x509
    burnt, good = leaf_of(authority), leaf_of(authority)
    (tmp_path / "root.pem").write_bytes(root.certificate.public_bytes(Encoding.PEM))
    made = sign_crl(root, [revoked(burnt)], number=1, now=NOW)
    (tmp_path / "crl.pem").write_bytes(x509.load_der_x509_crl(made.der).public_bytes(Encoding.PEM))

    def verified(name: str, der: bytes) -> subprocess.CompletedProcess[str]:
        leaf = tmp_path / f"{name}.pem"
        leaf.write_bytes(x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM))
        command = [openssl, "verify", "-crl_check", "-x509_strict", "-attime", openssl_time(NOW)]
        command += ["-CAfile", str(tmp_path / "root.pem"), "-CRLfile", str(tmp_path / "crl.pem"), str(leaf)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    refused = verified("burnt", burnt)
    assert refused.returncode != 0
    assert "certificate revoked" in refused.stdout + refused.stderr
    assert verified("good", good).returncode == 0
