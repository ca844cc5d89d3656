"""Request paths: how they are made canonical, and the patterns that rules write for them.

One regular expression per pattern, in the syntax that RE2 and Python share, so that Envoy and the evaluator
judge by the same text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError

_SEGMENT = re.compile(r"[A-Za-z0-9._~!$&'()+,;=:@-]+")


@dataclass(frozen=True, slots=True, order=True)
class PathPattern:
    """`/a/b` exactly, `*` for one whole segment, and a last `**` for anything below, the folder itself included."""

    text: str

    def __post_init__(self) -> None:
        segments = self.text.split("/")[1:]
        wild = [i for i, s in enumerate(segments) if s == "**"]
        plain = all(s in {"*", "**"} or (_SEGMENT.fullmatch(s) and s not in {".", ".."}) for s in segments)
        if not self.text.startswith("/") or (self.text != "/" and not plain) or wild not in ([], [len(segments) - 1]):
            raise RingfenceError(
                Kind.INVALID,
                f"{self.text!r} is no path pattern",
                hint="Write /segment/segment, * for one segment, and ** only as the last one",
            )

    @property
    def regex(self) -> str:
        """What the whole `:path`, query included, must match."""
        path = self.text
        tail = r"(\?.*)?"
        if path.endswith("/**"):
            path = path.removesuffix("/**")
            tail = r"(/[^?]*)?" + tail
        parts = [r"[^/?]+" if s == "*" else re.escape(s) for s in path.split("/")]
        return "/".join(parts) + tail

    def matches(self, path: str) -> bool:
        """Whether a canonical path (query allowed) matches."""
        return re.fullmatch(self.regex, path, flags=re.DOTALL) is not None
