"""How the demo begins and ends: whatever happens the stage is cleared, unless `up` left it standing for `down`."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from time import monotonic, sleep

from rich.console import Console

from ringfence.broker.demo.stage import Stage
from ringfence.broker.demo.told import Told
from ringfence.certs.errors import Kind, RingfenceError

END_WITHIN = 15.0


def run_demo(scenario: str, json_file: Path | None) -> int:
    """A scenario from start to end; SIGTERM ends it like Ctrl-C, with everything cleared."""

    async def main() -> int:
        task = asyncio.current_task()
        if task is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        return await _player(scenario)(json_file, _console())

    if scenario == "training":
        from ringfence.broker.demo.training.rootless import enter

        enter(json_file)
    try:
        return asyncio.run(main())
    except (KeyboardInterrupt, asyncio.CancelledError):
        return 130
    except BaseExceptionGroup as group:
        raise _first(group) from None


def _player(scenario: str) -> Callable[[Path | None, Console], Awaitable[int]]:
    if scenario == "fraud":
        from ringfence.broker.demo.fraud.story import play_fraud

        return play_fraud
    if scenario == "training":
        from ringfence.broker.demo.training.story import play_training

        return play_training
    from ringfence.broker.demo.story import play_laptop

    return play_laptop


async def bring_up() -> None:
    """Set the stage and leave it; where it stands is noted for `down`."""
    note = _note()
    if note.exists():
        raise RingfenceError(
            Kind.CONFLICT, "a demo is up already", where=str(note), hint="End it with: ringfence demo down"
        )
    console = _console()
    stage = Stage(Path(tempfile.mkdtemp(prefix="ringfence-demo-")), Told(console).say, hold=True)
    try:
        await stage.set()
    except BaseException:
        await stage.clear()
        raise
    pids = {name: process.pid for name, process in stage.children.running.items()}
    note.parent.mkdir(parents=True, exist_ok=True)
    note.write_text(json.dumps({"root": str(stage.places.root), "pids": pids}))
    console.print(rf"""
The mesh is up. Try:
  export RINGFENCE_ADMIN_SOCKET={stage.places.admin} RINGFENCE_SOCKET={stage.places.socket()}
  ringfence proxy status
  ringfence authz check team-b/notebook shared/registry --method GET --path /models/team-a/x
  ringfence run --name notebook --namespace team-b -- \
    sh -c 'curl -si http://$RINGFENCE_UPSTREAM_REGISTRY_HTTP/models/team-a/base'
  ringfence authz explain ID     # of the header x-ringfence-decision above
  ringfence authz tail
  ringfence policy apply {stage.places.intent}
End it with: ringfence demo down""", markup=False, highlight=False)  # fmt: skip
    # The children live on; without this the interpreter would end them as it closes its pipes and transports.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def bring_down() -> None:
    """End the processes that `up` noted, by pid, and remove their folder."""
    note = _note()
    if not note.exists():
        raise RingfenceError(Kind.NOT_FOUND, "no demo is up", where=str(note))
    facts = json.loads(note.read_text())
    last = ("agent", "server")
    _end([pid for name, pid in facts["pids"].items() if name not in last])
    for name in last:
        _end([pid for other, pid in facts["pids"].items() if other == name])
    shutil.rmtree(facts["root"], ignore_errors=True)
    note.unlink()


def _end(pids: list[int]) -> None:
    for pid in pids:
        _signal(pid, signal.SIGTERM)
    until = monotonic() + END_WITHIN
    while any(_signal(pid, 0) for pid in pids) and monotonic() < until:
        sleep(0.05)
    for pid in pids:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    """Send a signal if *pid* is still a process of the demo and not somebody who got its number since."""
    try:
        if b"ringfence" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            return False
        os.kill(pid, number)
    except (FileNotFoundError, ProcessLookupError):
        return False
    return True


def _note() -> Path:
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "ringfence" / "demo.json"


def _console() -> Console:
    # A pipe has no width; the table needs one.
    return Console(width=None if sys.stdout.isatty() else 160, soft_wrap=False)


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first real failure inside a group, for a person to read."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
