"""What changes of the members of a fabric's jobs, as one small transaction of nft: pure.

Nobody is out of a set for a moment who stays in it, whatever end they get, and whatever the kernel has dropped by now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ringfence.fabric.plan import Member, Members
from ringfence.fabric.plan_nft import element, set_of, table_of


def delta(key: str, before: Iterable[Members], after: Iterable[Members], now: float) -> str:
    """The transaction that makes the sets that hold *before* hold *after*, at *now* in Unix seconds; empty for none.

    The jobs are the same: another job is another set, which comes and goes with the whole filter.
    """
    had = {one.job: frozenset(one.members) for one in before}
    return "".join(line for one in after for line in _of_job(key, one.job, had[one.job], frozenset(one.members), now))


def _of_job(key: str, job: str, had: frozenset[Member], has: frozenset[Member], now: float) -> Iterator[str]:
    for version in (4, 6):
        out = sorted({str(one.address) for one in had ^ has if one.address.version == version})
        come = sorted(filter(None, (element(one, now) for one in has - had if one.address.version == version)))
        place = f"element {table_of(key)} {set_of(job, version)}"
        # What the kernel dropped at its end cannot be deleted, and what is there gets no other end before Linux 6.12:
        # so it is made, taken away and made as it is to be, and the kernel shows only the last of it.
        for verb, elements in (("add", [f"{one} timeout 1s" for one in out]), ("delete", out), ("add", come)):
            if elements:
                yield f"{verb} {place} {{ {', '.join(elements)} }}\n"
