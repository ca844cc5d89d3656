"""Callers as gRPC's RBAC can mean them: one URI SAN and no other, although it asks whether *any* of them matches.

gRPC looks at URI SANs, then DNS SANs, then the subject, and takes the first that matches. A principal that allows
therefore demands two things of a certificate: a URI that the rule means, and none that it does not mean. The second
is a regular expression for everything else that is a URI; no DNS name and no subject is one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from ringfence.certs.spiffe_id import TrustDomain
from ringfence.policy.model import Source
from ringfence.policy.scope import source_prefix

Fields = dict[str, Any]

_COLON = len("spiffe:") - 1
_ANY = r"(?s:.*)"
_MORE = r"(?s:.+)"
_PATH = r"[a-zA-Z0-9._-]+(?:/[a-zA-Z0-9._-]+)*"  # SPIFFE-ID.md section 2.2
_NO_PATH = rf"(?:{_ANY}[^a-zA-Z0-9._/-]{_ANY}|/{_ANY}|{_ANY}//{_ANY}|{_ANY}/)?"  # any other string


def only(source: Source, trust_domain: TrustDomain) -> Fields:
    """The principal that allows: a certificate with a URI that *source* means and without any other."""
    if source.identity is not None:
        meant, literal, tail = {"exact": str(source.identity)}, str(source.identity), _MORE
    else:
        literal, tail = source_prefix(source, trust_domain), _NO_PATH
        meant = matching(re.escape(literal) + _PATH)
    other = _authenticated(matching(any_other(literal, tail)))
    return {"and_ids": {"ids": [_authenticated(meant), {"not_id": other}]}}


def among(source: Source, trust_domain: TrustDomain) -> Fields:
    """The principal that denies: a certificate with any URI that *source* means, whatever stands beside it."""
    if source.identity is not None:
        return named(str(source.identity))
    return _authenticated({"prefix": source_prefix(source, trust_domain)})


def named(spiffe_id: str) -> Fields:
    """Whoever shows that SPIFFE ID, among others too."""
    return _authenticated({"exact": spiffe_id})


@lru_cache(maxsize=4096)
def any_other(literal: str, tail: str) -> str:
    """What matches each URI that is not *literal* followed by what *tail* does not match; in RE2, which has no `not`.

    Letter by letter: another one here, or the same and then another one later. A URI is what has a colon.
    """
    later = tail
    for index in reversed(range(len(literal))):
        char = re.escape(literal[index])
        if index > _COLON:
            # A string that ends here is another URI too.
            later = f"(?:[^{char}]{_ANY}|{char}{later})?"
        elif index == _COLON:
            later = f"(?:[^:]+:{_ANY}|:{later})"
        else:
            later = f"(?:[^{char}:][^:]*:{_ANY}|:{_ANY}|{char}{later})"
    return later


def matching(regex: str) -> Fields:
    """A string matcher for whole values."""
    return {"safe_regex": {"google_re2": {}, "regex": regex}}


def _authenticated(principal_name: Fields) -> Fields:
    return {"authenticated": {"principal_name": principal_name}}
