"""The namespace that an identity, a rule's template or a name in a decision is in."""

from __future__ import annotations

from collections.abc import Sequence

_HEAD = 3  # "", "ns", NAMESPACE, and then at least one more


def namespace_of(path: str) -> str:
    """The namespace of `/ns/NAMESPACE/...`; empty for any other path, and for a template that leaves it open.

    Whatever fills the rest of a template, it stays inside: a segment is a text or one placeholder, never both, and
    what fills a placeholder has no slash.
    """
    parts = path.split("/")
    if len(parts) <= _HEAD or parts[:2] != ["", "ns"] or "{" in parts[2]:
        return ""
    return parts[2]


def namespace_named(text: str) -> str:
    """The namespace of a SPIFFE ID, a template of them, or NAMESPACE/NAME; empty for anything else."""
    if text.startswith("spiffe://"):
        _, slash, path = text.removeprefix("spiffe://").partition("/")
        return namespace_of(slash + path)
    namespace, slash, name = text.partition("/")
    return namespace if slash and name and "/" not in name else ""


def overlap(one: str, other: str) -> bool:
    """Whether two paths, templates or not, can be the same path."""
    ones, others = one.split("/"), other.split("/")
    return len(ones) == len(others) and all(map(_may_be_same, ones, others))


def overlaps(path: str, paths: Sequence[str]) -> bool:
    """Whether *path* can be any of *paths*."""
    return any(overlap(path, each) for each in paths)


def _may_be_same(one: str, other: str) -> bool:
    return one == other or "{" in one or "{" in other
