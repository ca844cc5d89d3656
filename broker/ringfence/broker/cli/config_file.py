"""`--config FILE`, for every command: a TOML file that stands in for flags and environment that were not given.

data_dir = "/var/lib/ringfence/server"   # an option of the command that reads the file
[server]                                 # options of the commands under a noun
[entry.create]                           # options of one command
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click

from ringfence.certs.errors import Kind, RingfenceError

# Tables that are a setting of the server, and no place for options of the noun of that name.
_OF_THE_SERVER = frozenset({"access"})


def add_config(command: click.Command) -> click.Command:
    """Give *command*, and every command under it that does something, the option `--config`."""
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            found = command.get_command(click.Context(command), name)
            assert found is not None  # noqa: S101  # it was listed
            add_config(found)
        if not command.invoke_without_command:
            return command
    if not any(parameter.name == "config" for parameter in command.params):
        command.params.insert(0, _option())
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.envvar:
            parameter.show_envvar = True  # a variable with a name of its own can be guessed by nobody
    return command


def _option() -> click.Option:
    return click.Option(
        ["--config"],
        type=click.Path(path_type=Path, readable=False),
        envvar="RINGFENCE_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_read,
        help="TOML file with options (its name without the dashes in front); flags and environment win over it.",
    )


def _read(context: click.Context, _: click.Parameter, path: Path | None) -> Path | None:
    if path is None:
        return None
    import tomllib

    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RingfenceError(
            Kind.INVALID,
            f"cannot be read: {error.strerror}",
            where=str(path),
            hint="Check --config and RINGFENCE_CONFIG",
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RingfenceError(
            Kind.INVALID, f"no TOML: {error}", where=str(path), hint="Write NAME = VALUE, texts in quotes"
        ) from error
    # click's own order does the rest: flag, environment, default_map, default.
    context.default_map = {**(context.default_map or {}), **_settings(context, found, path)}
    return path


def _settings(context: click.Context, found: dict[str, Any], path: Path) -> dict[str, Any]:
    """What *found* says of the command in *context*: the file's own level first, then the tables of its names."""
    from ringfence.broker.cli.main import NOUNS

    chain = _chain(context)
    if chain and chain[0].info_name in _OF_THE_SERVER:
        found = {name: value for name, value in found.items() if name != chain[0].info_name}
    own = _options(context.command)
    several = {parameter.name for parameter in context.command.params if getattr(parameter, "multiple", False)}
    settings: dict[str, Any] = {}
    level, known, tables = found, set(own), frozenset(NOUNS)
    for place, each in enumerate([None, *chain]):
        if each is not None:
            table = level.get(each.info_name or "", {})
            if not isinstance(table, dict):
                break
            level, tables = table, _names(each.command)
            known = {name for leaf in _leaves(each.command) for name in _options(leaf)}
        _refuse_unknown(level, known, tables, path, ".".join(str(c.info_name) for c in chain[:place]))
        settings |= {
            own[_spelled(name)]: [value] if own[_spelled(name)] in several and isinstance(value, str) else value
            for name, value in level.items()
            if _spelled(name) in own and not _is_table_of_noun(name, value, tables)
        }
    return settings


def _is_table_of_noun(name: str, value: object, tables: frozenset[str]) -> bool:
    """Whether it is options of a noun, `[server.run]`, and no value of an option of that name, `--server`."""
    return isinstance(value, dict) and name in tables and name not in _OF_THE_SERVER


def _refuse_unknown(level: dict[str, Any], known: set[str], tables: frozenset[str], path: Path, table: str) -> None:
    for name, value in level.items():
        if _spelled(name) in known or (isinstance(value, dict) and name in tables):
            continue
        inside = f" in [{table}]" if table else ""
        raise RingfenceError(
            Kind.INVALID,
            f"unknown setting {name!r}{inside}",
            where=f"{path}:{_line(path, name)}",
            hint=_hint(name, known, top=not table),
        )


def _hint(name: str, known: set[str], *, top: bool) -> str:
    from difflib import get_close_matches

    if close := get_close_matches(_spelled(name), known, n=1):
        return f"Did you mean {close[0]!r}?"
    other = "; those of other commands go into a table such as [server.run]" if top else ""
    return f"Known: {', '.join(sorted(known))}{other}"


def _spelled(name: str) -> str:
    return name.replace("-", "_")


def _line(path: Path, name: str) -> int:
    # tomllib keeps no places; the first line that begins with the name is where a reader looks.
    lines = path.read_text(encoding="utf-8").splitlines()
    return next((n for n, line in enumerate(lines, 1) if line.strip().lstrip("[\"'").startswith(name)), 1)


def _chain(context: click.Context) -> list[click.Context]:
    """The contexts from the noun down to the command; the program itself left out."""
    found = [context]
    while (parent := found[0].parent) is not None:
        found.insert(0, parent)
    return found[1:] if len(found) > 1 else []


def _leaves(command: click.Command) -> Iterator[click.Command]:
    if isinstance(command, click.Group):
        for each in command.commands.values():
            yield from _leaves(each)
    yield command


def _names(command: click.Command) -> frozenset[str]:
    return frozenset(command.commands) if isinstance(command, click.Group) else frozenset()


def _options(command: click.Command) -> dict[str, str]:
    """How the file spells the options of *command*, and click's own name of each; a list also goes by its plural."""
    return {
        flag.removeprefix("--").replace("-", "_"): parameter.name
        for parameter in command.params
        if parameter.name and parameter.name != "config"
        for flag in (*parameter.opts, *([parameter.name] if parameter.multiple else ()))
        if flag.startswith("--") or not flag.startswith("-")
    }
