"""`ringfence grpc-bootstrap`: what a gRPC library without a proxy is told at its start."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.option(
    "--server",
    required=True,
    envvar="RINGFENCE_SERVER",
    metavar="HOST:PORT",
    help="The server, or several with commas; its certificate must have this HOST.",
)
@click.option(
    "--dir",
    "folder",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder that `ringfence svid write --daemon` keeps.",
)
@click.option(
    "--serve",
    multiple=True,
    metavar="PORT=IP:NUMBER",
    help="A port of the Workload that this process serves, and where others reach it; may be repeated.",
)
@click.option("--spiffe-id", default="", help="The identity that is claimed, for the server to check.")
@click.option("--node-id", default="", help="What tells this process apart; default: the host and a random number.")
@click.option("--region", default="", envvar="RINGFENCE_REGION", help="Where this process runs.")
@click.option("--zone", default="", envvar="RINGFENCE_ZONE", help="The part of the region.")
@click.option("--cert-file", default="svid.pem", show_default=True, help="Certificate chain in --dir.")
@click.option("--key-file", default="key.pem", show_default=True, help="Private key in --dir.")
@click.option("--bundle-file", default="bundle.pem", show_default=True, help="Whom to trust, in --dir.")
@click.option(
    "--bundle-map-file",
    default="bundle-map.json",
    show_default=True,
    help="The same by trust domain, in --dir; '' for none.",
)
@click.option(
    "--out", type=click.Path(dir_okay=False, path_type=Path), help="The file to write, 0600; default: print it."
)
def command(
    *,
    server: str,
    folder: Path,
    serve: tuple[str, ...],
    spiffe_id: str,
    node_id: str,
    region: str,
    zone: str,
    cert_file: str,
    key_file: str,
    bundle_file: str,
    bundle_map_file: str,
    out: Path | None,
) -> None:
    """Print the bootstrap of a gRPC library that is its own proxy, for GRPC_XDS_BOOTSTRAP.

    Set GRPC_EXPERIMENTAL_XDS_MTLS_SPIFFE=true beside it, or the bundle map is not used.
    """
    from ringfence.broker.run.grpc_bootstrap import Bootstrap, node_of_host, parse_serve
    from ringfence.broker.svidfiles.wanted import Wanted
    from ringfence.certs.spiffe_id import SpiffeId
    from ringfence.xds.locality import Locality

    made = Bootstrap(
        servers=server.split(","),
        node_id=node_id or node_of_host(),
        files=folder.absolute(),
        spiffe_id=str(SpiffeId.parse(spiffe_id)) if spiffe_id else "",
        inbound=parse_serve(serve),
        wanted=Wanted(cert=cert_file, key=key_file, bundle=bundle_file, bundle_map=bundle_map_file),
        locality=Locality.parse(region, zone),
    )
    text = made.text()
    if out is None:
        click.echo(text, nl=False)
        return
    from ringfence.broker.files import write_atomically

    write_atomically(out, text.encode(), mode=0o600)
