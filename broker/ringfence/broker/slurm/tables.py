"""The two files of a site: which groups of Slurm's users have which identities, and which agent is on which node."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping

from ringfence.certs.errors import Kind, RingfenceError

_HEAD = re.compile(r"/ns/[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/\S+")
JOB = "%j"  # in a path: the job's number


def tenants(text: str, where: str) -> Mapping[str, tuple[str, ...]]:
    """By group, the paths of the identities of its jobs: lines `GROUP /ns/NAMESPACE/...`. Raises INVALID."""
    found: defaultdict[str, dict[str, None]] = defaultdict(dict)
    for at, group, path in _pairs(text, where):
        if not _HEAD.fullmatch(path):
            raise RingfenceError(
                Kind.INVALID, f"{path} is no identity of a namespace", where=at, hint="Write /ns/NAMESPACE/slurm/%j"
            )
        found[group][path] = None
    return {group: tuple(paths) for group, paths in found.items()}


def nodes(text: str, where: str) -> Mapping[str, str]:
    """By node of Slurm's, the path of the agent or node alias there: lines `NODE /PATH`. Raises INVALID."""
    found: dict[str, str] = {}
    for at, node, path in _pairs(text, where):
        if not path.startswith("/"):
            raise RingfenceError(
                Kind.INVALID, f"{path} is no path of an agent", where=at, hint="`ringfence node list` has them"
            )
        if found.setdefault(node, path) != path:
            raise RingfenceError(Kind.INVALID, f"{node} has two agents", where=at, hint="Leave one of them out")
    return found


def _pairs(text: str, where: str) -> Iterator[tuple[str, str, str]]:
    """FILE:LINE and the two words of each line; # begins a comment."""
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        at = f"{where}:{number}"
        if len(words) != 2:  # noqa: PLR2004  # NAME and PATH
            raise RingfenceError(Kind.INVALID, "a line has two words", where=at, hint="NAME PATH, or # and a comment")
        yield at, words[0], words[1]
