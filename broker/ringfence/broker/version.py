"""The version of this program, read once."""

from __future__ import annotations

from importlib.metadata import version

VERSION = version("ringfence")
