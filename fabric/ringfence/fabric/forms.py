"""An environment as text: lines for `--env-file`, nccl.conf, a shell, Slurm, JSON, a container of Kubernetes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace

from ringfence.fabric.environment import Environment


def env_file(made: Environment) -> str:
    """`NAME=VALUE` lines as docker and podman read them: nothing is quoted, `#` begins a remark."""
    return _lines(made, "{}={}", made.variables)


def nccl_conf(made: Environment) -> str:
    """NCCL's own file: its variables alone. It is a default (NCCL sets what is not set) and enforces nothing.

    Its reader knows no remarks, it passes over lines without `=` (`param.cc`, setEnvFile).
    """
    own = {name: value for name, value in made.variables.items() if name.startswith("NCCL_")}
    told = tuple(note.replace("=", ":") for note in made.notes)
    return _lines(replace(made, notes=told), "{}={}", own)


def shell(made: Environment) -> str:
    """`export` commands of POSIX sh, each value one word whatever is in it.

    All are in quotes, also those that sh would not need them for: zsh takes a bare `=fab0` for the path of a command.
    """
    return _lines(made, "export {}={}", {name: _quoted(value) for name, value in made.variables.items()})


def slurm(made: Environment) -> str:
    """What Slurm reads from a TaskProlog: `export NAME=VALUE` to the end of the line, quotes being a part of it.

    Other lines it passes over (slurm.conf(5), TaskProlog).
    """
    return _lines(made, "export {}={}", made.variables)


def as_json(made: Environment) -> str:
    """One object: the fabric, the variables, the notes."""
    body = {
        "apiVersion": "ringfence.dev/v1alpha1",
        "kind": "FabricEnvironment",
        "fabric": made.fabric,
        "variables": dict(made.variables),
        "notes": list(made.notes),
    }
    return f"{json.dumps(body, indent=2)}\n"


def kubernetes(made: Environment) -> str:
    """The list `env` of a container. `$$` is its way to write `$`, or `$(NAME)` would mean another variable."""
    return _lines(
        made,
        "- name: {}\n  value: {}",
        {name: json.dumps(value.replace("$", "$$")) for name, value in made.variables.items()},
    )


FORMS: Mapping[str, Callable[[Environment], str]] = {
    "env": env_file,
    "nccl.conf": nccl_conf,
    "shell": shell,
    "slurm": slurm,
    "json": as_json,
    "kubernetes": kubernetes,
}


def _quoted(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


def _lines(made: Environment, form: str, variables: Mapping[str, str]) -> str:
    told = [f"# {note}" for note in made.notes]
    return "".join(f"{line}\n" for line in [*told, *(form.format(*item) for item in variables.items())])
