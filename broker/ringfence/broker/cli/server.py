"""`ringfence server`: run the control plane, ask after its health, rotate its authority."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.access_table import ACCESS
from ringfence.broker.cli.admin_client import Where, ask, with_admin
from ringfence.broker.cli.daemon_options import feature_option, log_level_option
from ringfence.broker.cli.duration import DURATION
from ringfence.broker.cli.output import list_options, output_option, show_list, show_one
from ringfence.broker.cli.server_store import backup, migrate, restore, validation_of
from ringfence.broker.cli.servers import forget
from ringfence.broker.cli.servers import list_ as list_servers

_PATH = click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Run and check the control plane."""


@command.command()
@click.option("--trust-domain", required=True, envvar="RINGFENCE_TRUST_DOMAIN", help="Name of the trust domain.")
@click.option("--data-dir", required=True, type=_PATH, envvar="RINGFENCE_DATA_DIR", help="Where state is kept, 0700.")
@click.option("--listen", required=True, envvar="RINGFENCE_LISTEN", help="HOST:PORT for agents, proxies and evidence.")
@click.option(
    "--database", default="", envvar="RINGFENCE_DATABASE", help="URL of a PostgreSQL.  [default: SQLite in DATA_DIR]"
)
@click.option("--intent", type=_PATH, envvar="RINGFENCE_INTENT", help="Folder of intent to apply at start.")
@click.option("--admin-socket", type=_PATH, envvar="RINGFENCE_ADMIN_SOCKET", help="[default: DATA_DIR/admin.sock]")
@click.option("--http-listen", envvar="RINGFENCE_HTTP_LISTEN", help="HOST:PORT of /live /ready /metrics /version.")
@click.option("--otlp-listen", envvar="RINGFENCE_OTLP_LISTEN", help="One more HOST:PORT, for evidence only.")
@click.option("--otlp-forward", default="", envvar="RINGFENCE_OTLP_FORWARD", help="OTLP collector to pass evidence to.")
@click.option("--oidc-listen", envvar="RINGFENCE_OIDC_LISTEN", help="HOST:PORT of OIDC discovery, for cloud services.")
@click.option("--oidc-issuer", default="", envvar="RINGFENCE_OIDC_ISSUER", help="URL that JWT-SVIDs carry as `iss`.")
@click.option("--oidc-cert", type=_PATH, envvar="RINGFENCE_OIDC_CERT", help="Its certificate chain, PEM.")
@click.option("--oidc-key", type=_PATH, envvar="RINGFENCE_OIDC_KEY", help="The key of --oidc-cert, PEM.")
@click.option("--bundle-listen", envvar="RINGFENCE_BUNDLE_LISTEN", help="HOST:PORT where partners fetch our bundle.")
@click.option(
    "--bundle-profile",
    type=click.Choice(["https_spiffe", "https_web"]),
    default="https_spiffe",
    show_default=True,
    envvar="RINGFENCE_BUNDLE_PROFILE",
    help="What partners know it by: the server's SVID, or a web certificate.",
)
@click.option("--bundle-cert", type=_PATH, envvar="RINGFENCE_BUNDLE_CERT", help="Web certificate chain, PEM.")
@click.option("--bundle-key", type=_PATH, envvar="RINGFENCE_BUNDLE_KEY", help="The key of --bundle-cert, PEM.")
@click.option(
    "--ca-ttl", type=DURATION, default="24h", show_default=True, envvar="RINGFENCE_CA_TTL", help="Life of an authority."
)
@click.option(
    "--ledger-retention",
    type=DURATION,
    default="24h",
    show_default=True,
    envvar="RINGFENCE_LEDGER_RETENTION",
    help="How long past its end an SVID stays in the inventory.",
)
@click.option(
    "--audit-rotate-mib",
    type=click.IntRange(1, 4096),
    default=64,
    show_default=True,
    envvar="RINGFENCE_AUDIT_ROTATE_MIB",
    help="Size at which the audit log goes on in a new file.",
)
@click.option(
    "--key-manager",
    type=click.Choice(["disk", "memory", "pkcs11"]),
    default="disk",
    show_default=True,
    envvar="RINGFENCE_KEY_MANAGER",
    help="Where private keys live.",
)
@click.option(
    "--key-passphrase-file",
    type=_PATH,
    envvar="RINGFENCE_KEY_PASSPHRASE_FILE",
    help="Passphrase that encrypts the keys on disk.  [default: systemd credential ringfence.key-passphrase, if any]",
)
@click.option("--pkcs11-module", type=_PATH, envvar="RINGFENCE_PKCS11_MODULE", help="PKCS#11 library of the token.")
@click.option("--pkcs11-token", default="", envvar="RINGFENCE_PKCS11_TOKEN", help="Label of the token.")
@click.option(
    "--pkcs11-pin-file",
    type=_PATH,
    envvar="RINGFENCE_PKCS11_PIN_FILE",
    help="User PIN of the token.  [default: systemd credential ringfence.pkcs11-pin]",
)
@click.option(
    "--signers",
    type=click.IntRange(0, 64),
    default=0,
    show_default=True,
    envvar="RINGFENCE_SIGNERS",
    help="Processes that prove requests and sign X509-SVIDs; 0: the server itself.",
)
@click.option(
    "--x509pop-ca",
    type=_PATH,
    multiple=True,
    envvar="RINGFENCE_X509POP_CA",
    help="PEM file of an authority whose certificates are nodes'; may be given again.",
)
@click.option(
    "--x509pop-spiffe",
    default="",
    envvar="RINGFENCE_X509POP_SPIFFE",
    help="Take X.509-SVIDs at or below this SPIFFE ID only, of another trust domain.",
)
@click.option(
    "--tpm-devid-ca",
    type=_PATH,
    multiple=True,
    envvar="RINGFENCE_TPM_DEVID_CA",
    help="PEM file of an authority whose certificates are of nodes' keys in TPMs; may be given again.",
)
@click.option(
    "--tpm-ek-ca",
    type=_PATH,
    multiple=True,
    envvar="RINGFENCE_TPM_EK_CA",
    help="PEM file of an authority that vouches for TPMs; may be given again.",
)
@click.option(
    "--k8s-clusters",
    type=_PATH,
    envvar="RINGFENCE_K8S_CLUSTERS",
    help="TOML file of the Kubernetes clusters whose nodes may attest by k8s_psat.",
)
@click.option(
    "--upstream-cert",
    type=_PATH,
    envvar="RINGFENCE_UPSTREAM_CERT",
    help="Certificate, PEM, of the authority that signs ours; then those between it and the root.",
)
@click.option("--upstream-key", type=_PATH, envvar="RINGFENCE_UPSTREAM_KEY", help="The key of --upstream-cert, PEM.")
@click.option(
    "--upstream-roots",
    type=_PATH,
    envvar="RINGFENCE_UPSTREAM_ROOTS",
    help="Roots above it, PEM.  [default: the last of --upstream-cert]",
)
@feature_option("server", "RINGFENCE_FEATURES")
@click.option("--spire-listen", envvar="RINGFENCE_SPIRE_LISTEN", help="HOST:PORT for SPIRE servers below this one.")
@click.option(
    "--upstream-server",
    default="",
    envvar="RINGFENCE_UPSTREAM_SERVER",
    help="HOST:PORT of the server above, which signs our authorities and publishes our keys.",
)
@click.option(
    "--upstream-socket",
    default="",
    envvar="RINGFENCE_UPSTREAM_SOCKET",
    help="Workload API of an agent of the server above: path or URI.",
)
@click.option(
    "--upstream-kind",
    type=click.Choice(["ringfence", "spire"]),
    default="ringfence",
    show_default=True,
    envvar="RINGFENCE_UPSTREAM_KIND",
    help="What the server above is.",
)
@click.option(
    "--upstream-spiffe-id",
    default="",
    envvar="RINGFENCE_UPSTREAM_SPIFFE_ID",
    help="Which SVID of that Workload API is ours.  [default: the first]",
)
@click.option(
    "--access",
    type=ACCESS,
    envvar="RINGFENCE_ACCESS",
    help="TOML file whose [access] says who may use the admin API.  [default: [access] of --config, if any]",
)
@log_level_option
def run(**given: Any) -> None:
    """Run the server until SIGTERM or SIGINT."""
    from ringfence.broker.collector import importing

    with importing():
        from ringfence.broker.server.main import config_of, serve

    serve(config_of(given))


