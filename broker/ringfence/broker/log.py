"""Structured logs: one JSON object a line on stderr, UTC times, facts as fields."""

from __future__ import annotations

import logging
import sys
from typing import Any

# structlog's coloured console, which we never use, would import rich: 50 ms of every start.
_modules: dict[str, Any] = sys.modules
_modules.setdefault("rich", None)

import structlog  # noqa: E402  # after the lines above

if _modules["rich"] is None:
    del _modules["rich"]

_LEVELS = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}


def configure(level: str = "info") -> None:
    """Set up the process's logs once, at its start; *level* is debug, info, warning or error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.EventRenamer("msg"),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Libraries log through the standard module: the same stream, warnings and worse only.
    form = '{"level":"%(levelname)s","msg":"%(message)s"}'
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format=form)


log: structlog.typing.FilteringBoundLogger = structlog.get_logger()
