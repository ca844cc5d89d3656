"""Which files of a folder are sent along as intent: documents, and what they name."""

from __future__ import annotations

from pathlib import Path

import pytest

from ringfence.broker.intent_files import read_documents
from ringfence.certs.errors import Kind, RingfenceError


def test_documents_certificates_and_keys_are_sent_and_nothing_else(tmp_path: Path):
    """From folders below too; what is hidden, and a private key, stays where it is."""
    for name in ("a.yaml", "below/b.yml", "ca.pem", "below/corp.jwks", "c.json", "ca.key", ".git/d.yaml", "README.md"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(name)
    sent = {document.path.removeprefix(f"{tmp_path}/"): document.text for document in read_documents(tmp_path)}
    assert sent == {name: name.encode() for name in ("a.yaml", "below/b.yml", "ca.pem", "below/corp.jwks")}


def test_keys_without_a_document_are_no_intent(tmp_path: Path):
    """Nothing would name them."""
    (tmp_path / "corp.jwks").write_text("{}")
    with pytest.raises(RingfenceError) as caught:
        read_documents(tmp_path)
    assert caught.value.kind is Kind.NOT_FOUND
