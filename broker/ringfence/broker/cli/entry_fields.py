"""The fields of an entry: as options, and as rows that are printed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.times import MOMENT, rfc3339

COLUMNS = ["id", "spiffeId", "selectors", "origin"]

_SELECTORS = click.option("--selector", "selectors", multiple=True, help="unix:uid:1000; all given must hold.")
_OPTIONS = (
    click.option("--parent-id", help="Agent that may give it.  [default: every attested one]"),
    click.option("--ttl", "x509_ttl", type=DURATION, help="Life of its X509-SVIDs.  [default: 1h]"),
    click.option("--jwt-ttl", type=DURATION, help="Life of its JWT-SVIDs.  [default: 5m]"),
    click.option("--dns", "dns_names", multiple=True, help="DNS name to put beside the identity."),
    click.option("--hint", help="Which of several identities this is, for the workload."),
    click.option("--expires-at", type=MOMENT, help="When it ends: 2026-12-24T12:00:00Z, or 8h from now; never."),
    click.option("--federates-with", multiple=True, help="Trust domain whose bundle its holders are given."),
    click.option("--admin/--no-admin", default=None, help="Its holders may use the admin API."),
    click.option("--downstream/--no-downstream", default=None, help="Its holders are servers below this one."),
    click.option("--store-svid/--no-store-svid", default=None, help="For an SVID store, not the Workload API."),
    click.option("--jwt-jti/--no-jwt-jti", default=None, help="Its JWT-SVIDs carry a jti."),
)


def with_fields(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds an option a field; the command gets None, or nothing at all of several, for what was not given."""
    for option in reversed((_SELECTORS, *_OPTIONS)):
        command = option(command)
    return command


def given(fields: dict[str, Any]) -> dict[str, Any]:
    """Those of *fields* that were given."""
    return {name: value for name, value in fields.items() if value is not None and value != ()}


def row(entry: Any) -> dict[str, Any]:
    """An entry as it is printed, and as `entry apply` reads it back."""
    return {
        "id": entry.id,
        "spiffeId": entry.spiffe_id,
        "parentId": entry.parent_id,
        "selectors": list(entry.selectors),
        "x509Ttl": entry.x509_ttl,
        "jwtTtl": entry.jwt_ttl,
        "dnsNames": list(entry.dns_names),
        "hint": entry.hint,
        "expiresAt": rfc3339(entry.expires_at) if entry.expires_at else "never",
        "federatesWith": list(entry.federates_with),
        "admin": entry.admin,
        "downstream": entry.downstream,
        "storeSvid": entry.store_svid,
        "jwtJti": entry.jwt_jti,
        "createdAt": rfc3339(entry.created_at) if entry.created_at else "",  # a dry run makes none
        "revision": entry.revision,
        "origin": entry.origin,
    }
