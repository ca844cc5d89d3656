"""Makes a request path canonical as Envoy does before any rule sees it.

The options set on every listener, in Envoy's order: UNESCAPE_AND_FORWARD, normalize_path (the URL path rules of
Chromium's canonicaliser, which Envoy embeds), merge_slashes; a path with a fragment is refused.
"""

from __future__ import annotations

import re

_ESCAPED_SLASH = re.compile(r"%(?:2[fF]|5[cC])")
_DOTS_WITH_PARAMETERS = re.compile(r"(?<=/)(\.\.?);[^/]*")  # `..;x` climbs in Tomcat, so Envoy lets it climb too
_ESCAPE = re.compile(r"%(?:([0-9a-fA-F]{2})|)")
_STRAY = "\0"  # stands for a % that begins no escape; no path holds a NUL
_NEW_ESCAPE = re.compile(r"\0(?=[0-9a-fA-F]{2})")  # it would begin one now that what follows is unescaped
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_KEPT = _UNRESERVED | frozenset("!$%&'()*+,/:;=@[]" + _STRAY)  # anything else is written as %XX
AMBIGUOUS = r"[^?]*/\.\.?(;|%3[bB]).*"  # what the guard of a proxy refuses, in the syntax that RE2 and Python share


def canonical_path(path: str) -> str | None:
    """The path, query kept as it is, that rules are matched against; None where Envoy answers 400 by itself."""
    if not path.startswith("/") or "#" in path or "\0" in path:
        return None
    plain, question, query = path.partition("?")
    plain = _ESCAPED_SLASH.sub(lambda m: "/" if m[0] in {"%2F", "%2f"} else "\\", plain)
    plain = _DOTS_WITH_PARAMETERS.sub(r"\1", plain)
    if "%00" in plain:
        return None
    plain = _ESCAPE.sub(_unescape, plain.replace("\\", "/"))
    plain = "".join(c if c in _KEPT else _percent(c) for c in plain)
    plain = _NEW_ESCAPE.sub("%25", plain).replace(_STRAY, "%")
    return _merge_slashes(_resolve_dots(plain)) + question + query


def is_ambiguous(path: str) -> bool:
    """Whether a canonical path has a dot segment with parameters, `/..;x`.

    Envoy forwards it as it is; a server that drops parameters (Tomcat does) would climb out of what a rule means.
    """
    return re.fullmatch(AMBIGUOUS, path, flags=re.DOTALL) is not None


def _merge_slashes(path: str) -> str:
    """One slash for each run of them; of nothing but slashes Envoy leaves two."""
    if "//" not in path:
        return path
    return "/" + "/".join(filter(None, path.split("/"))) + ("/" if path.endswith("/") else "")


def _unescape(escape: re.Match[str]) -> str:
    if escape[1] is None:
        return _STRAY
    char = chr(int(escape[1], 16))
    return char if char in _UNRESERVED else escape[0]


def _percent(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogateescape"))


def _resolve_dots(path: str) -> str:
    """Removes `.` and `..` segments; an empty segment counts as one, so `/a//../b` is `/a/b`."""
    kept: list[str] = []
    segments = path.split("/")[1:]
    for index, segment in enumerate(segments):
        last = index == len(segments) - 1
        if segment == "..":
            kept = kept[:-1]
        if segment not in {".", ".."}:
            kept.append(segment)
        elif last:
            kept.append("")  # a trailing dot segment leaves its folder's slash
    return "/" + "/".join(kept)
