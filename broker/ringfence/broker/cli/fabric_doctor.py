"""`ringfence fabric doctor`: what logs, counters and tables say about the way that collectives take."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.fabric_probe import probed, respond, with_probe
from ringfence.broker.cli.failure import ANSWER_IS_NO, OK
from ringfence.broker.cli.output import API_VERSION

if TYPE_CHECKING:
    from ringfence.fabric.doctor.diagnose import Diagnosis
    from ringfence.fabric.doctor.evidence import Evidence
    from ringfence.fabric.doctor.gather import Text

_FORMATS = ("text", "json", "sarif", "junit")
_TOOL = "ringfence fabric doctor"
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_DOCUMENTS = click.Path(exists=True, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_UNDECLARED = (
    "no fabric is declared, so that sockets, rules and routes are not judged: give --dir, --interface or --cidr"
)
_MAX_WAIT = 300  # seconds
# Kind of text, as `gather` knows it, to what its file is.
_TEXTS = {
    "nccl-log": "Log of NCCL or RCCL with NCCL_DEBUG=INFO.",
    "nccl-tests": "Output of nccl-tests, or its -J file.",
    "ras": "Answer of NCCL's RAS: `ncclras`, text or JSON.",
    "ss": "Output of `ss -tainepH`.",
    "conntrack": "Output of `conntrack -L`, or /proc/net/nf_conntrack.",
    "nstat": "Output of `nstat -az`, table or JSON.",
    "route": "Output of `ip [-j] route get PEER oif IF`.",
    "neigh": "Output of `ip [-j] neigh`.",
    "addr": "Output of `ip -j addr`.",
    "nft": "Output of `nft -j list ruleset`.",
    "rdma-system": "Output of `rdma -j system`.",
    "rdma-devices": "Output of `stat -c '%a %n' /dev/infiniband/*`.",
    "rdma-link": "Output of `rdma -j link`, where there is no sysfs to read.",
    "rdma-statistic": "Output of `rdma -j statistic`, where there is no sysfs to read.",
    "security-groups": "Output of `aws ec2 describe-security-groups`.",
}


def _text_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """An option that takes a file, as often as wanted, for each kind of text."""
    for kind, what in reversed(_TEXTS.items()):
        command = click.option(f"--{kind}", type=_FILE, multiple=True, metavar="FILE", help=what)(command)
    return command


@click.group(invoke_without_command=True)
@click.pass_context
@click.option("--dir", "folder", type=_DOCUMENTS, metavar="DIR", help="Intent documents that declare the fabric.")
@click.option("--fabric", default="", metavar="FABRIC", help="With --dir: which fabric; default: the only one.")
@click.option("--trust-domain", envvar="RINGFENCE_TRUST_DOMAIN", help="For documents without a Mesh.")
@click.option("--interface", "interfaces", multiple=True, metavar="IF", help="An interface of the fabric.")
@click.option("--control-interface", "control", multiple=True, metavar="IF", help="One that bootstrap may use too.")
@click.option(
    "--cidr", "cidrs", multiple=True, metavar="CIDR", help="A network of the fabric; default: the interfaces'."
)
@click.option("--mtu", type=click.IntRange(0, 65536), default=0, metavar="BYTES", help="Default: the interfaces' own.")
@click.option("--peer", "peers", multiple=True, metavar="IP", help="Another node's address: is the way to it direct?")
@click.option("--rendezvous-port", "ports", type=click.IntRange(1, 65535), multiple=True, help="Beside the known ones.")
@click.option("--tenants", type=click.IntRange(0), default=0, help="How many tenants share this node.")
@with_probe
@_text_options
@click.option("--ethtool", multiple=True, metavar="IF=FILE", help="Output of `ethtool -S IF`.")
@click.option("--ethtool-before", multiple=True, metavar="IF=FILE", help="The same, from before the job.")
@click.option("--nstat-before", type=_FILE, multiple=True, metavar="FILE", help="nstat, from before the job.")
@click.option("--sysfs", type=_FOLDER, metavar="DIR", help="A copy of /sys/class/infiniband.")
@click.option("--sysfs-before", type=_FOLDER, metavar="DIR", help="The same, from before the job.")
@click.option("--live/--offline", default=None, help="Look at this node too; default: where no file is given.")
@click.option(
    "--over", type=click.IntRange(0, _MAX_WAIT), default=0, metavar="SECONDS", help="Live: how counters grow."
)
@click.option(
    "--fail-on",
    type=click.Choice(("error", "warning", "never")),
    default="error",
    show_default=True,
    help="From which level on it ends with 3.",
)
@click.option("-o", "--output", type=click.Choice(_FORMATS), default="text", show_default=True, help="How to print.")
def doctor(
    context: click.Context, *, fail_on: str, output: str, live: bool | None, over: int, active: bool, **given: Any
) -> int:
    """Tell whether segmentation forces collectives through a firewall, a proxy or a layer-3 hop.

    Tells what else is wrong with the fabric, too. Judges the files that are given, and with --live this node's own
    state, which it only reads: it sends nothing to another node and changes nothing. With --active it sends to the
    peers that are named, and to nobody else: how much at most is told before, and how much it was afterwards. Where
    there is no RDMA it says so and judges the rest. What belongs to the fabric is told by --dir and --fabric, or by
    --interface and --cidr, which win. SARIF is for code scanning, JUnit's XML for CI.
    """
    if context.invoked_subcommand is not None:
        return OK
    if active and live is False:
        raise click.UsageError("--active looks at this node, and --offline does not")
    from ringfence.fabric.doctor.diagnose import diagnose
    from ringfence.policy.reports import counts

    texts = _read_texts(given)
    wanted = active or (live if live is not None else not texts and given["sysfs"] is None)
    evidence, notes = _evidence(texts, given, over=over, live=wanted, active=active)
    told = diagnose(evidence)
    click.echo(_printed(told, notes, fail_on, output), nl=False)
    failed = fail_on != "never" and any(counts(finding, fail_on) for finding in told.findings)
    return ANSWER_IS_NO if failed else OK


doctor.add_command(respond)


def _read_texts(given: dict[str, Any]) -> list[Text]:
    """What the files hold, byte for byte but for what is no UTF-8; nothing beyond the parsers' own limit."""
    from ringfence.fabric.doctor.bounded import MAX_TEXT
    from ringfence.fabric.doctor.gather import Text

    def text(kind: str, path: Path, interface: str = "", *, first: bool = False) -> Text:
        with path.open(encoding="utf-8", errors="replace", newline="") as opened:
            return Text(kind, str(path), opened.read(MAX_TEXT), interface, first)

    found = [text(kind, path) for kind in _TEXTS for path in given[kind.replace("-", "_")]]
    found += [text("nstat", path, first=True) for path in given["nstat_before"]]
    for option, first in (("ethtool", False), ("ethtool_before", True)):
        for value in given[option]:
            interface, path = _pair(value, f"--{option.replace('_', '-')}")
            found.append(text("ethtool", path, interface, first=first))
    return found


