"""What a node proves itself by with a TPM: files that are none, and flags that do not go together, are named."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.agent.v1 import agent_pb2
from ringfence.broker.agent.prove import NodeProver, TokenProver, prover_of
from ringfence.broker.agent.prove_k8s_psat import ProjectedTokenProver
from ringfence.broker.agent.prove_tpm_devid import DevidFiles, TpmDevidProver
from ringfence.broker.agent.prove_x509pop import CertificateProver
from ringfence.certs.certificate import read_certificate
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.tpm.reader import sized
from tests.broker.agent.harness import config
from tests.broker.server.harness import TRUST_DOMAIN
from tests.certs.factory import Ca
from tests.certs.material import new_key
from tests.certs.tpm.paper import DEVID, area

NO_TPM = "swtpm:path=/nowhere"


@dataclass(frozen=True, slots=True)
class Node:
    """The files of one."""

    files: DevidFiles

    def prove(self) -> None:
        """As far as it goes without a TPM: to its door."""
        TpmDevidProver(self.files, NO_TPM).evidence(TRUST_DOMAIN, b"n" * 32, b"")


def _of_unknown_key() -> bytes:
    """A certificate whose key is of an algorithm that nobody knows."""
    der = Ca().issue(new_key())
    known = bytes.fromhex("06072a8648ce3d0201")  # id-ecPublicKey
    pem = base64.encodebytes(der.replace(known, known[:-1] + b"\x7f"))
    return b"-----BEGIN CERTIFICATE-----\n" + pem + b"-----END CERTIFICATE-----\n"


@pytest.fixture
def node(tmp_path: Path) -> Node:
    """All in order."""
    key = new_key()
    made = DevidFiles(tmp_path / "devid.pem", tmp_path / "devid.priv", tmp_path / "devid.pub")
    made.certificate.write_bytes(read_certificate(Ca().issue(key)).public_bytes(Encoding.PEM))
    made.private.write_bytes(sized(b"wrapped"))
    made.public.write_bytes(sized(area(key, DEVID)))
    return Node(made)


@pytest.mark.parametrize(
    ("which", "spoil", "says"),
    [
        ("certificate", lambda path: path.write_bytes(b"nonsense"), "no certificate in PEM"),
        ("certificate", lambda path: path.unlink(), "No such file"),
        ("certificate", lambda path: path.write_bytes(_of_unknown_key()), "a damaged one"),
        ("private", lambda path: path.unlink(), "No such file"),
        ("public", lambda path: path.unlink(), "No such file"),
        ("public", lambda path: path.write_bytes(b"nonsense"), "neither RSA nor"),
        ("public", lambda path: path.write_bytes(area(new_key(), DEVID)), "not the key of"),
    ],
)
def test_files_that_prove_nothing_are_named(node: Node, which: str, spoil: Callable[[Path], object], says: str) -> None:
    """INVALID, with the file and the flags, before the TPM is asked anything."""
    path = getattr(node.files, which)
    spoil(path)
    with pytest.raises(RingfenceError) as caught:
        node.prove()
    assert caught.value.kind is Kind.INVALID
    assert says in caught.value.detail
    assert caught.value.where == str(path)
    assert "--tpm-devid-priv" in caught.value.hint


@pytest.mark.parametrize("written", [lambda data: data, sized], ids=["as SPIRE has them", "as tpm2-tools write them"])
def test_files_are_taken_with_their_size_or_without(node: Node, written: Callable[[bytes], bytes]) -> None:
    """Both are read whole; what fails then is the TPM, which is not there."""
    node.files.public.write_bytes(written(node.files.public.read_bytes()[2:]))
    with pytest.raises(RingfenceError) as caught:
        node.prove()
    assert caught.value.where == NO_TPM


@pytest.mark.parametrize(
    "fields",
    [
        {"attestor": "tpm_devid"},
        {"attestor": "tpm_devid", "tpm_devid_cert": Path("a"), "tpm_devid_priv": Path("b")},
        {"tpm_devid_cert": Path("a"), "tpm_devid_priv": Path("b"), "tpm_devid_pub": Path("c")},
        {"attestor": "x509pop", "x509pop_cert": Path("a"), "x509pop_key": Path("b"), "tpm_devid_pub": Path("c")},
    ],
)
def test_flags_that_do_not_go_together_are_refused(tmp_path: Path, fields: dict[str, Any]) -> None:
    """A file that would be ignored is a mistake."""
    with pytest.raises(RingfenceError) as caught:
        config(tmp_path, "127.0.0.1:1", **fields)
    assert caught.value.kind is Kind.INVALID
    assert "--tpm-devid-priv" in caught.value.detail


def test_the_flags_name_the_prover(tmp_path: Path) -> None:
    """And what it needs."""
    files = {f"tpm_devid_{what}": Path(what) for what in ("cert", "priv", "pub")}
    made = prover_of(config(tmp_path, "127.0.0.1:1", attestor="tpm_devid", **files))
    assert (made.name, made.needs_challenge, made.available) == ("tpm_devid", True, True)


@pytest.mark.parametrize(
    "prover", [TokenProver("x"), CertificateProver(Path("a"), Path("b")), ProjectedTokenProver("a", Path("b"))]
)
def test_whoever_has_no_tpm_opens_nothing(prover: NodeProver) -> None:
    """A server that asks for it is told so, in words."""
    with pytest.raises(RingfenceError, match=f"{prover.name} has none") as caught:
        prover.answer(agent_pb2.TpmCredential(), b"")
    assert caught.value.kind is Kind.INVALID
