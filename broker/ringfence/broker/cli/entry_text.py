"""Entries as a file says them: YAML or JSON, what `entry list -o json` prints included."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.cli.duration import seconds
from ringfence.broker.cli.located_items import Item, read_items
from ringfence.broker.cli.times import moment
from ringfence.broker.entry import API_ORIGIN
from ringfence.broker.entry_message import entry_of
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import TrustDomain

_TEXT = {"spiffeId": "spiffe_id", "parentId": "parent_id", "hint": "hint"}
_LISTS = {"selectors": "selectors", "dnsNames": "dns_names", "federatesWith": "federates_with"}
_LIVES = {"x509Ttl": "x509_ttl", "jwtTtl": "jwt_ttl"}
_FLAGS = {"admin": "admin", "downstream": "downstream", "storeSvid": "store_svid", "jwtJti": "jwt_jti"}
_SERVERS_OWN = {"id", "createdAt", "revision", "origin", "action"}  # printed by lists, and given by the server
_NAMES = _TEXT | _LISTS | _LIVES | _FLAGS | {"expiresAt": "expires_at"}


@dataclass(frozen=True, slots=True)
class Written:
    """One entry and where it is written, `FILE:LINE`."""

    entry: pb.Entry
    where: str


@dataclass(frozen=True, slots=True)
class EntryFile:
    """What a file says, and everything that is wrong with it."""

    written: tuple[Written, ...]
    errors: tuple[RingfenceError, ...]


def read_entries(text: str, path: str, trust_domain: TrustDomain) -> EntryFile:
    """The entries of *text* for that trust domain; raises INVALID when it is no list at all."""
    written: list[Written] = []
    errors: list[RingfenceError] = []
    for item in read_items(text, path, within=("items", "entries")):
        try:
            written.append(Written(_entry(item, path, trust_domain), f"{path}:{item.line}"))
        except RingfenceError as error:
            errors.append(error)
    return EntryFile(tuple(written), (*errors, *doubles(written, trust_domain)))


def doubles(written: Iterable[Written], trust_domain: TrustDomain) -> Iterator[RingfenceError]:
    """What is wrong with each, and each that repeats another."""
    first: dict[str, str] = {}
    for each in written:
        try:
            key = entry_of(each.entry, trust_domain).key
        except RingfenceError as error:
            yield RingfenceError(error.kind, error.detail, where=each.where, hint=error.hint)
            continue
        if key in first:
            yield _refused(each.where, f"this registers the same as {first[key]}", "Remove one of the two")
        first.setdefault(key, each.where)


def _entry(item: Item, path: str, trust_domain: TrustDomain) -> pb.Entry:
    if not isinstance(item.value, dict):
        raise _refused(f"{path}:{item.line}", "this is no entry", "Write a mapping with spiffeId and selectors")
    fields = {}
    for key, value in item.value.items():
        where = f"{path}:{item.line_of(key)}"
        if key in _SERVERS_OWN:
            _check_own(key, value, where)
        elif key in _NAMES:
            fields[_NAMES[key]] = _value(key, value, where)
        else:
            close = get_close_matches(str(key), _NAMES, n=1)
            raise _refused(
                where, f"the field {key!r} is unknown", f"Did you mean {close[0]}?" if close else "Remove it"
            )
    if "spiffe_id" not in fields:
        raise _refused(f"{path}:{item.line}", "spiffeId is missing", "Name the identity to give")
    if fields["spiffe_id"].startswith("/"):
        fields["spiffe_id"] = f"{trust_domain.id}{fields['spiffe_id']}"
    return pb.Entry(**fields)


def _check_own(key: str, value: Any, where: str) -> None:
    if key == "origin" and value != API_ORIGIN:
        raise _refused(where, f"this comes from the intent document {value}", "List with --origin api")


def _value(key: str, value: Any, where: str) -> Any:
    if key in _TEXT and isinstance(value, str):
        return value
    if key in _FLAGS and isinstance(value, bool):
        return value
    if key in _LISTS and isinstance(value, list) and all(isinstance(each, str) for each in value):
        return value
    if key in _LIVES and (life := seconds(str(value))) is not None and not isinstance(value, bool):
        return life
    if key == "expiresAt" and isinstance(value, str) and (end := moment(value)) is not None:
        return end
    raise _refused(where, f"{key} has the wrong form: {value!r}", _FORMS[key])


_FORMS = {
    **dict.fromkeys(_TEXT, "It is text"),
    **dict.fromkeys(_LISTS, "It is a list of texts"),
    **dict.fromkeys(_LIVES, "It is a duration: 90s, 10m, 1h, or seconds"),
    **dict.fromkeys(_FLAGS, "It is true or false"),
    "expiresAt": "It is a time such as 2026-12-24T12:00:00Z, or never",
}


def _refused(where: str, detail: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, where=where, hint=hint)
