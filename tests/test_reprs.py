"""Values that hold a secret do not show it where they are printed: in a log, an error or a debugger's dump."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
ROOMS = ("certs", "policy", "fabric", "xds", "proto", "broker")
NAMES = {"key", "token", "secret", "passphrase", "password", "pin", "bearer", "evidence", "private", "signature"}
KINDS = {"str", "bytes", "EllipticCurvePrivateKey", "RSAPrivateKey", "PrivateKey"}
# Fields of such a name that hold none, and what they are.
HARMLESS = {
    "keys/choice.py:token": "a token's label (PKCS#11)",
    "svidfiles/wanted.py:key": "a file's name",
    "certs/profile.py:signature": "of a CSR, which anyone may read",
    "policy/model.py:key": "NAMESPACE/NAME",
    "policy/scope.py:key": "NAMESPACE/NAME",
    "policy/load.py:key": "NAMESPACE/NAME",
    "fleet/endpoints.py:key": "NAMESPACE/NAME",
    "store/endpoints.py:key": "NAMESPACE/NAME",
    "store/changes.py:key": "the name of what changed",
    "fabrics/said.py:key": "NAMESPACE/JOB",
}


def _fields(tree: ast.AST) -> Iterator[tuple[ast.ClassDef, ast.AnnAssign]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and not any(getattr(one, "name", "") == "__repr__" for one in node.body):
            yield from ((node, one) for one in node.body if isinstance(one, ast.AnnAssign))


def _name(field: ast.AnnAssign) -> str:
    return ast.unparse(field.target)


def _may_be_secret(field: ast.AnnAssign) -> bool:
    parts = set(_name(field).strip("_").split("_"))
    words = {getattr(node, "id", getattr(node, "attr", "")) for node in ast.walk(field.annotation)}
    return bool(parts & NAMES) and "id" not in parts and bool(words & KINDS)


def _shows(owner: ast.ClassDef, field: ast.AnnAssign) -> bool:
    """Whether it is a field of a dataclass or a model that its repr prints."""
    made = {ast.unparse(one).partition("(")[0] for one in owner.decorator_list}
    models = {ast.unparse(base) for base in owner.bases}
    hidden = field.value is not None and "repr=False" in ast.unparse(field.value)
    return bool(made & {"dataclass"} or models & {"BaseModel", "pydantic.BaseModel", "NamedTuple"}) and not hidden


def shown(source: str) -> list[str]:
    """The fields of *source* that may hold a secret and are printed."""
    fields = _fields(ast.parse(source))
    return [_name(field) for owner, field in fields if _may_be_secret(field) and _shows(owner, field)]


def test_no_value_shows_its_secret() -> None:
    """A field that is named like one has `repr=False`, or its class a repr of its own."""
    found = {
        f"{path.parent.name}/{path.name}:{name}"
        for room in ROOMS
        for path in (ROOT / room / "ringfence").rglob("*.py")
        for name in shown(path.read_text(encoding="utf-8"))
    }
    assert found == set(HARMLESS)


def test_the_search_finds_what_would_show() -> None:
    """It tells fields that are printed from those that are not."""
    text = "@dataclass(frozen=True)\nclass A:\n    {}\n"
    assert shown(text.format("join_token: str = ''")) == ["join_token"]
    assert shown(text.format("key: ec.EllipticCurvePrivateKey")) == ["key"]
    assert shown(text.format("token: bytes = field(repr=False)")) == []
    assert shown(text.format("key: PublicKey")) == []
    assert shown(text.format("pin: str\n    def __repr__(self): ...")) == []
