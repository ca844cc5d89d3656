"""The entries of a SPIRE server, from what `spire-server entry show -output json` prints.

What cannot be said in Ringfence is a note that names the entry and its line; nothing is left out without one.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.cli.entry_text import Written
from ringfence.broker.cli.located_items import Item, read_items
from ringfence.broker.entry import ANY_NODE, SERVER_PATH
from ringfence.broker.entry_message import entry_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.selectors import NODE_KINDS, Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain

LEFT_OUT, CHANGED, ALIAS = "left out", "changed", "alias"
_SERVER_PATH = "/spire/server"  # the parent of node entries
# Read here, or given anew by our server.
_KNOWN = {
    *("id", "entry_id", "spiffe_id", "parent_id", "selectors", "ttl", "x509_svid_ttl", "jwt_svid_ttl"),
    *("federates_with", "hint", "admin", "downstream", "expires_at", "dns_names", "store_svid", "created_at"),
    *("revision_number", "additional_attributes"),
}


@dataclass(frozen=True, slots=True)
class Note:
    """What became of one entry beside being imported as it is."""

    where: str
    spiffe_id: str
    level: str  # left out | changed | alias
    message: str


@dataclass(frozen=True, slots=True)
class Parents:
    """Which node takes the place of a SPIRE agent or alias; `others` of every one that is not named, or empty."""

    named: Mapping[str, str] = field(default_factory=dict)
    others: str = ""
    aliases: frozenset[str] = frozenset()  # node aliases that are imported too

    def of(self, parent: str, trust_domain: TrustDomain) -> str:
        """Our parent for that one; raises INVALID when nobody said."""
        if parent == f"{trust_domain.id}{ANY_NODE}":
            return parent
        found = self.named.get(parent, parent if parent in self.aliases else self.others)
        if not found:
            raise RingfenceError(Kind.INVALID, f"its parent {parent} is no node here")
        return found


@dataclass(frozen=True, slots=True)
class Dump:
    """What can be imported, and what is to be said about the rest."""

    written: tuple[Written, ...]
    notes: tuple[Note, ...]

    @property
    def left_out(self) -> int:
        """How many entries were."""
        return sum(note.level == LEFT_OUT for note in self.notes)


def read_dump(text: str, path: str, trust_domain: TrustDomain, parents: Parents) -> Dump:
    """The entries of a dump; raises INVALID when it is none."""
    written: list[Written] = []
    notes: list[Note] = []
    keys: dict[str, Written] = {}
    items = read_items(text, path, within=("entries",))
    aliases = {_id(item.value, "spiffe_id") for item in items if _names_nodes_here(item.value)}
    parents = replace(parents, aliases=frozenset(aliases - parents.named.keys()))
    for item in items:
        where = f"{path}:{item.line}"
        name = _id(item.value, "spiffe_id") if isinstance(item.value, dict) else ""
        try:
            notes += [Note(where, name, level, message) for level, message in _remarks(item, trust_domain)]
            if _is_alias(item.value) and not (name in parents.aliases and _names_nodes_here(item.value)):
                selectors = ", ".join(_selectors(item.value))
                message = f"it names nodes ({selectors}), no workload: its children take the parent given for it"
                notes.append(Note(where, name, ALIAS, message))
                continue
            _keep(Written(_entry(item.value, trust_domain, parents), where), keys, trust_domain)
        except RingfenceError as error:
            notes.append(Note(where, name, LEFT_OUT, error.detail))
        except _Twice as twice:
            notes.append(Note(where, name, CHANGED, f"the same as {twice} now that both have the same parent"))
    written.extend(keys.values())
    return Dump(tuple(written), tuple(notes))


class _Twice(Exception):  # noqa: N818 - no failure: both entries live on in one
    """The same registration was read before."""


def _keep(each: Written, keys: dict[str, Written], trust_domain: TrustDomain) -> None:
    entry = entry_of(each.entry, trust_domain)
    if entry.has_ended(time.time()):
        raise RingfenceError(Kind.INVALID, "it has ended")
    known = keys.setdefault(entry.key, each)
    if known is each:
        return
    if known.entry != each.entry:
        raise RingfenceError(
            Kind.INVALID, f"with its new parent it registers the same as {known.where}, with other TTLs or names"
        )
    raise _Twice(known.where)


def _remarks(item: Item, trust_domain: TrustDomain) -> Iterator[tuple[str, str]]:
    """Everything about an entry that will not be as it was; raises INVALID for what is not understood."""
    value = item.value
    if not isinstance(value, dict):
        raise RingfenceError(Kind.INVALID, "this is no entry of SPIRE")
    unknown = sorted(key for key, content in value.items() if key not in _KNOWN and content)
    if unknown:
        raise RingfenceError(Kind.INVALID, f"its field {unknown[0]} is not known here")
    attributes = dict(value.get("additional_attributes") or {})
    attributes.pop("jwt_svid_include_jti", None)
    if attributes.pop("disable_x509_svid_prefetch", False):
        yield CHANGED, "disable_x509_svid_prefetch is not kept: agents fetch an SVID when it is asked for"
    if left := sorted(key for key, content in attributes.items() if content):
        raise RingfenceError(Kind.INVALID, f"its attribute {left[0]} is not known here")
    if value.get("store_svid"):
        yield CHANGED, "store_svid is kept, and no store is written yet"
    if SpiffeId.parse(_id(value, "spiffe_id")).trust_domain != trust_domain:
        raise RingfenceError(Kind.INVALID, f"it is not of the trust domain {trust_domain}")


def _is_alias(value: Any) -> bool:
    """Whether an entry names nodes: a child of the server, or what `token generate -spiffeID` makes of a join token."""
    if not isinstance(value, dict):
        return False
    of_server = SpiffeId.parse(_id(value, "parent_id")).path == _SERVER_PATH
    return of_server or any(each.startswith("spiffe_id:") for each in _selectors(value))


def _names_nodes_here(value: Any) -> bool:
    """Whether an entry is an alias of nodes by what Ringfence too can prove of a node."""
    if not isinstance(value, dict) or not isinstance(value.get("selectors"), list):
        return False
    try:
        if SpiffeId.parse(_id(value, "parent_id")).path != _SERVER_PATH:
            return False
        return {Selector.parse(each).kind for each in _selectors(value)} <= NODE_KINDS
    except RingfenceError:
        return False


def _entry(value: Mapping[str, Any], trust_domain: TrustDomain, parents: Parents) -> pb.Entry:
    attributes = value.get("additional_attributes") or {}
    return pb.Entry(
        spiffe_id=_id(value, "spiffe_id"),
        parent_id=_parent(value, trust_domain, parents),
        selectors=sorted(_selectors(value)),
        x509_ttl=_number(value, "x509_svid_ttl") or _number(value, "ttl"),
        jwt_ttl=_number(value, "jwt_svid_ttl"),
        federates_with=sorted(name.removeprefix("spiffe://") for name in _texts(value, "federates_with")),
        hint=_text(value, "hint"),
        admin=_flag(value, "admin"),
        downstream=_flag(value, "downstream"),
        expires_at=_number(value, "expires_at"),
        dns_names=_texts(value, "dns_names"),
        store_svid=_flag(value, "store_svid"),
        jwt_jti=_flag(attributes, "jwt_svid_include_jti"),
    )


def _parent(value: Mapping[str, Any], trust_domain: TrustDomain, parents: Parents) -> str:
    if _id(value, "spiffe_id") in parents.aliases and _names_nodes_here(value):
        return f"{trust_domain.id}{SERVER_PATH}"
    return parents.of(_id(value, "parent_id"), trust_domain)


def _id(value: Mapping[str, Any], name: str) -> str:
    """A SPIFFE ID as text; SPIRE writes trust domain and path apart."""
    found = value.get(name)
    if isinstance(found, dict):
        return f"spiffe://{found.get('trust_domain', '')}{found.get('path', '')}"
    return found if isinstance(found, str) else ""


def _selectors(value: Mapping[str, Any]) -> Iterator[str]:
    found = value.get("selectors") or []
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _wrong("selectors")
    for each in found:
        yield f"{each.get('type', '')}:{each.get('value', '')}"


def _number(value: Mapping[str, Any], name: str) -> int:
    """A number; 64-bit ones are texts in JSON of protocol buffers."""
    found = value.get(name) or 0
    try:
        return int(found) if not isinstance(found, bool | float) else 1 // 0
    except (TypeError, ValueError, ArithmeticError):
        raise _wrong(name) from None


def _flag(value: Mapping[str, Any], name: str) -> bool:
    found = value.get(name) or False
    if not isinstance(found, bool):
        raise _wrong(name)
    return found


def _text(value: Mapping[str, Any], name: str) -> str:
    found = value.get(name) or ""
    if not isinstance(found, str):
        raise _wrong(name)
    return found


def _texts(value: Mapping[str, Any], name: str) -> list[str]:
    found = value.get(name) or []
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise _wrong(name)
    return found


def _wrong(name: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"its field {name} has the wrong form")
