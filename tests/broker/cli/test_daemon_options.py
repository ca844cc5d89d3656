"""`--feature NAME`: what is off unless it is asked for, by flag, environment or file; a wrong name is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.broker.cli import agent, server
from ringfence.broker.cli.main import cli
from ringfence.broker.features import FEATURES

NEEDED = {
    "server": ["--trust-domain", "t", "--data-dir", "d", "--listen", "l"],
    "agent": ["--server", "s", "--trust-domain", "t", "--data-dir", "d", "--socket", "s"],
}
COMMANDS = {"server": server.run, "agent": agent.run}
VARIABLES = {"server": "RINGFENCE_FEATURES", "agent": "RINGFENCE_AGENT_FEATURES"}
BOTH = pytest.mark.parametrize("daemon", ["server", "agent"])


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command of either daemon was told, once it is called."""
    found: dict[str, Any] = {}
    for command in COMMANDS.values():
        monkeypatch.setattr(command, "callback", lambda **options: found.update(options))
    return found


@BOTH
def test_nothing_is_on_unless_asked_for(daemon: str, told: dict[str, Any]) -> None:
    """A part whose standard may change is no default."""
    assert CliRunner().invoke(cli, [daemon, "run", *NEEDED[daemon]]).exit_code == 0
    assert told["features"] == ()


@BOTH
def test_a_feature_comes_by_flag_environment_or_file(daemon: str, told: dict[str, Any], tmp_path: Path) -> None:
    """`--feature`, names between spaces, and `features = [...]` as well as `feature = [...]`."""
    words = [daemon, "run", *NEEDED[daemon]]
    assert CliRunner().invoke(cli, [*words, "--feature", "wit-svid"]).exit_code == 0
    assert told.pop("features") == ("wit-svid",)
    assert CliRunner().invoke(cli, words, env={VARIABLES[daemon]: "wit-svid wit-svid"}).exit_code == 0
    assert set(told.pop("features")) == {"wit-svid"}
    for name in ("features", "feature"):
        (tmp_path / "c.toml").write_text(f'{name} = ["wit-svid"]\n')
        assert CliRunner().invoke(cli, [*words, "--config", str(tmp_path / "c.toml")]).exit_code == 0
        assert told.pop("features") == ("wit-svid",)


@BOTH
def test_a_feature_that_is_none_is_refused_with_the_list(daemon: str, told: dict[str, Any], tmp_path: Path) -> None:
    """From the command line and from a file; and the server does not take what only the agent has."""
    words = [daemon, "run", *NEEDED[daemon]]
    (tmp_path / "c.toml").write_text('features = ["wit"]\n')
    for more in (["--feature", "wit"], ["--config", str(tmp_path / "c.toml")]):
        result = CliRunner().invoke(cli, [*words, *more])
        assert result.exit_code == 2
        assert "wit-svid" in result.output
    taken = CliRunner().invoke(cli, [*words, "--feature", "broker-api"]).exit_code
    assert taken == (0 if daemon == "agent" else 2)
    assert bool(told) == (daemon == "agent")


def test_version_names_the_revision_that_each_feature_follows() -> None:
    """SPIFFE's STABILITY.md asks implementers of incubating parts to record it."""
    result = CliRunner().invoke(cli, ["version", "-o", "json"])
    features = json.loads(result.output)["features"]
    assert features == {name: feature.follows for name, feature in FEATURES.items()}
    assert all("665a28f" in follows for follows in features.values())
