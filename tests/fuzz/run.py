"""Fuzzes every reader, guided by coverage: `python -m tests.fuzz.run SECONDS [TARGET...]`; see `make fuzz`."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["ringfence"]):
    from tests.fuzz.targets import TARGETS, Target

CORPUS = Path(".fuzz")  # what was found to lead somewhere, kept for the next run; ignored by git
MEMORY = 1024  # MiB
SLOWEST = 10  # seconds for one input, on a machine that is busy


def main(seconds: str = "60", *names: str) -> int:
    """Share *seconds* between the targets, each in a process of its own: libFuzzer ends the one that it runs in."""
    wanted = {name: TARGETS[name] for name in names or TARGETS}
    each = max(1, int(seconds) // len(wanted))
    failed = [name for name, target in wanted.items() if not _fuzzed(name, target, each)]
    print(f"{len(wanted)} targets, {each} s each; broken: {', '.join(failed) or 'none'}")  # noqa: T201  # for people
    return 1 if failed else 0


def _fuzzed(name: str, target: Target, seconds: int) -> bool:
    """Whether nothing was found; what was stays in CORPUS as `NAME.crash-...`."""
    corpus = CORPUS / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(target.seeds):
        (corpus / f"seed-{number}").write_bytes(seed)
    limits = (f"-max_total_time={seconds}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY}", "-max_len=8192")
    child = os.fork()
    if not child:
        quiet = ("-verbosity=0", "-print_final_stats=0", f"-artifact_prefix={corpus}.")
        atheris.Setup([name, *limits, *quiet, str(corpus)], target.try_)
        atheris.Fuzz()
    return os.waitpid(child, 0)[1] == 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