def _pair(value: str, option: str) -> tuple[str, Path]:
    interface, separator, path = value.partition("=")
    if not separator or not interface or not Path(path).is_file():
        raise click.BadParameter(f"{value!r} is not IF=FILE with a file that is there", param_hint=option)
    return interface, Path(path)


def _evidence(
    texts: list[Text], given: dict[str, Any], *, over: int, live: bool, active: bool
) -> tuple[Evidence, tuple[str, ...]]:
    from ringfence.broker.cli.fabric_declared import declared_by
    from ringfence.broker.fabric.collect import Collected, collect, read_ports, samples
    from ringfence.fabric.doctor.bounded import MAX_ROWS
    from ringfence.fabric.doctor.gather import gather

    declared, nothing = declared_by(given), Collected((), {}, ())
    probes, unprobed = probed(given, declared) if active else ((), ())
    before = samples(declared.interfaces) if live and over else nothing
    if live and over:
        time.sleep(over)
    now = collect(declared.interfaces, given["peers"]) if live else nothing
    files = read_ports(given["sysfs"]) if given["sysfs"] else {}
    files_before = read_ports(given["sysfs_before"]) if given["sysfs_before"] else {}
    every = [*texts, *before.texts, *now.texts]
    notes = now.notes if declared.interfaces or declared.networks else (*now.notes, _UNDECLARED)
    evidence = gather(declared, every, {**now.files, **files}, {**before.files, **files_before}, probes)
    cut = tuple(f"{path}: only its first {MAX_ROWS:,} rows are judged" for path in evidence.cut())
    return evidence, notes + unprobed + cut


def _printed(told: Diagnosis, notes: tuple[str, ...], fail_on: str, output: str) -> str:
    from ringfence.broker.version import VERSION
    from ringfence.fabric.doctor.signatures import CODES
    from ringfence.policy.reports import junit, sarif

    match output:
        case "json":
            return f"{json.dumps(_listed(told, notes), indent=2)}\n"
        case "sarif":
            return f"{json.dumps(sarif(told.findings, VERSION, tool=_TOOL, table=CODES), indent=2)}\n"
        case "junit":
            return junit(told.findings, "error" if fail_on == "never" else fail_on, tool=_TOOL)
        case _:
            return _words(told, notes)


def _listed(told: Diagnosis, notes: tuple[str, ...]) -> dict[str, Any]:
    from ringfence.fabric.doctor.signatures import SIGNATURES

    items = [
        {
            "code": one.code,
            "level": one.level,
            "cause": SIGNATURES[one.code].cause,
            "evidence": {"path": one.path, "line": one.line, "message": one.message},
            "fix": one.hint,
            "threats": list(one.threats),
        }
        for one in told.findings
    ]
    answers = [
        {"way": one.way, "forced": one.verdict, "codes": list(one.codes), "lookedAt": list(one.looked)}
        for one in told.answers
    ]
    head = {"apiVersion": API_VERSION, "kind": "FabricDiagnosis", "answers": answers, "items": items}
    return {**head, "notJudged": list(told.not_judged), "notes": list(notes)}


def _words(told: Diagnosis, notes: tuple[str, ...]) -> str:
    from ringfence.fabric.doctor.signatures import SIGNATURES

    lines = ["is segmentation forcing collectives through"]
    lines += [f"  a {answer}" for answer in told.answers]
    for one in told.findings:
        said = f"{SIGNATURES[one.code].cause}: {one.message}. {one.hint}"
        signs = f" [{' '.join(one.threats)}]" if one.threats else ""
        lines.append(f"{one.path}:{one.line}: {one.level} {one.code}: {said}{signs}")
    lines += [f"note: {note}" for note in notes]
    if told.not_judged:
        lines.append(f"not judged, for nothing was given that shows it: {', '.join(told.not_judged)}")
    return "".join(f"{line}\n" for line in lines)
