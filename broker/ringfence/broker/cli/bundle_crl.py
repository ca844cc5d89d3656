"""`ringfence bundle crl`: the revocation lists, for programs that read files: nginx, openssl, Java."""

from __future__ import annotations

import base64
import textwrap
from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.certs.errors import Kind, RingfenceError

_PEM_LINE = 64  # characters, RFC 7468 section 2


@click.command()
@with_admin
@click.option("--authority", default="", help="That of one authority only, by its ID; DER holds one list.")
@click.option("--format", "form", type=click.Choice(["pem", "der"]), default="pem", show_default=True, help="How.")
@click.option(
    "--out",
    type=click.Path(path_type=Path, readable=False, dir_okay=False),
    help="File to write, whole or not at all.  [default: standard output]",
)
def crl(socket: Where, authority: str, form: str, out: Path | None) -> None:
    """Print the revocation lists (CRL) of our X.509 authorities, or write them to a file.

    A list is signed anew with every revocation and every 12 hours, and valid for 24: write the file again more often
    than that. An authority of whose certificates none is revoked has no list.
    """
    data = _written(_lists(socket, authority), form)
    if out is None:
        click.echo(data, nl=False)
        return
    from ringfence.broker.files import write_atomically

    write_atomically(out, data, mode=0o644)


def _lists(socket: Where, authority: str) -> list[bytes]:
    """In DER, by authority; raises NOT_FOUND for none."""
    from ringfence.admin.v1 import admin_pb2 as pb

    found: Any = ask(socket, lambda server: server.ListRevocations(pb.ListRevocationsRequest(), timeout=60))
    lists = [each.crl for each in found.lists if authority in {"", each.authority}]
    if not lists:
        of = f"the authority {authority} has no revocation list" if authority else "there is no revocation list"
        raise RingfenceError(
            Kind.NOT_FOUND,
            of,
            hint="One is signed when a certificate that has not ended is revoked: see `ringfence identity revocations`",
        )
    return lists


def _written(lists: list[bytes], form: str) -> bytes:
    """What the file holds; raises INVALID for several in DER."""
    if form == "pem":
        return b"".join(map(_pem, lists))
    if len(lists) > 1:
        raise RingfenceError(
            Kind.INVALID,
            f"there are {len(lists)} lists, and DER holds one",
            hint="Name one by --authority (`ringfence authority x509 show`), or take PEM",
        )
    return lists[0]


def _pem(der: bytes) -> bytes:
    lines = textwrap.wrap(base64.b64encode(der).decode(), _PEM_LINE)
    return "\n".join(["-----BEGIN X509 CRL-----", *lines, "-----END X509 CRL-----", ""]).encode()
