"""Runs every figure, or the ones named, and writes perf/results/latest.json (schema: docs/performance.md)."""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "perf" / "results" / "latest.json"
FIGURES = (
    "encode_rbac_1000",
    "issue_x509",
    "issue_batch",
    "issue_scale",
    "fetch_x509_fresh",
    "fetch_rate_reused",
    "fetch_rate_fresh",
    "entry_to_svid",
    "entry_to_svid_servers",
    "delete_to_end",
    "late_entry",
    "burst_1000",
    "streams_10000",
    "idle_cost",
    "agent_restart_offline",
    "create_10000",
    "apply_to_403",
    "revoke_to_refusal",
    "revoke_to_cut",
    "push_1000",
    "pushes_per_affected",
    "ads_cpu_push",
    "ads_last_ack",
    "ads_distinct",
    "ads_rss_stream",
    "compile_cold",
    "compile_one",
    "rbac_flat",
    "filters_p50",
    "scoped_envoy",
    "change_storm",
    "reconnect_5000",
    "apply_to_enforced_50",
    "ready_server",
    "ready_agent",
    "rss_idle",
    "nft_members",
    "grant_to_member",
    "doctor_full",
    "allreduce_bw",
    "allreduce_p50",
    "job_start",
    "demo_training",
)


def _commit() -> str:
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S607
    return done.stdout.strip()


def _show(figure: dict[str, Any]) -> None:
    ratio = f"{figure['ratio']:.2f}x of {figure['limit']['what']}" if figure["ratio"] is not None else "no limit"
    verdict = "met" if figure["met"] else "MISSED"
    print(
        f"{figure['name']:<18} {figure['value']:>12.3f} {figure['unit']:<8} {ratio}; goal {figure['goal']}: {verdict}"
    )


def main(only: list[str]) -> None:
    """Measure, print a line a figure, and keep what was measured before for figures not asked for."""
    unknown = sorted(set(only) - set(FIGURES))
    if unknown:
        sys.exit(f"no figure is called {', '.join(unknown)}; there are: {', '.join(FIGURES)}")
    kept: dict[str, Any] = {}
    if only and RESULTS.exists():
        kept = {figure["name"]: figure for figure in json.loads(RESULTS.read_text())["figures"]}
    for name in only or FIGURES:
        figure = import_module(f"perf.{name}").measure()
        _show(figure)
        kept[name] = figure
        _write(kept)  # at once: a figure that cannot be measured loses no other


def _write(figures: dict[str, Any]) -> None:
    RESULTS.parent.mkdir(exist_ok=True)
    report = {
        "commit": _commit(),
        "python": platform.python_version(),
        "cpus": os.cpu_count(),
        "figures": [figures[name] for name in FIGURES if name in figures],
    }
    RESULTS.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main(sys.argv[1:])
