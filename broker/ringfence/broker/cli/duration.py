"""Durations on the command line: `90s`, `10m`, `1h`, `7d`, or plain seconds."""

from __future__ import annotations

import re

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "": 1}
_DURATION = re.compile(r"(\d{1,9})([smhd]?)")


def seconds(text: str) -> int | None:
    """The seconds that *text* spells; None for what is no duration."""
    match = _DURATION.fullmatch(text)
    return int(match[1]) * _UNITS[match[2]] if match else None


class Duration(click.ParamType[int]):
    """Whole seconds, as an int."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds that *value* spells; fails as click's own types do."""
        if isinstance(value, int):
            return value
        found = seconds(str(value))
        if found is None:
            self.fail(f"{value!r} is no duration; write 90s, 10m or 1h", param, ctx)
        return found


DURATION = Duration()
