"""Where gRPC may differ from the evaluator: each by its name in docs/grpc.md, with what makes a case one of it.

A difference that none of these explains is a fault. Each but `several-names` is a wider denial.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from ringfence.policy.callers import RevokedCaller, Source
from ringfence.policy.identities import Ranks
from ringfence.policy.model import Effect, Rule
from ringfence.policy.scope import source_prefix
from ringfence.xds.proxyless.requests import PLAIN_PATH, unsayable
from tests.differential.cases import CERTIFICATES, DOMAIN, Asked


@dataclass(frozen=True)
class Case:
    """A request and what it was judged by."""

    asked: Asked
    rules: Sequence[Rule]
    revoked: Mapping[str, RevokedCaller]

    @property
    def uris(self) -> tuple[str, ...]:
        """What the certificate says."""
        return CERTIFICATES[self.asked.certificate]


def _of_a_revoked_serial(case: Case) -> bool:
    return any(not one.whole for name, one in case.revoked.items() if name in case.uris)


def _of_a_header_that_is_no_text(case: Case) -> bool:
    return not all(value.isascii() for _, value in case.asked.headers)


def _of_a_path_that_is_not_plain(case: Case) -> bool:
    return re.fullmatch(PLAIN_PATH, case.asked.path) is None


def _of_another_method(case: Case) -> bool:
    return case.asked.method != "POST"


def _of_an_unsayable_condition(case: Case) -> bool:
    return any(unsayable(rule) for rule in case.rules)


def _of_several_names(case: Case) -> bool:
    """All of them meant by one Allow, which would let either in alone."""
    allows = [rule for rule in case.rules if rule.effect is Effect.ALLOW]
    return len(case.uris) > 1 and any(all(_means(rule, uri) for uri in case.uris) for rule in allows)


def _means(rule: Rule, uri: str) -> bool:
    return any(_is_of(source, uri) for source in rule.sources)


def _is_of(source: Source, uri: str) -> bool:
    if isinstance(source.identity, Ranks):
        return re.fullmatch(source.identity.pattern, uri) is not None
    return uri == str(source.identity) if source.identity is not None else uri.startswith(source_prefix(source, DOMAIN))


DENIES_MORE: Mapping[str, Callable[[Case], bool]] = {
    "revoked-serial": _of_a_revoked_serial,
    "not-plain-path": _of_a_path_that_is_not_plain,
    "other-method": _of_another_method,
    "no-text": _of_a_header_that_is_no_text,
    "unsayable-condition": _of_an_unsayable_condition,
}
ALLOWS_MORE: Mapping[str, Callable[[Case], bool]] = {"several-names": _of_several_names}


def explained(case: Case, *, grpc: bool, evaluator: bool) -> bool:
    """Whether the two verdicts are the same, or differ as is listed."""
    if grpc == evaluator:
        return True
    return any(holds(case) for holds in (ALLOWS_MORE if grpc else DENIES_MORE).values())
