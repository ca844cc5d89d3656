"""Times as commands print them and as they are told them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

import click

from ringfence.broker.cli.duration import seconds

_RFC3339 = re.compile(r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d([Zz]|[+-]\d\d:\d\d)")


def rfc3339(seconds: int) -> str:
    """Unix *seconds* as RFC 3339 in UTC, `2026-11-24T12:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(text: str) -> int | None:
    """The Unix seconds that RFC 3339 *text* names, 0 for `never`; None for what is neither."""
    if text == "never":
        return 0
    if not _RFC3339.fullmatch(text):
        return None
    try:
        return int(datetime.fromisoformat(text.upper()).timestamp())
    except ValueError:
        return None


class Moment(click.ParamType[int]):
    """Unix seconds, as an int: of a time, of a duration from now, or 0 for never."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The seconds that *value* spells; fails as click's own types do."""
        if isinstance(value, int):
            return value
        found = moment(str(value))
        if found is not None:
            return found
        wait = seconds(str(value))
        if wait is None:
            self.fail(f"{value!r} is no time; write 2026-12-24T12:00:00Z, never, or from now 90s, 10m, 8h", param, ctx)
        return int(time.time()) + wait


MOMENT = Moment()
