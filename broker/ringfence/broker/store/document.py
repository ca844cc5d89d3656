"""A document of intent as a store keeps it; whoever only reads files need not load a database's library for it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Document:
    """One file as the operator named it."""

    path: str
    text: bytes
