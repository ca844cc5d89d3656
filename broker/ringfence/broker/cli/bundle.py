"""`ringfence bundle`: what others verify this trust domain by, and what others are verified by."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.admin_client import Where, ask, dry_run_option, with_admin
from ringfence.broker.cli.bundle_crl import crl
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one
from ringfence.certs.errors import Kind, RingfenceError

_COLUMNS = ["trustDomain", "sequence", "x509Authorities", "jwtAuthorities", "entries", "changedAt"]


@click.group()
def command() -> None:
    """Show the trust bundle, and keep those of other trust domains."""


command.add_command(crl)


@command.command()
@click.argument("trust_domain", required=False, default="")
@with_admin
@click.option(
    "--format",
    "form",
    type=click.Choice(["pem", "spiffe", "map", "x509-map"]),
    default="pem",
    show_default=True,
    help="What to print.",
)
def show(socket: Where, trust_domain: str, form: str) -> None:
    """Print our bundle, or that of TRUST_DOMAIN: the roots as PEM, or the SPIFFE bundle as JSON.

    As a map it is ours with all that are held of others, in one JSON document; x509-map leaves out the keys of
    tokens, for which Envoy would refuse it.
    """
    if form.endswith("map"):
        click.echo(_map(socket, trust_domain, x509=form == "x509-map"))
        return
    text = _held(socket, trust_domain).bundle if trust_domain else _own(socket)
    if form == "spiffe":
        click.echo(text)
        return
    from ringfence.certs.bundle import SpiffeBundle
    from ringfence.certs.spiffe_id import TrustDomain

    # The name does not matter for printing roots.
    click.echo(SpiffeBundle.parse(TrustDomain("shown"), text).x509_pem(), nl=False)


@command.command("list")
@with_admin
@list_options
def list_(socket: Where, output: str) -> None:
    """List the bundles held of other trust domains."""
    show_list("Bundle", [_row(each) for each in _all(socket)], columns=_COLUMNS, output=output, name="trustDomain")


@command.command("set")
@click.argument("trust_domain")
@click.argument("file", type=click.Path(path_type=Path, readable=False))
@with_admin
@dry_run_option
@output_option
def set_(socket: Where, trust_domain: str, file: Path, *, dry_run: bool, output: str) -> None:
    """Believe the SPIFFE bundle (JSON) in FILE of TRUST_DOMAIN from now on, in place of the one before."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.SetBundleRequest(trust_domain=trust_domain, bundle=read(file), dry_run=dry_run)
    try:
        done = ask(socket, lambda server: server.SetBundle(asked, timeout=10))
    except RingfenceError as error:
        if error.kind is not Kind.INVALID or error.where:
            raise
        hint = f"Write it there with: ringfence bundle show --format spiffe > {file.name}"
        raise RingfenceError(error.kind, error.detail, where=str(file), hint=error.hint or hint) from None
    show_one("Bundle", {**_row(done), "action": done.action}, output=output, name="trustDomain")


@command.command()
@click.argument("trust_domain")
@with_admin
@click.option(
    "--mode",
    type=click.Choice(["restrict", "dissociate", "delete"]),
    default="restrict",
    show_default=True,
    help="While entries federate with it: refuse, end that of these entries, or delete them too.",
)
@click.option("--force", is_flag=True, help="Although entries federate with it: they stay, without its bundle.")
@dry_run_option
@output_option
def delete(socket: Where, trust_domain: str, output: str, *, dry_run: bool, **how: Any) -> None:
    """Believe nothing of TRUST_DOMAIN any more; one that is not held changes nothing."""
    from ringfence.admin.v1 import admin_pb2 as pb

    asked = pb.DeleteBundleRequest(trust_domain=trust_domain, dry_run=dry_run, **how)
    done = ask(socket, lambda server: server.DeleteBundle(asked, timeout=10))
    action = "deleted" if done.deleted else "unchanged"
    row = {"trustDomain": trust_domain, "action": action, "entries": done.entries}
    show_one("Bundle", row, output=output, name="trustDomain")


def read(file: Path) -> bytes:
    """What is in *file*; raises INVALID."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise RingfenceError(
            Kind.INVALID, f"cannot be read: {error.strerror}", where=str(file), hint="Name a SPIFFE bundle, JSON"
        ) from None


def _own(socket: Where) -> bytes:
    from ringfence.admin.v1 import admin_pb2 as pb

    text: bytes = ask(socket, lambda server: server.ShowBundle(pb.ShowBundleRequest(), timeout=10)).bundle
    return text


def _map(socket: Where, only: str, *, x509: bool) -> bytes:
    """The bundle map of *only*, or of everyone."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.certs.bundle import SpiffeBundle
    from ringfence.certs.bundle_map import write_map, x509_only
    from ringfence.certs.spiffe_id import TrustDomain

    if only:
        texts = {only: _held(socket, only).bundle}
    else:
        texts = {ask(socket, lambda server: server.Info(pb.InfoRequest(), timeout=10)).trust_domain: _own(socket)}
        texts |= {each.trust_domain: each.bundle for each in _all(socket)}
    bundles = (SpiffeBundle.parse(TrustDomain(name), text) for name, text in texts.items())
    return write_map(map(x509_only, bundles) if x509 else bundles)


def _all(socket: Where) -> list[Any]:
    from ringfence.admin.v1 import admin_pb2 as pb

    return list(ask(socket, lambda server: server.ListBundles(pb.ListBundlesRequest(), timeout=10)).bundles)


def _held(socket: Where, trust_domain: str) -> Any:
    for each in _all(socket):
        if each.trust_domain == trust_domain:
            return each
    raise RingfenceError(
        Kind.NOT_FOUND, f"no bundle of {trust_domain} is held", hint="See `ringfence bundle list`; ours has no argument"
    )


def _row(held: Any) -> dict[str, Any]:
    from ringfence.broker.cli.times import rfc3339
    from ringfence.certs.bundle import SpiffeBundle
    from ringfence.certs.spiffe_id import TrustDomain

    bundle = SpiffeBundle.parse(TrustDomain(held.trust_domain), held.bundle)
    return {
        "trustDomain": held.trust_domain,
        "sequence": bundle.sequence,
        "refreshHintSeconds": int(bundle.refresh_hint.total_seconds()),
        "x509Authorities": len(bundle.x509_authorities),
        "jwtAuthorities": len(bundle.jwt_authorities),
        "entries": held.entries,
        "changedAt": rfc3339(held.changed_at) if held.changed_at else "",  # a dry run changes none
    }
