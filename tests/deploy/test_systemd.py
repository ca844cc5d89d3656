"""The systemd units: systemd itself reads them without a complaint, and they start commands that exist."""

from __future__ import annotations

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from click.testing import CliRunner

from ringfence.broker.cli.main import cli
from tests import parts

UNITS = sorted((Path(__file__).parents[2] / "deploy" / "systemd").glob("*.service"))


def command_of(unit: Path) -> list[str]:
    """The words of ExecStart."""
    parser = ConfigParser(strict=False, interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]  # systemd's names have a case
    parser.read(unit)
    return parser["Service"]["ExecStart"].split()


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_a_unit_starts_a_command_that_exists(unit: Path) -> None:
    """With a sample configuration of the same name."""
    program, *arguments = command_of(unit)
    config = Path(arguments[arguments.index("--config") + 1])
    sample = unit.parents[1] / "config" / config.name

    assert Path(program).is_absolute()
    assert sample.is_file()
    words = [str(sample) if word == str(config) else word for word in arguments]
    assert CliRunner().invoke(cli, [*words, "--help"]).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.stem)
def test_systemd_accepts_the_unit(unit: Path, tmp_path: Path) -> None:
    """No unknown setting, no missing section; the program stands in for one that is not installed here."""
    verify = parts.program("systemd-analyze", "systemd")
    copy = tmp_path / unit.name
    copy.write_text(unit.read_text().replace(command_of(unit)[0], sys.executable))
    done = subprocess.run([verify, "verify", "--man=no", str(copy)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
