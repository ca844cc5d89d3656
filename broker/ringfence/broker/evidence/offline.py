"""A check without a server: the documents in a folder, loaded and asked."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.evidence.join import joined
from ringfence.broker.evidence.judge import ModelBook, Question, judge
from ringfence.broker.evidence.nearest import advise
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.policy.load import load_documents


def check_documents(
    texts: Sequence[tuple[str, str | bytes]], question: Question, *, trust_domain: str | None, now: datetime
) -> admin_pb2.Decision:
    """What *texts*, pairs of path and text, decide on *question*; raises INVALID with every error that they hold."""
    loaded = load_documents(texts, default_trust_domain=trust_domain, now=now)
    if loaded.model is None:
        errors = [str(finding) for finding in loaded.findings if finding.level == "error"]
        raise RingfenceError(
            Kind.INVALID,
            "the intent has errors:\n  " + "\n  ".join(errors),
            hint="`ringfence policy validate` shows all",
        )
    record = judge(loaded.model, question, now)
    decision = joined(record, ModelBook(loaded.model))
    decision.attributes.update(advise(loaded.model, record, now))
    return decision
