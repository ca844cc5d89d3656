"""What a client refused, so that it is not sent again, holds up nothing else, and takes nothing good away.

A response that is refused may be applied in part (design, section 7.3), and Envoy's text names the culprits more often
than not: `Error adding/updating listener(s) inbound/http: ...`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from ringfence.xds.snapshot import Resource


@dataclass(slots=True)
class Quarantine:
    """Resources of one type by name and version, each with what the client said of it."""

    refused: dict[tuple[str, str], str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.refused)

    def holds(self, resource: Resource) -> bool:
        """Whether that very content was refused."""
        return (resource.name, resource.version) in self.refused

    def add(self, resources: Iterable[Resource], detail: str) -> None:
        """Keep *resources* back from now on."""
        self.refused |= {(resource.name, resource.version): detail for resource in resources}

    @property
    def names(self) -> frozenset[str]:
        """Those that are kept back."""
        return frozenset(name for name, _ in self.refused)

    def told(self, more: str = "") -> str:
        """All that the client said of them, and *more*."""
        return "; ".join(filter(None, dict.fromkeys([*self.refused.values(), more])))

    def release(self, named: Mapping[str, Resource]) -> set[str]:
        """Let go of what is not to be sent any more, by *named*, the newest: a changed resource is tried again."""
        gone = [
            (name, version) for name, version in self.refused if name not in named or named[name].version != version
        ]
        for key in gone:
            del self.refused[key]
        return {name for name, _ in gone}


@dataclass(frozen=True, slots=True)
class Refusals:
    """What outlives a stream of what its client refused: each refusal, and by name what it had accepted before."""

    refused: Mapping[tuple[str, str], str]  # by name and version, with what the client said
    good: Mapping[str, Resource]


def named_in(detail: str, suspects: Iterable[Resource]) -> list[Resource]:
    """Those of *suspects* whose whole name stands in *detail*: `inbound/http2` does not name `inbound/http`."""
    return [one for one in suspects if re.search(rf"(?<![\w/.-]){re.escape(one.name)}(?![\w/-]|\.\w)", detail)]
