"""The reference of the documents: every document that it shows is one that loads."""

import re
from pathlib import Path

from ringfence.policy.load import load_documents
from tests.policy.intent import TRAINER, joined

PAGE = Path(__file__).parents[2] / "docs" / "intent.md"


def test_what_the_reference_shows_is_intent(ca_pem: str):
    """All its documents together, and the one they refer to, make a model without a finding."""
    shown = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL) if "spec: {}" not in block
    ]
    texts = [
        (f"{number}.yaml", block) for number, block in enumerate([*shown, joined(TRAINER.replace("1001", "1002"))])
    ]
    loaded = load_documents([*texts, ("hub-ca.pem", ca_pem)])
    assert [str(found) for found in loaded.findings] == []
    assert loaded.model is not None
    assert len(shown) == 8
