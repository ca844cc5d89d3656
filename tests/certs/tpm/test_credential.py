"""MakeCredential: opened by the TPM of the endorsement key, beside the key that was named, and by nobody else."""

from __future__ import annotations

import secrets
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.credential import SECRET_BYTES, make_credential
from ringfence.certs.tpm.names import Alg
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.reader import number
from tests.certs.factory import Ca
from tests.certs.material import new_key
from tests.certs.tpm.paper import AES128, ENDORSEMENT, PaperTpm, area

SECRET = secrets.token_bytes(SECRET_BYTES)
NAME = b"\x00\x0b" + bytes(range(32))


def _area(key: Any, **fields: Any) -> PublicArea:
    return PublicArea.parse(area(key, ENDORSEMENT, **{"symmetric": AES128, **fields}), "it")


@pytest.mark.parametrize("key", [new_key(), rsa.generate_private_key(65537, 2048)], ids=["P-256", "RSA"])
def test_its_tpm_opens_it_for_the_key_that_was_named(key: Any) -> None:
    """With each kind of endorsement key; for another name, or changed in any part, it stays shut."""
    tpm = PaperTpm(Ca(), key)
    made = make_credential(_area(key), NAME, SECRET)
    assert tpm.activate(made, NAME) == SECRET
    assert SECRET not in made.id_object + made.encrypted_secret
    with pytest.raises(ValueError, match="INTEGRITY"):
        tpm.activate(made, NAME[:-1] + b"\xff")


def test_another_tpm_does_not_open_it() -> None:
    """Its endorsement key is another one."""
    made = make_credential(_area(new_key()), NAME, SECRET)
    with pytest.raises(ValueError, match="INTEGRITY"):
        PaperTpm(Ca()).activate(made, NAME)


def test_no_two_are_alike() -> None:
    """A seed each: who sees two of them learns nothing of whether they hold the same."""
    key = _area(new_key())
    assert make_credential(key, NAME, SECRET) != make_credential(key, NAME, SECRET)


@pytest.mark.parametrize(
    "refused",
    [
        _area(ec.generate_private_key(ec.SECP384R1())),
        _area(new_key(), name_hash=Alg.SHA384),
        _area(new_key(), symmetric=number(Alg.AES, 2) + number(256, 2) + number(Alg.CFB, 2)),
        _area(new_key(), symmetric=number(Alg.NULL, 2)),
    ],
    ids=["P-384", "SHA-384", "AES-256", "none"],
)
def test_other_endorsement_keys_are_refused_with_the_next_step(refused: PublicArea) -> None:
    """Those of other templates."""
    with pytest.raises(RingfenceError) as caught:
        make_credential(refused, NAME, SECRET)
    assert caught.value.kind is Kind.UNAUTHENTICATED
    assert "L-1 or L-2" in caught.value.hint
