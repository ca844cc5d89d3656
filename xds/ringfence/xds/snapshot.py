"""What one proxy is to hold: named resources as bytes, with content hashes as versions, and no dangling reference."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ringfence.certs.errors import Kind, RingfenceError

_VERSION_DIGITS = 16
_NOTHING: Mapping[str, Resource] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Resource:
    """One resource, encoded once: `any` is a serialised google.protobuf.Any, `version` the hash of its bytes.

    `needs` names what it refers to, as (type URL, name): an EDS cluster its load assignment, a connection manager its
    routes, a filter its configuration.
    """

    name: str
    version: str
    any: bytes = field(repr=False)
    needs: frozenset[tuple[str, str]] = frozenset()


def content_version(data: bytes) -> str:
    """A short hash of content: 16 hex digits of SHA-256."""
    return hashlib.sha256(data).hexdigest()[:_VERSION_DIGITS]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All resources of one proxy, by type URL and name, of one revision of the model.

    Raises INVALID when a resource needs one that is not there: Envoy would wait for it, silently.
    """

    resources: Mapping[str, Mapping[str, Resource]]
    revision: str
    _versions: Mapping[str, str] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for named in self.resources.values():
            for resource in named.values():
                self._check_needs(resource)
        versions = {url: _type_version(named) for url, named in self.resources.items()}
        object.__setattr__(self, "_versions", versions)

    @classmethod
    def of(cls, resources: Iterable[tuple[str, Resource]], revision: str) -> Snapshot:
        """A snapshot of (type URL, resource) pairs; raises INVALID when two have one name."""
        grouped: dict[str, dict[str, Resource]] = {}
        for url, resource in resources:
            named = grouped.setdefault(url, {})
            if resource.name in named:
                raise RingfenceError(Kind.INVALID, f"two resources of {url} are named {resource.name!r}")
            named[resource.name] = resource
        return cls({url: dict(sorted(named.items())) for url, named in sorted(grouped.items())}, revision)

    def named(self, type_url: str) -> Mapping[str, Resource]:
        """The resources of a type by name; an empty mapping when there is none."""
        return self.resources.get(type_url, _NOTHING)

    def type_version(self, type_url: str) -> str:
        """The hash of all resources of a type: equal content has an equal version, on any server, after any restart."""
        return self._versions.get(type_url, _NO_VERSION)

    def _check_needs(self, resource: Resource) -> None:
        for url, name in sorted(resource.needs):
            if name not in self.named(url):
                raise RingfenceError(
                    Kind.INVALID,
                    f"resource {resource.name!r} needs {name!r} of {url}, which is not in the snapshot",
                )


def _type_version(named: Mapping[str, Resource]) -> str:
    lines = (f"{name} {resource.version}\n" for name, resource in sorted(named.items()))
    return content_version("".join(lines).encode())


_NO_VERSION = _type_version({})  # that of a type without resources
