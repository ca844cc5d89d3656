"""The book of rules of a server that nothing was ever applied to."""

from __future__ import annotations

from ringfence.broker.evidence.book import RuleFacts


class NoRules:
    """It knows no rule."""

    revision = ""

    def lookup(self, rule_id: str, rule_hash: str) -> RuleFacts | None:  # noqa: ARG002  # the Protocol's signature
        """Nothing was ever applied."""
        return None
