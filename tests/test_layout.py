"""The house keeps its shape: namespace roots stay open, tests are packages, every module says what it is for."""

from __future__ import annotations

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
ROOMS = ("certs", "policy", "fabric", "xds", "proto", "broker")


def _tracked(*patterns: str) -> list[Path]:
    done = subprocess.run(["git", "ls-files", *patterns], cwd=ROOT, capture_output=True, text=True, check=True)
    return [ROOT / line for line in done.stdout.splitlines() if (ROOT / line).exists()]


def test_a_root_holds_a_portion_of_the_namespace_and_no_package_of_its_own() -> None:
    """One stray `__init__.py` in a root or in ROOT/ringfence would hide every other room."""
    assert not [
        f
        for room in ROOMS
        for f in (ROOT / room / "__init__.py", ROOT / room / "ringfence" / "__init__.py")
        if f.exists()
    ]


def test_every_folder_of_tests_is_a_package() -> None:
    """Without it pytest imports tests/xds as top-level `xds`, and two files of one name clash."""
    folders = {path.parent for path in _tracked("tests/**/*.py", "tests/*.py")}

    assert not [
        str(folder) for folder in folders if not (folder / "__init__.py").exists() and "tools" not in folder.parts
    ]


def test_every_module_opens_with_what_it_is_for() -> None:
    """A stranger reads one sentence and knows whether this is the file."""
    silent = [
        path.relative_to(ROOT)
        for room in (*ROOMS, "perf")
        for path in _tracked(f"{room}/**/*.py", f"{room}/*.py")
        if not path.name.endswith("_pb2.py") and "/versions/" not in str(path) and path.stat().st_size
        if ast.get_docstring(ast.parse(path.read_text())) is None
    ]

    assert not silent


def test_the_repository_names_no_registry_and_no_machine() -> None:
    """Lock files hold hashes, never addresses; nothing depends on where a checkout lies."""
    hosts = [
        "pypi" + ".org",
        "pythonhosted" + ".org",
        "registry." + "npmjs",
        "proxy." + "golang",
        "deb." + "debian.org",
        "/work" + "/main",
    ]
    found = subprocess.run(
        ["git", "grep", "-nIF", *[arg for host in hosts for arg in ("-e", host)]],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert not found.stdout


def test_patterns_are_held_against_whole_values() -> None:
    """`match` with `$` takes a newline at the end: our code uses `fullmatch`, or `search` for a part."""
    loose = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ROOMS
        for path in _tracked(f"{room}/**/*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr == "match" and isinstance(node.ctx, ast.Load)
        if isinstance(node.value, ast.Name) and (node.value.id == "re" or node.value.id.strip("_").isupper())
    ]

    assert not loose
