"""The option `--access`: the table `[access]` of the configuration file, or a file of its own that has one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ringfence.certs.errors import Kind, RingfenceError


class AccessTable(click.ParamType[dict[str, Any] | None]):
    """A table as TOML has it; what it says is checked by the server."""

    name = "FILE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The table itself, or that of the file named; raises INVALID."""
        del param, ctx
        return value if isinstance(value, dict) else _read(Path(value))


def _read(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8")).get("access")
    except OSError as error:
        raise RingfenceError(Kind.INVALID, f"cannot be read: {error.strerror}", where=str(path)) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RingfenceError(Kind.INVALID, f"no TOML: {error}", where=str(path)) from error
    if not isinstance(found, dict):
        raise RingfenceError(Kind.INVALID, "it has no table [access]", where=str(path), hint="See docs/access.md")
    return found


ACCESS = AccessTable()
