"""Makes the pages that come from the code: the command line, the finding codes, the figures, the standards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import click

DOCS = Path(__file__).parent
RESULTS = DOCS.parent / "perf" / "results" / "latest.json"
MADE = "<!-- Made by `make docs`; edit the code instead. -->\n"

EXIT_CODES = """
| code | meaning |
|---|---|
| 0 | done, or the answer is yes |
| 1 | the operation failed |
| 2 | bad usage |
| 3 | the answer is no: denied, a check failed, findings |
| 4 | invalid input: a document or value that does not parse or validate |
| 5 | not authenticated or not authorised |
| 6 | timed out waiting |
| 130 | interrupted |
"""

CONVENTIONS = """\
`ringfence run` ends with the exit code of its command, 127 when there is no such command.

Data goes to stdout, everything else to stderr. A failure is one line: what failed, on what (`file:line` or address),
and the next step; `RINGFENCE_DEBUG=1` adds the traceback of one that nobody foresaw. Lists are
`{"apiVersion", "kind": "...List", "items": [...]}` in JSON and YAML; tables name a workload NAMESPACE/NAME where its
SPIFFE ID says no more.

A flag wins over the environment, the environment over the file, the file over the default.

- Environment: the variable that the option's help names, else `RINGFENCE_NOUN_VERB_OPTION`, such as
  `RINGFENCE_ENTRY_LIST_OUTPUT`.
- File: `--config FILE` or `RINGFENCE_CONFIG`, TOML, options spelled without the dashes in front. The top of the file is
  for the command that reads it; a table `[server]` for all commands of a noun, `[entry.create]` for one. A setting that
  no such command has is an error with its line.
"""


def _commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield " ".join(path), command
        return
    if command.invoke_without_command:
        yield " ".join(path), command
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        if found is not None:
            yield from _commands(found, (*path, name))


def cli_page() -> str:
    """Every command with its own `--help`."""
    from ringfence.broker.cli.main import cli

    parts = [MADE, "# The command line\n", "Exit codes, the same over all commands:\n", EXIT_CODES.strip(), ""]
    parts.append(CONVENTIONS)
    for name, command in _commands(cli):
        context = click.Context(command, info_name=f"ringfence {name}", max_content_width=100, terminal_width=100)
        parts.append(f"## ringfence {name}\n\n```\n{command.get_help(context)}\n```\n")
    return "\n".join(parts)


FINDINGS = """\
`ringfence policy validate` and `apply` tell errors, which keep the whole set from being used, and warnings, which
refuse nothing. `ringfence policy check` tells infos too: risks that are permitted, so that nobody has to search for
them. It prints text, `-o json`, `jsonl`, SARIF 2.1.0 (`sarif`, for code scanning) or JUnit's XML (`junit`, for CI), and
ends with 3 from the level that `--fail-on` names.
"""

THREATS_HEAD = """\
A finding that is a sign of one names it: in the text behind the finding, in JSON as `threats`, in SARIF as tags of the
rule. `ringfence fabric check` and [`ringfence fabric doctor`](fabric-doctor.md) have codes of their own for the same
threats: [fabric-check.md](fabric-check.md). The ids are those of MITRE ATLAS 5.6 and ATT&CK, and of OWASP's Machine
Learning Security Top 10 of 2023.
"""


def findings_page() -> str:
    """Every code that `policy validate` and `policy check` may print, with level, cause and fix."""
    from ringfence.policy.codes import CODES

    rows = [
        f"| {code} | {entry.level} | {entry.cause} | {entry.fix} | {entry.threat} |"
        for code, entry in sorted(CODES.items())
    ]
    head = ["| code | level | cause | fix | threat |", "|---|---|---|---|---|"]
    return "\n".join([MADE, "# Findings in intent documents\n", FINDINGS, *head, *rows, "", *_threats(), ""])


def _threats() -> Iterator[str]:
    """What a finding names as its threat, by our id and those of MITRE and OWASP."""
    from ringfence.policy.threats import THREATS

    yield "## Threats\n"
    yield THREATS_HEAD
    yield "| threat | what happens | what keeps it out | ATLAS | ATT&CK | OWASP |"
    yield "|---|---|---|---|---|---|"
    for one in THREATS.values():
        ids = (" ".join(ids) for ids in (one.atlas, one.attack, one.owasp))
        yield f"| {one.id} | {one.what} | {one.control} | {' | '.join(ids)} |"


def performance_page() -> str:
    """The figures of the last `make bench`, missed goals included."""
    report: dict[str, Any] = json.loads(RESULTS.read_text())
    rows = [_figure_row(figure) for figure in report["figures"]]
    head = (
        f"Python {report['python']}, {report['cpus']} CPUs, commit `{report['commit'][:12]}`. Machines differ and\n"
        "this one is shared: read the ratios to limits measured in the same run, not the absolute figures.\n"
    )
    table = ["| figure | what | value | min / max | limit | ratio | goal | met |", "|---|---|---|---|---|---|---|---|"]
    return "\n".join([MADE, "# Performance\n", head, *table, *rows, "", NOTES.strip(), ""])


NOTES = """
`make bench` measures every figure, `make bench ONLY=name` one; each is a module of that name in `perf/`. In
`perf/results/latest.json`, `value` is a median unless the name says otherwise, `ratio` is ours over the limit's (the
limit's over ours where more is better).

