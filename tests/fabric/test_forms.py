"""Each form reads back as the mapping that it was made of."""

from __future__ import annotations

import json
import string
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from ringfence.fabric.environment import Environment, compile_environment
from ringfence.fabric.forms import FORMS
from tests.fabric.nodes import KINDS

GOLDEN = Path(__file__).parent / "golden"
PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))
NAMES = st.builds(
    str.__add__, st.sampled_from(["NCCL_", "UCX_", "OMPI_MCA_"]), st.text(string.ascii_letters + "_", max_size=12)
)
ENVIRONMENTS = st.builds(
    Environment,
    st.just("team-a/fab"),
    st.dictionaries(NAMES, st.text(PRINTABLE, min_size=1, max_size=40), max_size=8),
    st.lists(st.text(PRINTABLE, max_size=40), max_size=3).map(tuple),
)


@pytest.mark.parametrize(
    ("form", "file"),
    [("nccl.conf", "nccl.conf"), ("shell", "sh"), ("slurm", "slurm"), ("json", "json"), ("kubernetes", "yaml")],
)
def test_each_form_is_as_it_is_written_down(form: str, file: str) -> None:
    """EFA's network has a space in its name, which every form writes its own way."""
    one, node, bootstrap = KINDS["efa"]

    made = compile_environment(one, node, magic="0x0123456789abcdef", bootstrap=bootstrap)

    assert FORMS[form](made) == (GOLDEN / f"efa.{file}").read_text()


@settings(max_examples=60, deadline=None)
@given(ENVIRONMENTS)
def test_a_real_shell_reads_back_the_same(made: Environment) -> None:
    """Quotes, dollars, backquotes and backslashes of a value are characters of it, and nothing that a shell does."""
    script = FORMS["shell"](made) + "exec /usr/bin/env -0\n"

    done = subprocess.run(["/bin/sh", "-s"], input=script.encode(), env={}, capture_output=True, check=True)

    read = dict(entry.split("=", 1) for entry in done.stdout.decode().split("\0") if entry)
    assert {name: read.get(name) for name in made.variables} == dict(made.variables)
    assert not done.stderr


def test_every_value_is_in_quotes() -> None:
    """`export A==fab0` is right in sh and an error in zsh, where many type it."""
    made = Environment("team-a/fab", {"NCCL_SOCKET_IFNAME": "=fab0", "A": "it's"})
    assert FORMS["shell"](made) == "export NCCL_SOCKET_IFNAME='=fab0'\nexport A='it'\\''s'\n"


@given(ENVIRONMENTS)
def test_slurm_reads_back_the_same(made: Environment) -> None:
    """Of a TaskProlog it takes `export NAME=` and all behind it, and passes over what begins otherwise."""
    lines = [line for line in FORMS["slurm"](made).splitlines() if line.startswith("export ")]

    assert dict(line.removeprefix("export ").split("=", 1) for line in lines) == dict(made.variables)


@given(ENVIRONMENTS)
def test_nccl_reads_back_its_own(made: Environment) -> None:
    """Its reader passes over lines without `=`, and takes all behind the first one (nccl `param.cc`, setEnvFile)."""
    read = dict(line.split("=", 1) for line in FORMS["nccl.conf"](made).splitlines() if "=" in line)

    assert read == {name: value for name, value in made.variables.items() if name.startswith("NCCL_")}


@given(ENVIRONMENTS)
def test_docker_reads_back_the_same(made: Environment) -> None:
    """An `--env-file` is taken as it is: no quotes, no escapes."""
    lines = [line for line in FORMS["env"](made).splitlines() if not line.startswith("#")]

    assert dict(line.split("=", 1) for line in lines) == dict(made.variables)


@given(ENVIRONMENTS)
def test_json_reads_back_the_same(made: Environment) -> None:
    """Variables and notes both."""
    read = json.loads(FORMS["json"](made))

    assert read["variables"] == dict(made.variables)
    assert read["notes"] == list(made.notes)


@settings(deadline=None)
@given(ENVIRONMENTS)
def test_kubernetes_reads_back_the_same(made: Environment) -> None:
    """YAML's reading, then the kubelet's, to which `$$` is `$` and `$(NAME)` another variable."""
    read = YAML(typ="safe").load(FORMS["kubernetes"](made)) or []

    assert {one["name"]: one["value"].replace("$$", "$") for one in read} == dict(made.variables)
    assert not any("$(" in one["value"].replace("$$", "") for one in read)