for each in (validation_of(run), migrate, backup, restore, list_servers, forget):
    command.add_command(each)


@command.command()
@with_admin
@output_option
def healthcheck(socket: Where, output: str) -> None:
    """Exit 0 when the server is ready, 3 when it answers that it is not."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.failure import ANSWER_IS_NO

    info = ask(socket, lambda server: server.Info(pb.InfoRequest(), timeout=5))
    row = {
        "ready": info.ready,
        "detail": info.detail,
        "version": info.version,
        "trustDomain": info.trust_domain,
        "spiffeId": info.spiffe_id,
        "revision": info.revision,
        "agents": info.agents,
        "proxies": info.proxies,
        "entries": info.entries,
    }
    show_one("Server", row, output=output, name="spiffeId")
    if not info.ready:
        raise click.exceptions.Exit(ANSWER_IS_NO)


@command.command()
@with_admin
@click.option("--authority", is_flag=True, help="Make and use a new authority first.")
@output_option
def rotate(socket: Where, authority: bool, output: str) -> None:  # noqa: FBT001  # a click flag
    """Have every agent renew its SVIDs now."""
    from ringfence.admin.v1 import admin_pb2 as pb

    done = ask(socket, lambda server: server.Rotate(pb.RotateRequest(authority=authority), timeout=30))
    show_one("Rotation", {"authority": done.authority, "agents": done.agents}, output=output, name="authority")


@command.command()
@with_admin
@list_options
def authorities(socket: Where, output: str) -> None:
    """List the authorities of the trust domain."""
    from ringfence.admin.v1 import admin_pb2 as pb
    from ringfence.broker.cli.times import rfc3339

    found = ask(socket, lambda server: server.ShowAuthorities(pb.ShowAuthoritiesRequest(), timeout=10))
    rows = [
        {
            "kind": authority.kind,
            "slot": authority.slot,
            "id": authority.id,
            "notBefore": rfc3339(authority.not_before),
            "notAfter": rfc3339(authority.not_after),
        }
        for authority in found.authorities
    ]
    show_list("Authority", rows, columns=["kind", "slot", "id", "notAfter"], output=output, name="id")
