"""What rules and routes may ask of a request header, and how a repeated header is read.

A proxy's rules see the lines of one name joined by commas, and cannot tell `a,b` in one line from `a` and `b` in two
(RFC 9110 section 5.3 says that they mean the same). Both readings are therefore taken, each for the safer side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# What a rule may not ask for: each has several spellings, a syntax of its own, or is the connection's or the proxy's.
NOT_FOR_RULES = frozenset(
    {
        *("host", "cookie", "connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade"),
        *("x-forwarded-client-cert",),
    }
)
VALUE = re.compile(r"[!-+\--~](?:[ -+\--~]*[!-+\--~])?")  # visible ASCII, blanks within, no comma
_ANY = r"(?s:.*)"

Headers = tuple[tuple[str, str], ...]  # lines of a request: lower-case name, and value without blanks around it


@dataclass(frozen=True, slots=True)
class HeaderMatch:
    """A header by its lower-case name: exactly *exact*, starting with *prefix*, or (both None) there at all."""

    name: str
    exact: str | None = None
    prefix: str | None = None

    def __str__(self) -> str:
        if self.exact is None and self.prefix is None:
            return f"the header {self.name}"
        return f"the one header {self.name}: {self.exact if self.exact is not None else f'{self.prefix}...'}"

    @property
    def regex_of_only(self) -> str:
        """What the joined lines match when the one value is asked for: beside another, an application may take that.

        In the syntax that RE2 and Python share.
        """
        if self.exact is not None:
            return re.escape(self.exact)
        return f"{re.escape(self.prefix)}[^,]*" if self.prefix is not None else _ANY

    @property
    def regex_of_any(self) -> str:
        """What the joined lines match when any of several values is asked for."""
        if self.exact is not None:
            return rf"(?:{_ANY},)?[ \t]*{re.escape(self.exact)}[ \t]*(?:,{_ANY})?"
        return rf"(?:{_ANY},)?[ \t]*{re.escape(self.prefix)}{_ANY}" if self.prefix is not None else _ANY

    def holds(self, lines: Headers, *, only: bool) -> bool:
        """Whether a request with these header lines has it: as the only value (for an Allow), or among others."""
        values = [value for name, value in lines if name == self.name]
        regex = self.regex_of_only if only else self.regex_of_any
        return bool(values) and re.fullmatch(regex, ",".join(values)) is not None
