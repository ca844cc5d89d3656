"""Callers as gRPC's RBAC can mean them: a URI SAN and no stranger's, although it asks whether *any* of them matches.

gRPC looks at URI SANs, then DNS SANs, then the subject, and takes the first that matches. A principal that allows
therefore demands two things of a certificate: a URI that the rule means, and none that it does not mean. The second
is a regular expression for everything else that is a URI; no DNS name and no subject is one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import groupby
from typing import Any

from ringfence.certs.selectors import MAX_RANK
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.policy.callers import Source
from ringfence.policy.identities import Ranks
from ringfence.policy.scope import source_prefix

Fields = dict[str, Any]

_COLON = len("spiffe:") - 1
_PATH = r"[a-zA-Z0-9._-]+(?:/[a-zA-Z0-9._-]+)*"  # SPIFFE-ID.md section 2.2
_NO_PATH = "(?:.*[^a-zA-Z0-9._/-].*|/.*|.*//.*|.*/)?"  # any other string, where a dot is a newline too
# Any string that certs.selectors.RANK does not match.
_NO_RANK = f"(?:[^0-9].*|0.+|[1-9][0-9]{{0,{len(str(MAX_RANK)) - 1}}}[^0-9].*|[1-9][0-9]{{{len(str(MAX_RANK))}}}.*)?"
# Names to one expression: gRPC compiles it at every change, which is dear, and refuses one that is too large.
_TOGETHER = 64


def only(sources: Sequence[Source], trust_domain: TrustDomain) -> list[Fields]:
    """The principals that allow: certificates with a URI that some of *sources* means and without any other."""
    names = sorted({str(source.identity) for source in sources if isinstance(source.identity, SpiffeId)})
    jobs = sorted({source.identity for source in sources if isinstance(source.identity, Ranks)})
    prefixes = sorted({source_prefix(source, trust_domain) for source in sources if source.identity is None})
    parts = [tuple(names[at : at + _TOGETHER]) for at in range(0, len(names), _TOGETHER)]
    found = [_alone([{"exact": name} for name in part], other_than(part)) for part in parts]
    found += [_alone([matching(ranks.pattern)], other_than_ranks(ranks.prefix)) for ranks in jobs]
    return found + [_alone([matching(re.escape(p) + _PATH)], other_than_below(p)) for p in prefixes]


def among(source: Source, trust_domain: TrustDomain) -> Fields:
    """The principal that denies: a certificate with any URI that *source* means, whatever stands beside it."""
    if isinstance(source.identity, Ranks):
        return _authenticated(matching(source.identity.pattern))
    if source.identity is not None:
        return named(str(source.identity))
    return _authenticated({"prefix": source_prefix(source, trust_domain)})


def named(spiffe_id: str) -> Fields:
    """Whoever shows that SPIFFE ID, among others too."""
    return _authenticated({"exact": spiffe_id})


@lru_cache(maxsize=4096)
def other_than(names: tuple[str, ...]) -> str:
    """What matches each URI that is none of *names*, which are sorted. A URI is what has a colon.

    RE2 has no `not`: letter by letter, another one than any of theirs here and then whatever, or the same and another
    one later. The end is a letter too.
    """
    return f"(?s){_another(names, 0, longer='.')}.*"


@lru_cache(maxsize=4096)
def other_than_below(prefix: str) -> str:
    """What matches each URI that does not go on from *prefix* as a SPIFFE ID does."""
    return f"(?s)(?:{_another((prefix,), 0, longer='')}.*|{re.escape(prefix)}{_NO_PATH})"


@lru_cache(maxsize=4096)
def other_than_ranks(prefix: str) -> str:
    """What matches each URI that does not go on from *prefix* as a rank does."""
    return f"(?s)(?:{_another((prefix,), 0, longer='')}.*|{re.escape(prefix)}{_NO_RANK})"


def matching(regex: str) -> Fields:
    """A string matcher for whole values."""
    return {"safe_regex": {"google_re2": {}, "regex": regex}}


def _another(names: Sequence[str], at: int, *, longer: str) -> str:
    """From the letter *at*, up to which *names* are one: up to where all of them differ. *longer* is what follows one.

    Empty where nothing does. Within the scheme, what follows must still make it a URI.
    """
    ends = len(names[0]) == at
    here: list[str] = []
    known = ""
    for char, some in groupby(names[1:] if ends else names, key=lambda name: name[at]):
        known += re.escape(char)
        if deeper := _another(list(some), at + 1, longer=longer):
            here.append(re.escape(char) + deeper)
    if not known:
        return longer
    if at > _COLON:
        here += [f"[^{known}]"] if ends else [f"[^{known}]", "$"]
    else:
        here += ["[^:]+:"] if at == _COLON else [f"[^{known}:][^:]*:", ":"]
    return f"(?:{'|'.join(here)})"


def _alone(meant: list[Fields], other: str) -> Fields:
    some = [_authenticated(one) for one in meant]
    either = some[0] if len(some) == 1 else {"or_ids": {"ids": some}}
    return {"and_ids": {"ids": [either, {"not_id": _authenticated(matching(other))}]}}


def _authenticated(principal_name: Fields) -> Fields:
    return {"authenticated": {"principal_name": principal_name}}
