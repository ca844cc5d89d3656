"""The JSON Schema of the documents, judged by documents that are known to be right or wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from ringfence.policy.load import load_documents
from ringfence.policy.schema import json_schema
from tests.policy.intent import FABRIC, GRANT, HUB, MESH, PULL, REGISTRY, TRAINER, joined

EXAMPLES = sorted((Path(__file__).parents[2] / "examples" / "laptop" / "intent").glob("*.yaml"))
SCHEMA = json_schema()
QUOTED = GRANT.replace("2027-01-31T00:00:00Z", '"2027-01-31T00:00:00Z"')  # for readers that know of times
_TYPES = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool}


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether *value* satisfies the keywords that our schema uses; an unknown keyword fails the test."""
    judged = {
        "$ref": lambda ref: fits(value, SCHEMA["$defs"][ref.rpartition("/")[2]]),
        "oneOf": lambda arms: sum(fits(value, arm) for arm in arms) == 1,
        "anyOf": lambda arms: any(fits(value, arm) for arm in arms),
        "const": lambda const: value == const and type(value) is type(const),
        "enum": lambda choices: value in choices,
        "type": lambda name: isinstance(value, _TYPES[name]) and (name == "boolean" or not isinstance(value, bool)),
        "pattern": lambda pattern: not isinstance(value, str) or re.search(pattern, value) is not None,
        "minLength": lambda least: not isinstance(value, str) or len(value) >= least,
        "maxLength": lambda most: not isinstance(value, str) or len(value) <= most,
        "minItems": lambda least: not isinstance(value, list) or len(value) >= least,
        "maxItems": lambda most: not isinstance(value, list) or len(value) <= most,
        "minProperties": lambda least: not isinstance(value, dict) or len(value) >= least,
        "maxProperties": lambda most: not isinstance(value, dict) or len(value) <= most,
        "minimum": lambda least: not isinstance(value, int) or value >= least,
        "maximum": lambda most: not isinstance(value, int) or value <= most,
        "required": lambda names: not isinstance(value, dict) or set(names) <= set(value),
        "items": lambda item: not isinstance(value, list) or all(fits(one, item) for one in value),
        "properties": lambda known: (
            not isinstance(value, dict) or all(fits(value[name], one) for name, one in known.items() if name in value)
        ),
        "additionalProperties": lambda rest: (
            not isinstance(value, dict)
            or all(
                rest is not False and fits(one, rest)
                for name, one in value.items()
                if name not in schema.get("properties", {})
            )
        ),
    }
    notes = {"$schema", "$defs", "title", "description", "default", "discriminator", "format"}
    return all(judged[word](rule) for word, rule in schema.items() if word not in notes)


def documents(text: str) -> list[Any]:
    """The documents in *text* as plain values."""
    return [document for document in YAML(typ="safe", pure=True).load_all(text) if document]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_fit(path: Path):
    """Every document that we show satisfies the schema that we publish."""
    for document in documents(path.read_text()):
        assert fits(document, SCHEMA)


def test_the_examples_mean_something():
    """The intent of the laptop loads without a finding."""
    loaded = load_documents([(str(path), path.read_bytes()) for path in EXAMPLES])
    assert loaded.findings == ()
    assert loaded.model is not None
    assert len(loaded.model.rules) == 7


@pytest.mark.parametrize("text", [MESH, TRAINER, REGISTRY, HUB, PULL, FABRIC, QUOTED])
def test_what_loads_fits(text: str):
    """Each kind has its branch."""
    assert all(fits(document, SCHEMA) for document in documents(joined(text)))


@pytest.mark.parametrize(
    ("text", "old", "new"),
    [
        (PULL, "kind: Allow", "kind: Alow"),
        (PULL, "owner: ml", "ownr: ml"),
        (PULL, "reason: base model", "note: x"),
        (PULL, "methods: [GET, HEAD]", "methods: []"),
        (PULL, "methods: [GET, HEAD]", "methods: [get]"),
        (PULL, "methods: [GET, HEAD]", "methods: null"),
        (PULL, "/models/team-a/**", "models"),
        (REGISTRY, "port: 8080", "port: 0"),
        (REGISTRY, "protocol: http", "protocol: smtp"),
        (REGISTRY, "name: registry", "name: Registry"),
        (TRAINER, "unix.uid: 1001", "unix.uid: []"),
        (HUB, "host: hub.example", "host: '*'"),
        (MESH, "example.test", "EXAMPLE"),
        (FABRIC, "kind: infiniband", "kind: wifi"),
        (FABRIC, "enforcedBy: pkey", "enforcedBy: hope"),
        (FABRIC, "0x0012", "'0x8012'"),
        (FABRIC, "ib*", "*"),
        (FABRIC, "50000-51000", "70000"),
        (QUOTED, "job: llm-7b", "job: .."),
        (QUOTED, "  reason: pre-training\n", ""),
    ],
)
def test_what_does_not_load_does_not_fit(text: str, old: str, new: str):
    """An editor that uses the schema marks what the loader would refuse."""
    assert old in text
    assert not all(fits(document, SCHEMA) for document in documents(joined(text.replace(old, new))))
