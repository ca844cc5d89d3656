"""Hosts outside that stand for many: which names they mean, and who of several declarations owns a name.

A name that another External declares, exactly or by a longer suffix, is that one's alone: the rules of the wider one,
allow or deny, do not speak of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace

from ringfence.policy.externals import External
from ringfence.policy.fields import MAX_HOST

_LABEL = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"  # of any length: a longer one than DNS has leads nowhere


def names_regex(external: External) -> str:
    """The names that *external* means, in lower case, in the syntax that RE2 and Python share; to match as a whole."""
    if external.dynamic is None:
        return re.escape(external.host)
    star = rf"(?:{_LABEL}\.)+" if external.dynamic.many else rf"{_LABEL}\."
    return star + re.escape(external.host.removeprefix("*."))


def asked_regex(external: External, asked: Iterable[str]) -> str:
    """Those of the names of *external* that are *asked*: a star stands for as many labels as its own does."""
    patterns = (replace(external, host=name, dynamic=external.dynamic if "*" in name else None) for name in asked)
    return "|".join(names_regex(each) for each in patterns)


def is_asked(external: External, asked: Iterable[str], host: str) -> bool:
    """Whether *host* is one of those."""
    return re.fullmatch(asked_regex(external, asked), host) is not None


def covers(external: External, asked: str) -> bool:
    """Whether *external* means *asked*, a name or all those below one (`*.a.b`)."""
    if "*" not in asked:
        return means(external, asked)
    dynamic, suffix = external.dynamic, external.host.removeprefix("*")
    return dynamic is not None and (asked == external.host or (dynamic.many and asked.endswith(suffix)))


def means(external: External, host: str) -> bool:
    """Whether *host*, in lower case and without a trailing dot, is a name that *external* stands for."""
    return len(host) <= MAX_HOST and re.fullmatch(names_regex(external), host) is not None


def owner(externals: Iterable[External], host: str) -> External | None:
    """The External whose rules speak of *host*: the one with the longest name that means it, then the first by key.

    Or of all names below one (`*.a.b`), but for those that others own among them.
    """
    found = [external for external in externals if covers(external, host)]
    return min(found, key=lambda each: (each.dynamic is not None, -len(each.host), each.key), default=None)


def within(externals: Iterable[External], wide: External) -> tuple[External, ...]:
    """Those that own names which *wide* would mean else, by key."""
    suffix = wide.host.removeprefix("*")
    if wide.dynamic is None:
        return ()
    narrower = (each for each in externals if each.host != wide.host and each.host.endswith(suffix))
    many = wide.dynamic.many
    return tuple(
        sorted(
            (each for each in narrower if (many if each.dynamic is not None else means(wide, each.host))),
            key=lambda each: each.key,
        )
    )


def suffixes(host: str) -> tuple[str, ...]:
    """What a star that means *host* may stand before: `.b.example` and `.example` of `a.b.example`."""
    labels = host.split(".")
    return tuple("." + ".".join(labels[at:]) for at in range(1, len(labels)))
