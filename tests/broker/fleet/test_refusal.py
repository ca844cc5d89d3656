"""Refusals in the words of the document."""

from __future__ import annotations

from ringfence.broker.fleet.refusal import in_words
from ringfence.broker.fleet.scope import Scopes
from ringfence.xds.subscription import Nack
from ringfence.xds.types import LISTENER
from tests.broker.fleet.world import NOW, model

NOW_MODEL = model()
SCOPE = Scopes(NOW_MODEL, NOW).of("shared/registry")


def nack(detail: str, *names: str) -> Nack:
    """A refused listener response."""
    return Nack(LISTENER, "v", frozenset(names), detail)


def test_a_rule_that_the_proxy_quotes_is_named_by_its_line() -> None:
    """The operator opens the file at that line."""
    rule = NOW_MODEL.rules[0]
    text = in_words(nack(f"bad policy\n  {rule.policy_id}", "a", "b"), SCOPE)

    assert text == f"intent.yaml:{rule.origin.line}: the proxy refuses Listener a, b: bad policy {rule.policy_id}"


def test_else_the_one_resource_that_was_refused_leads_to_its_document() -> None:
    """An own port leads to the workload."""
    origin = NOW_MODEL.workloads["shared/registry"].origin

    assert in_words(nack("address in use", "inbound/http"), SCOPE).startswith(f"{origin}: ")


def test_no_line_is_guessed() -> None:
    """Several resources and no name in the text: the proxy's words stand alone, as for a workload that left."""
    assert in_words(nack("odd", "inbound/a", "b"), SCOPE) == "the proxy refuses Listener b, inbound/a: odd"
    assert in_words(nack("odd", "inbound/http"), None) == "the proxy refuses Listener inbound/http: odd"
