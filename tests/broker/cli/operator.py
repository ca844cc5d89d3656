"""The command line as an operator types it, against a server in this process."""

from __future__ import annotations

import asyncio
import json
import re
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner

from ringfence.broker.cli.failure import exit_code, explain_failure
from ringfence.broker.cli.main import cli

_LOGGED = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d \[")


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its standard output, parsed, without what the server and the agent of this process log meanwhile."""
        return json.loads("".join(line for line in self.out.splitlines(keepends=True) if not _LOGGED.match(line)))


async def ringfence(*arguments: str | Path, **environment: str) -> Done:
    """`ringfence ARGUMENTS`, in a thread of its own, as `main` would end it."""

    def run() -> Done:
        called = [str(argument) for argument in arguments]
        result = CliRunner(env=environment).invoke(cli, called, standalone_mode=False)
        error = result.exception
        if isinstance(error, click.ClickException):
            shown = StringIO()
            error.show(shown)
            return Done(error.exit_code, result.stdout, result.stderr + shown.getvalue())
        if isinstance(error, Exception):
            return Done(exit_code(error), result.stdout, result.stderr + explain_failure(error))
        code = result.return_value if isinstance(result.return_value, int) else result.exit_code
        return Done(code, result.stdout, result.stderr)

    return await asyncio.to_thread(run)