`fetch_rate_fresh`: of the agent's time for a new connection and its first SVID, a third goes to attesting the process
(reading its files in /proc, asking the attestors, watching its pidfd), a quarter to the event loop and the kernel
beneath it, a fifth to writing, a tenth to reading the request. The garbage collector has nothing to do: a connection
and its calls are let go by reference when they end, without which it was another third on top.

`create_10000`: a third of the CPU is the command's: its start, and judging each entry with the line that it stands in.
Of the server's, half is writing the rows, a third reading them back by the change feed, which is the only way into
memory, and the rest judging each once more.

`streams_10000`: of the agent's time for a change, two fifths are what the bare server has too: a write a connection,
and reading that the client has acknowledged it. A seventh is the look whether the process is still the one that was
attested (a poll and two stats), which is made before every write to it and stays; another seventh finds what each
stream is to be shown and hands it on, an eighth marks all streams first, so that none shows what is gone. No task
wakes. Before the first byte the server has recorded the bundle on its disk and told the agent, which the bare server
does not have to.

`allreduce_bw` and `allreduce_p50`: the two nodes are namespaces of one machine, whose wire is memory and whose cores
both ranks, both filters and everything else share. There each packet pays 0.55 us at each of its ends, a quarter of it
for having hooks of netfilter at all; an all-reduce of 64 KiB is some thirty packets of 230 us. The same connection is
measured with the filter and without by turns, and on a busy machine still says little: read them beside what a proxy
costs.

`job_start`: two starts of `ringfence run` at once. Most of it is the CPU of starting Python and Envoy, each on a core.

`idle_cost`: of what the server holds at the end, 75 MiB are the program and its libraries, and 25 the entries and what
loading them left.

`issue_batch`: of a server's CPU more than half is the library's arithmetic, and 1.8x of the limit by itself: a
request's proof is verified, a certificate is signed, and its signature is verified once more before anyone gets it,
which stays. Every step is taken for a part of the batch before the next one is, because Python and the arithmetic push
each other out of a core's caches: certificate by certificate the same work takes a quarter more. A fifth is the store's
thread, mostly the pages that fifty rows change at random places of the ledger's indexes, and the audit log, each on
disk before the next step. The rest is Python, of which reading a request takes 0.15x of the limit, drafting as much,
laying a certificate out 0.07x and comparing what was signed 0.17x; TLS and messages come on top. 2.2x would leave 0.4x
for all that is not arithmetic. With `PEERS=1` SPIRE's server is measured while its agent renews 500 SVIDs; its own
counter says how many it signed.

