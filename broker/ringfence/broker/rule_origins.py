"""Where every rule that ever was in force was written, and by whom, so that a decision of long ago is explained."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ringfence.broker.evidence.book import RuleFacts
from ringfence.broker.store.intent import Apply, RuleOrigin
from ringfence.policy.model import Model, Rule


class Origins:
    """By the id of a rule and the hash of its meaning, as far as the store was read."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, str], RuleOrigin] = {}

    def learn(self, origins: Iterable[RuleOrigin]) -> None:
        """Take in what was recorded."""
        self._known |= {(origin.rule, origin.hash): origin for origin in origins}

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:
        """Where the rule with that meaning was written; None for one that was never applied here."""
        origin = self._known.get((rule_id, rule_hash))
        if origin is None:
            return None
        return RuleFacts(
            path=origin.path,
            line=origin.line,
            revision=origin.revision,
            author=origin.author,
            commit=origin.commit,
            owner=origin.owner,
            reason=origin.reason,
        )

    def moved(self, model: Model, apply: Apply, *, before: Model | None) -> list[RuleOrigin]:
        """The origins that are new or changed with *model*; a meaning in force *before* keeps who brought it."""
        stay = {(rule.id, rule.hash) for rule in before.rules} if before is not None else set()
        moved = []
        for rule in model.rules:
            known = self._known.get((rule.id, rule.hash))
            origin = _origin(rule, apply)
            if known is not None and (rule.id, rule.hash) in stay:
                origin = replace(origin, revision=known.revision, author=known.author, commit=known.commit)
            if origin != known:
                moved.append(origin)
        return moved


def _origin(rule: Rule, apply: Apply) -> RuleOrigin:
    return RuleOrigin(
        rule=rule.id,
        hash=rule.hash,
        path=rule.origin.path,
        line=rule.origin.line,
        revision=apply.revision,
        author=apply.author,
        commit=apply.commit,
        effect=rule.effect.value,
        owner=rule.owner,
        reason=rule.reason,
    )
