"""A clock that is not right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Skewed:
    """The system's, moved by `by`."""

    def __init__(self, by: timedelta = timedelta()) -> None:
        self.by = by

    def __call__(self) -> datetime:
        """What it shows."""
        return datetime.now(UTC) + self.by
