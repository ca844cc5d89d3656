"""`--config FILE`: one file for any command, every option in it by its own name, nothing in it ignored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from ringfence.broker.cli import server as server_command
from ringfence.broker.cli.config_file import add_config
from ringfence.broker.cli.main import NOUNS, cli
from ringfence.certs.errors import Kind, RingfenceError

SAMPLES = Path(__file__).parents[3] / "deploy" / "config"


def given(monkeypatch: pytest.MonkeyPatch, path: Path, *arguments: str, **environment: str) -> dict[str, Any]:
    """What `server run` is told."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(server_command.run, "callback", lambda **options: found.update(options))
    result = CliRunner().invoke(
        cli, ["server", "run", "--config", str(path), *arguments], env=environment, standalone_mode=False
    )
    if result.exception is not None:
        raise result.exception
    return found


def refusal(path: Path, *command: str) -> RingfenceError:
    """What keeps *command* from reading the file."""
    result = CliRunner().invoke(cli, [*command, "--config", str(path)], standalone_mode=False)
    assert isinstance(result.exception, RingfenceError), result.exception
    assert result.exception.kind is Kind.INVALID
    return result.exception


def leaves(command: click.Command, path: tuple[str, ...]) -> list[tuple[tuple[str, ...], click.Command]]:
    """Every command that does something, by its words."""
    if not isinstance(command, click.Group):
        return [(path, command)]
    return [found for name, each in command.commands.items() for found in leaves(each, (*path, name))]


@pytest.mark.parametrize("noun", sorted(NOUNS))
def test_every_command_reads_a_file_and_the_environment(noun: str) -> None:
    """No option is for flags only: each command has --config, and each option a variable."""
    command = cli.get_command(click.Context(cli), noun)
    assert command is not None
    for path, leaf in leaves(command, (noun,)):
        context = click.Context(leaf, info_name=path[-1], auto_envvar_prefix="_".join(("RINGFENCE", *path)).upper())
        assert [parameter.name for parameter in leaf.params].count("config") == 1, path
        for parameter in leaf.params:
            if isinstance(parameter, click.Option):
                assert parameter.envvar or (context.auto_envvar_prefix and parameter.allow_from_autoenv), path


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearer a setting is to the command, the more it counts."""
    path = tmp_path / "c.toml"
    path.write_text('trust_domain = "file"\ndata-dir = "file"\nlisten = "file"\nca_ttl = 60\n')
    found = given(monkeypatch, path, "--listen", "flag", RINGFENCE_LISTEN="env", RINGFENCE_DATA_DIR="env")
    assert (found["listen"], str(found["data_dir"]), found["trust_domain"], found["ca_ttl"]) == (
        "flag",
        "env",
        "file",
        60,
    )


def test_one_file_serves_several_commands_by_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """[noun] for what its commands share, [noun.verb] for one; the narrower wins."""
    path = tmp_path / "c.toml"
    path.write_text(
        '[server]\ntrust_domain = "wide"\ndata_dir = "d"\nlisten = "l"\n[server.run]\ntrust_domain = "narrow"\n'
        '[agent]\nsocket = "a.sock"\n[entry.create]\nselector = ["unix:uid:1"]\n'
    )
    assert given(monkeypatch, path)["trust_domain"] == "narrow"


@pytest.mark.parametrize(
    ("text", "line", "hint"),
    [
        ('trust_domain = "x"\nlistne = "y"\n', 2, "Did you mean 'listen'?"),
        ('[server]\n[server.run]\ntrust_doman = "x"\n', 3, "Did you mean 'trust_domain'?"),
        ('[serve]\nlisten = "x"\n', 1, "Known: "),
        ("hold = 3\n", 1, "[server.run]"),
    ],
)
def test_an_unknown_setting_is_named_with_its_line(tmp_path: Path, text: str, line: int, hint: str) -> None:
    """A misspelt setting that did nothing would be found out much later."""
    path = tmp_path / "c.toml"
    path.write_text(text)
    error = refusal(path, "server", "run")
    assert error.where == f"{path}:{line}"
    assert hint in error.hint


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    """Absent, no TOML, no text."""
    assert "No such file" in refusal(tmp_path / "absent", "entry", "list").detail
    for content in (b"= x", b"\xff"):
        (tmp_path / "c.toml").write_bytes(content)
        assert "no TOML" in refusal(tmp_path / "c.toml", "entry", "list").detail


@pytest.mark.parametrize("daemon", ["server", "agent"])
def test_the_sample_configurations_are_taken(daemon: str) -> None:
    """What deploy/config ships names options that exist."""
    result = CliRunner().invoke(cli, [daemon, "run", "--config", str(SAMPLES / f"{daemon}.toml"), "--help"])
    assert result.exit_code == 0, result.output


def test_a_command_gets_the_option_once() -> None:
    """Commands are kept between look-ups in one process."""
    command = add_config(add_config(click.Command("x")))
    assert [parameter.name for parameter in command.params] == ["config"]


ACCESS = """\
[access]
network = true
[[access.grant]]
role = "editor"
namespaces = ["team-a"]
spiffe_id = "spiffe://example.org/ns/team-a/sa/deployer"
"""


def test_the_table_access_is_a_setting_of_the_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a table of its file, or as a file of its own; a command of the noun `access` is not troubled by it."""
    path = tmp_path / "server.toml"
    path.write_text(f'trust_domain = "x.org"\ndata_dir = "/data"\nlisten = "127.0.0.1:1"\n{ACCESS}')
    (tmp_path / "access.toml").write_text(ACCESS)
    inside = given(monkeypatch, path)["access"]
    assert inside["grant"][0]["role"] == "editor"
    assert given(monkeypatch, path, "--access", str(tmp_path / "access.toml"))["access"] == inside
    (tmp_path / "none.toml").write_text("x = 1")
    with pytest.raises(RingfenceError, match="no table"):
        given(monkeypatch, path, "--access", str(tmp_path / "none.toml"))
    path.write_text(f'data_dir = "{tmp_path}"\n[server.run]\ntrust_domain = "x.org"\nlisten = "127.0.0.1:1"\n{ACCESS}')
    assert given(monkeypatch, path)["access"] == inside
    result = CliRunner().invoke(cli, ["access", "whoami", "--config", str(path)], standalone_mode=False)
    assert "no server listens here" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "expected"),
    [('x509pop-ca = "a.pem"', ("a.pem",)), ('x509pop-ca = ["a.pem", "b.pem"]', ("a.pem", "b.pem"))],
)
def test_an_option_that_may_be_given_again_is_a_list_or_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    """One value needs no brackets, and is not taken letter by letter."""
    path = tmp_path / "ringfence.toml"
    path.write_text(f'trust-domain = "a.test"\ndata-dir = "d"\nlisten = "127.0.0.1:1"\n{text}\n')
    assert tuple(map(str, given(monkeypatch, path)["x509pop_ca"])) == expected


def test_help_names_the_variables_that_nobody_could_guess() -> None:
    """Those of a name of their own; the others follow from noun, verb and option."""
    shown = " ".join(CliRunner().invoke(cli, ["svid", "fetch", "x509", "--help"]).output.split())
    assert "[env var: RINGFENCE_SOCKET, SPIFFE_ENDPOINT_SOCKET; required]" in shown
    assert "RINGFENCE_SVID_FETCH" not in shown
