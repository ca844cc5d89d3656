"""The options by which the commands of fabrics are told where the intent is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click


def with_documents(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add `--dir`, as *folder*, and `--trust-domain`, as *trust_domain*."""
    trust_domain = click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
    folder = click.option(
        "--dir",
        "folder",
        required=True,
        type=click.Path(exists=True, path_type=Path),
        metavar="DIR",
        help="The intent documents.",
    )
    return folder(trust_domain(command))
