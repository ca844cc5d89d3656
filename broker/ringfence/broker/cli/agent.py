"""`ringfence agent`: run the agent of a node, and ask whether one is well."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ringfence.broker.cli.broker_options import broker_config, broker_options
from ringfence.broker.cli.daemon_options import feature_option, log_level_option
from ringfence.broker.cli.failure import ANSWER_IS_NO
from ringfence.broker.cli.output import output_option, show_one

_FILE, _PATH = click.Path(dir_okay=False, path_type=Path), click.Path(path_type=Path)


@click.group()
def command() -> None:
    """Run and check the agent of a node."""


@command.command()
@click.option(
    "--server",
    required=True,
    multiple=True,
    envvar="RINGFENCE_SERVER",
    help="HOST:PORT where the server listens; of several on one database, more of them, or a list with commas.",
)
@click.option("--trust-domain", required=True, envvar="RINGFENCE_TRUST_DOMAIN", help="Name of the trust domain.")
@click.option(
    "--data-dir",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    envvar="RINGFENCE_AGENT_DATA_DIR",
    help="Folder for keys and state, made 0700.",
)
@click.option(
    "--socket",
    required=True,
    type=_PATH,
    envvar="RINGFENCE_AGENT_SOCKET",
    help="Unix socket of the Workload API and SDS; launchers reach SOCKET.admin.",
)
@click.option(
    "--join-token", default="", envvar="RINGFENCE_JOIN_TOKEN", help="Proves this node once; not needed afterwards."
)
@click.option(
    "--join-token-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar="RINGFENCE_JOIN_TOKEN_FILE",
    help="The same from a file.",
)
@click.option(
    "--attestor",
    type=click.Choice(["join_token", "x509pop", "k8s_psat", "tpm_devid"]),
    default="join_token",
    show_default=True,
    envvar="RINGFENCE_AGENT_ATTESTOR",
    help="How this node proves itself.",
)
@click.option(
    "--x509pop-cert",
    type=_FILE,
    envvar="RINGFENCE_X509POP_CERT",
    help="This node's certificate in PEM, intermediates after it.",
)
@click.option(
    "--x509pop-key",
    type=_FILE,
    envvar="RINGFENCE_X509POP_KEY",
    help="Its private key in PEM, 0600.",
)
@click.option(
    "--tpm-devid-cert",
    type=_FILE,
    envvar="RINGFENCE_TPM_DEVID_CERT",
    help="The certificate in PEM of this node's key in its TPM, intermediates after it.",
)
@click.option(
    "--tpm-devid-priv",
    type=_FILE,
    envvar="RINGFENCE_TPM_DEVID_PRIV",
    help="That key as the TPM wrapped it (TPM2B_PRIVATE).",
)
@click.option(
    "--tpm-devid-pub",
    type=_FILE,
    envvar="RINGFENCE_TPM_DEVID_PUB",
    help="Its public area (TPM2B_PUBLIC).",
)
@click.option(
    "--tpm-tcti",
    default="device:/dev/tpmrm0",
    show_default=True,
    envvar="RINGFENCE_TPM_TCTI",
    help="How to reach the TPM: device:PATH, or swtpm:path=SOCKET of a software TPM.",
)
@click.option(
    "--k8s-psat-cluster",
    default="",
    envvar="RINGFENCE_K8S_PSAT_CLUSTER",
    help="This cluster's name in the server's --k8s-clusters file.",
)
@click.option(
    "--k8s-psat-token",
    type=_FILE,
    default="/var/run/secrets/tokens/ringfence-agent",
    show_default=True,
    envvar="RINGFENCE_K8S_PSAT_TOKEN",
    help="The projected service account token of the agent's pod.",
)
@click.option(
    "--k8s-node",
    default="",
    envvar="RINGFENCE_K8S_NODE",
    help="This node's name in Kubernetes: follow its pods, for the selectors k8s:….",
)
@click.option(
    "--k8s-kubeconfig",
    type=_FILE,
    envvar="RINGFENCE_K8S_KUBECONFIG",
    help="How to reach the Kubernetes API.  [default: the pod's service account]",
)
@click.option(
    "--bootstrap-bundle",
    type=_PATH,
    envvar="RINGFENCE_BOOTSTRAP_BUNDLE",
    help="The server's trust bundle, PEM or SPIFFE JSON.",
)
@click.option("--insecure-bootstrap", is_flag=True, envvar="RINGFENCE_INSECURE_BOOTSTRAP", help="Trust what answers.")
@click.option("--http-listen", default="", envvar="RINGFENCE_AGENT_HTTP_LISTEN", help="HOST:PORT for /live and /ready.")
@click.option(
    "--hold", default=30.0, show_default=True, envvar="RINGFENCE_AGENT_HOLD", help="Seconds to wait for an identity."
)
@click.option(
    "--attest-timeout",
    default=60.0,
    show_default=True,
    envvar="RINGFENCE_AGENT_ATTEST_TIMEOUT",
    help="Seconds to try the first contact with the server.",
)
@click.option("--region", default="", envvar="RINGFENCE_REGION", help="Where this host is, for proxies to stay near.")
@click.option("--zone", default="", envvar="RINGFENCE_ZONE", help="The part of the region that fails together.")
@click.option(
    "--fabric",
    is_flag=True,
    envvar="RINGFENCE_AGENT_FABRIC",
    help="Keep the node's fabrics: routes, filters, members. Needs CAP_NET_ADMIN, nft and ip.",
)
@broker_options
@feature_option("agent", "RINGFENCE_AGENT_FEATURES")
@log_level_option
def run(**options: Any) -> None:
    """Run the agent until it is told to stop."""
    from ringfence.broker.collector import importing

    with importing():
        from ringfence.broker.address import Address
        from ringfence.broker.agent.config import AgentConfig
        from ringfence.broker.agent.daemon import run as run_agent
        from ringfence.certs.spiffe_id import TrustDomain
        from ringfence.xds.locality import Locality

    token = options["join_token"]
    if not token and options["join_token_file"]:
        token = options["join_token_file"].read_text(encoding="utf-8").strip()
    http = options["http_listen"]
    given = [each for text in options["server"] for each in text.split(",")]
    server, *more_servers = (Address.parse(each.strip(), flag="--server") for each in given)
    run_agent(
        AgentConfig(
            server=server,
            more_servers=tuple(more_servers),
            trust_domain=TrustDomain(options["trust_domain"]),
            data_dir=Path(options["data_dir"]).absolute(),
            socket=Path(options["socket"]).absolute(),
            join_token=token,
            attestor=options["attestor"],
            x509pop_cert=options["x509pop_cert"],
            x509pop_key=options["x509pop_key"],
            tpm_devid_cert=options["tpm_devid_cert"],
            tpm_devid_priv=options["tpm_devid_priv"],
            tpm_devid_pub=options["tpm_devid_pub"],
            tpm_tcti=options["tpm_tcti"],
            k8s_psat_cluster=options["k8s_psat_cluster"],
            k8s_psat_token=options["k8s_psat_token"],
            k8s_node=options["k8s_node"],
            k8s_kubeconfig=options["k8s_kubeconfig"],
            bootstrap_bundle=Path(options["bootstrap_bundle"]) if options["bootstrap_bundle"] else None,
            insecure_bootstrap=options["insecure_bootstrap"],
            http_listen=Address.parse(http, flag="--http-listen") if http else None,
            hold=options["hold"],
            attest_patience=options["attest_timeout"],
            broker=broker_config(options),
            features=frozenset(options["features"]),
            fabric=options["fabric"],
            log_level=options["log_level"],
            locality=Locality.parse(options["region"], options["zone"]),
        )
    )


@command.command()
@click.option(
    "--socket",
    envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
    required=True,
    help="The agent's socket.",
)
@click.option("--timeout", default=5.0, show_default=True, help="Seconds to wait.")
@output_option
def healthcheck(socket: str, timeout: float, output: str) -> None:
    """Exit 0 when the agent of this machine serves, 3 when it answers that it does not."""
    import asyncio

    from ringfence.broker.agent.health import check

    row = asyncio.run(check(socket, timeout))
    show_one("Agent", row, output=output, name="trustDomain")
    if not row["ready"]:
        raise click.exceptions.Exit(ANSWER_IS_NO)
