"""A reader of Envoy's matcher trees for tests: what xds.type.matcher.v3 says they mean, nothing more."""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import ip_address, ip_network
from typing import Any

from ringfence.xds import codec

_SERIAL = "envoy.extensions.matching.common_inputs.network.v3.FilterStateInput"
_ADDRESS = "envoy.extensions.matching.common_inputs.network.v3.DirectSourceIPInput"
_NAME = "envoy.extensions.matching.common_inputs.network.v3.ServerNameInput"
_URI_SAN = "envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"


def verdict(
    tree: Any,
    uri_sans: str,
    headers: Mapping[str, str] | None = None,
    serial: str = "",
    address: str = "127.0.0.1",
    server_name: str = "",
) -> tuple[str, bool] | None:
    """The action's (name, allowed) that *tree* ends in; None where it ends in none, which RBAC denies."""
    asked = {_URI_SAN: uri_sans, _SERIAL: serial, _ADDRESS: address, _NAME: server_name, **(headers or {})}
    found = _matcher(tree, asked)
    if found is None:
        return None
    action = _typed(found.typed_config)
    return action.name, action.action == 0


def chain(tree: Any, server_name: str) -> str | None:
    """The filter chain that a listener's *tree* gives a connection that asks for that name."""
    found = _matcher(tree, {_NAME: server_name})
    return None if found is None else str(_typed(found.typed_config).value)


def _matcher(matcher: Any, asked: Mapping[str, str]) -> Any:
    found = None
    if matcher.HasField("matcher_list"):
        for field in matcher.matcher_list.matchers:
            if _holds(field.predicate, asked) and (found := _on_match(field.on_match, asked)) is not None:
                break
    elif matcher.HasField("matcher_tree"):
        tree = matcher.matcher_tree
        value = _input(tree.input, asked) or ""
        if tree.HasField("exact_match_map"):
            keys = [value] if value in tree.exact_match_map.map else []
            mapped = tree.exact_match_map.map
        else:
            mapped = tree.prefix_match_map.map
            keys = sorted((key for key in mapped if value.startswith(key)), key=len, reverse=True)
        for key in keys:
            if (found := _on_match(mapped[key], asked)) is not None:
                break
    if found is None and matcher.HasField("on_no_match"):
        found = _on_match(matcher.on_no_match, asked)
    return found


def _on_match(on_match: Any, asked: Mapping[str, str]) -> Any:
    return on_match.action if on_match.HasField("action") else _matcher(on_match.matcher, asked)


def _holds(predicate: Any, asked: Mapping[str, str]) -> bool:
    kind = predicate.WhichOneof("match_type")
    if kind == "single_predicate":
        single = predicate.single_predicate
        value, wanted = _input(single.input, asked), single.value_match
        if value is None:
            return False  # a header that is not there
        if single.HasField("custom_match"):
            ranges = _typed(single.custom_match.typed_config).cidr_ranges
            return any(ip_address(value) in ip_network(f"{r.address_prefix}/{r.prefix_len.value}") for r in ranges)
        if wanted.HasField("safe_regex"):
            return re.fullmatch(wanted.safe_regex.regex, value, flags=re.DOTALL) is not None
        return bool(value == wanted.exact)
    parts = [_holds(part, asked) for part in getattr(predicate, kind).predicate]
    assert len(parts) >= 2, "Envoy refuses a list of one"
    return any(parts) if kind == "or_matcher" else all(parts)


def _input(given: Any, asked: Mapping[str, str]) -> str | None:
    read = _typed(given.typed_config)
    kind = read.DESCRIPTOR.full_name
    return asked[kind] if kind in asked else asked.get(read.header_name)


def _typed(packed: Any) -> Any:
    return codec.message(packed.type_url.rpartition("/")[2]).FromString(packed.value)
