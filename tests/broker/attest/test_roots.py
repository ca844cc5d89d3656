"""The authorities of nodes: read from files, again when they change, and never lost to a file that is half written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from ringfence.broker.attest.roots import RootFiles, read_roots
from ringfence.certs.errors import RingfenceError
from tests.certs.factory import Ca

FLAG = "--x509pop-ca"


def test_authorities_are_read_from_pem_files(tmp_path: Path) -> None:
    """All of all files; what can't be used names its file."""
    paths = [tmp_path / "a.pem", tmp_path / "b.pem"]
    cas = [Ca("a"), Ca("b"), Ca("c")]
    pem = [ca.certificate.public_bytes(Encoding.PEM) for ca in cas]
    paths[0].write_bytes(pem[0] + pem[1])
    paths[1].write_bytes(pem[2])
    assert read_roots(paths, FLAG) == tuple(ca.certificate for ca in cas)
    paths[1].write_bytes(b"nonsense")
    for bad in (paths[1], tmp_path / "absent.pem"):
        with pytest.raises(RingfenceError) as caught:
            read_roots([bad], FLAG)
        assert caught.value.where == str(bad)
        assert FLAG in caught.value.hint
    paths[0].write_bytes(pem[0] * 101)
    with pytest.raises(RingfenceError, match=f"at most 100 authorities with {FLAG}"):
        read_roots(paths[:1], FLAG)


def test_authorities_are_read_again_when_a_file_changes(tmp_path: Path) -> None:
    """Another one in its place, and one that is taken out: no restart is needed for either."""
    cas = [Ca() for _ in range(3)]
    pem = [ca.certificate.public_bytes(Encoding.PEM) for ca in cas]
    path = tmp_path / "ca.pem"
    path.write_bytes(pem[0] + pem[1])
    roots = RootFiles([path], FLAG)
    assert roots() == (cas[0].certificate, cas[1].certificate)
    path.write_bytes(pem[1])
    assert roots() == (cas[1].certificate,)
    (tmp_path / "new").write_bytes(pem[2])
    (tmp_path / "new").rename(path)
    assert roots() == (cas[2].certificate,)


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"nonsense"), lambda path: path.unlink()])
def test_files_that_cannot_be_used_change_nothing(tmp_path: Path, damage: Callable[[Path], object]) -> None:
    """A half-written file locks no node out; once it is whole, it counts."""
    old, new = Ca(), Ca()
    path = tmp_path / "ca.pem"
    path.write_bytes(old.certificate.public_bytes(Encoding.PEM))
    roots = RootFiles([path], FLAG)
    damage(path)
    assert roots() == (old.certificate,)
    path.write_bytes(new.certificate.public_bytes(Encoding.PEM))
    assert roots() == (new.certificate,)
