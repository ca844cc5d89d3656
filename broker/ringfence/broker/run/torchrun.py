"""What a torchrun command line says of how its nodes find each other, and what of it contradicts one pinned store.

torch/distributed/run.py: each option may be given by PET_NAME too, with `-` or `_` in it, and by an unambiguous
beginning of its name (argparse).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import PurePath
from types import MappingProxyType

from ringfence.broker.run.ports import LOOPBACK
from ringfence.certs.errors import Kind, RingfenceError

_MODULES = frozenset({"torch.distributed.run", "torch.distributed.launch"})
_FLAGS = frozenset({"standalone", "module", "no_python", "run_path", "use_env", "help"})
_VALUES = frozenset(
    {
        *("nnodes", "nproc_per_node", "rdzv_backend", "rdzv_endpoint", "rdzv_id", "rdzv_conf", "node_rank"),
        *("master_addr", "master_port", "local_addr", "max_restarts", "monitor_interval", "start_method", "role"),
        *("log_dir", "redirects", "tee", "local_ranks_filter", "logs_specs", "event_log_handler", "numa_binding"),
        "signals_to_handle",
    }
)
_PYTHONS_VALUES = frozenset({"-W", "-X", "--check-hash-based-pycs"})
STATIC = "static"
NOTHING: Mapping[str, str] = MappingProxyType({})


def options_of(command: Sequence[str], inherited: Mapping[str, str] = NOTHING) -> dict[str, str] | None:
    """What torchrun is told on its command line, by its own names for it; None for another command.

    Of what it *inherited*, only what nobody sets anew is told.
    """
    arguments = _arguments(command)
    if arguments is None:
        return None
    nodes = inherited.get("PET_NNODES")
    return ({"nnodes": nodes} if nodes else {}) | dict(_read(arguments))


def check(options: Mapping[str, str], rank: int, port: int) -> None:
    """Refuse what would have the nodes meet elsewhere than at *port* of loopback; raises INVALID with the reason."""
    if "standalone" in options:
        why = "its store is on a port of its own choice, for everybody"
        raise _contradiction("--standalone", why, "Leave it out: one node is the default")
    if (backend := options.get("rdzv_backend", STATIC)) != STATIC:
        why = f"the {backend} backend unpickles what it reads from its store, and gives workers a port at random"
        raise _contradiction(f"--rdzv-backend {backend}", why, "Leave it out: the static backend is set")
    least, colon, most = options.get("nnodes", "1").partition(":")
    if colon and least != most:
        what = f"--nnodes {options['nnodes']}"
        raise _contradiction(what, "a static rendezvous has a fixed number of nodes", f"Write --nnodes {most}")
    pinned = {
        "rdzv_endpoint": f"{LOOPBACK}:{port}",
        "master_addr": LOOPBACK,
        "master_port": str(port),
        "node_rank": str(rank),
    }
    for name, wanted in pinned.items():
        if (found := options.get(name, wanted)) != wanted:
            flag = f"--{name.replace('_', '-')}"
            raise _contradiction(f"{flag} {found}", f"here it is {wanted}", f"Leave {flag} out: it is set")


def _arguments(command: Sequence[str]) -> Sequence[str] | None:
    """What follows torchrun, also where Python runs it as a module."""
    program, *rest = command
    name = PurePath(program).name
    if name == "torchrun":
        return rest
    if not name.startswith("python"):
        return None
    while rest:
        first, *rest = rest
        if first.startswith("-m"):
            module, *rest = [first[2:], *rest] if len(first) > 2 else rest or [""]  # noqa: PLR2004  # -mMODULE
            return rest if module in _MODULES else None
        if not first.startswith("-") or first in {"-", "-c"}:
            return None
        if first in _PYTHONS_VALUES:
            rest = rest[1:]
    return None


def _read(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Options up to the script; one that is not known is taken to have a value, so that nothing known is missed."""
    left = list(arguments)
    while left and left[0].startswith("-") and left[0] != "--":
        text, equals, value = left.pop(0).partition("=")
        name = _whole(text.lstrip("-").replace("-", "_")) if text.startswith("--") else text
        if not equals and name not in _FLAGS and name != "-m" and left:
            value = left.pop(0)
        yield name, value


def _whole(name: str) -> str:
    """The option that *name* is, or is the beginning of."""
    known = _FLAGS | _VALUES
    begun = [one for one in known if one.startswith(name)]
    return begun[0] if name not in known and len(begun) == 1 else name


def _contradiction(what: str, why: str, hint: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, f"torchrun is told {what}, but {why}", hint=hint)
