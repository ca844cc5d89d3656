"""The command itself: what it costs to ask for help, and what a wrong word gets."""

from __future__ import annotations

import subprocess
import sys

import pytest
from click.testing import CliRunner

from ringfence.broker.cli.main import NOUNS, cli, main

# Any of these would take `--help` and shell completion past their 150 ms.
HEAVY = (
    "grpc", "cryptography", "sqlalchemy", "alembic", "pydantic", "ruamel.yaml", "structlog", "uvloop", "hpack",
    "asyncio", "google.protobuf", "opentelemetry", "prometheus_client", "rich", "ringfence.policy", "ringfence.xds",
)  # fmt: skip


@pytest.mark.e2e
@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["nonsense"]])
def test_help_imports_no_noun_and_nothing_heavy(arguments: list[str]) -> None:
    """Not a timing, which would differ by machine: the list of modules that are there at the end."""
    code = (
        "import sys\nfrom ringfence.broker.cli.main import NOUNS, main\n"
        f"sys.argv = ['ringfence', *{arguments}]\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stderr.split("\n"))
    assert "ringfence.broker.cli.main" in loaded
    assert not loaded & set(HEAVY)
    assert not loaded & {f"ringfence.broker.cli.{module}" for module, _ in NOUNS.values()}


def test_help_names_every_noun() -> None:
    """With a line each."""
    out = CliRunner().invoke(cli, ["--help"]).output
    for noun, (_, text) in NOUNS.items():
        assert noun in out
        assert text in out


@pytest.mark.parametrize(
    ("words", "meant"),
    [(["enrty"], "'entry'"), (["entry", "creat"], "'create'"), (["entry", "create", "--selectr"], "'--selector'")],
)
def test_a_misspelt_word_is_bad_usage_with_the_nearest_one(words: list[str], meant: str) -> None:
    """Exit code 2 and a proposal, at every level."""
    result = CliRunner().invoke(cli, words)
    assert result.exit_code == 2
    assert f"Did you mean {meant}" in result.output


def test_an_unforeseen_error_ends_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """No traceback, exit code 1, and how to see more."""
    monkeypatch.setattr(cli, "main", lambda **_: 1 / 0)
    monkeypatch.delenv("RINGFENCE_DEBUG", raising=False)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 1
    err = capsys.readouterr().err
    assert "ZeroDivisionError" in err
    assert "RINGFENCE_DEBUG=1" in err
    assert "Traceback" not in err