`issue_scale` asks signers ([`--signers`](keys.md)) from one process that also compares what comes back: a fifth of a
signer's time for each SVID, half of it the comparison, a quarter reading the key that was proven. On two cores it
shares them with the signers, so that the second one brings less than a second idle core would, and the less the faster
a signer is; the limit, two processes that only compute, shows how idle the cores were. A whole server adds its own
recording on one more core, which two cores do not have.

`compile_cold` and `compile_one` are CPU, of a mesh that is in memory: reading 7,000 documents of YAML, which remembers
the line of every value, is 2 ms each before that. A sixth of compiling is finding what each workload depends on, a
fifth making messages of plain values; the rest is spread over the Python that puts them together. What proxies are sent
alike is made once and kept for the next ones, a bounded number; every run of `compile_cold` starts without. Of one
changed rule, a third is compiling what it touches, and another third looking for what differs between two models that
share everything else. That the new model shares is the work of the thread that reads documents: 15 ms for this mesh,
which is not counted.

`filters_p50` is of rules and log. `rbac_flat` has the same 10,000 rules beside it as Istio writes them, a list of
policies that Envoy asks one after the other.

`ads_cpu_push`, `ads_last_ack`, `ads_distinct` and `ads_rss_stream` need `make parts`, for a client in Go; with
`PEERS=1` a go-control-plane is up beside ours and takes turns with it. Of our server's time for a push and its ACK a
sixth goes to judging whom the change touches, a fifth to a stream's snapshot, its state and its response, an eighth to
the ACK, all of it Python for each stream; a quarter to HTTP/2, and a quarter to TLS and the kernel, which is two writes
and a read: grpc-go asks for a PING's answer with each ACK. go-control-plane has the kernel's part too, and little else.
Other bytes for each stream (`ads_distinct`) add making, hashing and framing them, a third more.
`ads_rss_stream` is taken after both were asked to give freed memory back.

`change_storm`: a change that touches a hundred proxies is one or two milliseconds of CPU to judge, and half a one for
each of them to compile, send and be told of; a proxy that is not compiled when the next change comes gets only that.
`reconnect_5000`: a new server begins TLS handshakes in order, 64 at once, and lets streams in at 1,000 a second. A
third of its time for each is the handshake's arithmetic, the rest reading who it is, its node of 55 KB and what it
holds; the client that shares the two cores takes as long.

`apply_to_enforced_50`: of the 20 ms of CPU that the server spends until the last proxy denies, a tenth is compiling for
fifty proxies, since what rules do not change is kept for a proxy's next snapshot, and a third the kernel's part of a
hundred writes: a push, and an answer to what each Envoy says next. The rest of the time is fifty Envoys that take the
policy and a client that asks them all, on the same two cores, which the limit has as well.
"""


def _figure_row(figure: dict[str, Any]) -> str:
    limit = figure["limit"]
    limit_text = f"{limit['what']}: {limit['value']:.4g}" if limit else "-"
    ratio = f"{figure['ratio']:.2f}x" if figure["ratio"] is not None else "-"
    runs = figure["runs"]
    span = f"{min(runs):.4g} / {max(runs):.4g}" if runs else "-"
    met = "yes" if figure["met"] else "**no**"
    cells = (figure["name"], figure["what"], f"{figure['value']:.4g} {figure['unit']}", span, limit_text, ratio)
    return "| " + " | ".join((f"`{cells[0]}`", *cells[1:], str(figure["goal"]), met)) + " |"


def conformance_page() -> str:
    """The lines of the standards, with the tests that hold them and how these last ended."""
    from docs.conformance import page

    return page(MADE)


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": cli_page,
    "conformance.md": conformance_page,
    "findings.md": findings_page,
    "performance.md": performance_page,
}


def stale_pages() -> list[str]:
    """The pages that are not what the code makes now."""
    return [name for name, make in PAGES.items() if not (DOCS / name).exists() or (DOCS / name).read_text() != make()]


if __name__ == "__main__":
    for page in stale_pages():
        (DOCS / page).write_text(PAGES[page]())
        print(f"docs/{page}")
