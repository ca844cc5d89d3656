"""`ringfence svid write`: the identity as files, once or kept up to date."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.cli.output import output_option, show_list
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from ringfence.broker.svidfiles.writer import Job


class _Mode(click.ParamType[int]):
    """An octal file mode."""

    name = "mode"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """0640 or 640 as 0o640."""
        try:
            return value if isinstance(value, int) else int(str(value), 8)
        except ValueError:
            self.fail(f"{value!r} is no octal mode; write 0640", param, ctx)


@click.command()
@click.option(
    "--socket",
    required=True,
    envvar=["RINGFENCE_SOCKET", "SPIFFE_ENDPOINT_SOCKET"],
    help="The agent's socket: a path, or unix:///PATH.",
)
@click.option(
    "--dir", "folder", required=True, type=click.Path(file_okay=False, path_type=Path), help="Folder for the files."
)
@click.option("--daemon", is_flag=True, help="Stay, and renew the files until SIGTERM.")
@click.option("--timeout", default=35.0, show_default=True, help="Seconds to wait, without --daemon.")
@click.option("--cert-file", default="svid.pem", show_default=True, help="Certificate chain, leaf first; '' for none.")
@click.option("--key-file", default="key.pem", show_default=True, help="Private key (PKCS #8); '' for none.")
@click.option("--bundle-file", default="bundle.pem", show_default=True, help="Whom to trust; '' for none.")
@click.option("--combined-file", default="", help="Certificate chain and key in one.")
@click.option("--bundle-map-file", default="", help="All bundles in one SPIFFE bundle map, JSON, for gRPC and Envoy.")
@click.option("--jwt", multiple=True, metavar="AUDIENCE=FILE", help="A JWT-SVID; may be repeated.")
@click.option("--federated", multiple=True, metavar="DOMAIN=FILE", help="Another trust domain's bundle; repeatable.")
@click.option("--join-federated", is_flag=True, help="Put every federated bundle into --bundle-file too.")
@click.option("--spiffe-id", default="", help="Which identity; default: the agent's first.")
@click.option("--hint", default="", help="The same by the entry's hint.")
@click.option("--key-mode", type=_Mode(), default="0600", show_default=True, help="Of key, combined and JWT files.")
@click.option("--cert-mode", type=_Mode(), default="0644", show_default=True, help="Of the other files.")
@click.option("--owner", default="", help="User that owns the files (needs root).")
@click.option("--group", default="", help="Group that owns the files.")
@click.option("--exec", "command", default="", metavar="CMD", help="Run after each renewal, without a shell.")
@click.option("--exec-timeout", default=60.0, show_default=True, help="Seconds that CMD may take.")
@click.option("--signal", type=str, default="", metavar="NAME", help="Send after each renewal, such as HUP.")
@click.option("--pid-file", type=click.Path(dir_okay=False, path_type=Path), help="Who gets it: the PID on line 1.")
@click.option("--process", default="", metavar="NAME", help="Who gets it: the topmost process of that name.")
@output_option
def write(*, daemon: bool, timeout: float, output: str, **options: Any) -> None:
    """Write this process's SVIDs, keys and bundles to files that change all at once."""
    # Read once, when grpc is imported: its fork handlers crash a child that is forked while a call is open.
    os.environ["GRPC_ENABLE_FORK_SUPPORT"] = "0"
    job = _job(options)
    if daemon:
        from ringfence.broker.svidfiles.writer import keep_writing

        keep_writing(job)
        return
    import asyncio

    from ringfence.broker.svidfiles.writer import write_once

    files = asyncio.run(write_once(job, patience=timeout))
    rows = [
        {"file": name, "mode": f"{content.mode:04o}", "path": str(job.folder / name)}
        for name, content in sorted(files.items())
    ]
    show_list("SvidFile", rows, columns=("path", "mode"), output=output, name="path")


def _job(options: dict[str, Any]) -> Job:
    from ringfence.broker.svidfiles.notify import SIGNALS, Hook
    from ringfence.broker.svidfiles.wanted import Access, Wanted, pairs
    from ringfence.broker.svidfiles.writer import Job

    name = options["signal"].upper().removeprefix("SIG")
    if name and name not in SIGNALS:
        raise click.BadParameter(f"one of {', '.join(SIGNALS)}", param_hint="--signal")
    uid = _number(options["owner"], flag="--owner")
    return Job(
        options["socket"],
        options["folder"].absolute(),
        Wanted(
            cert=options["cert_file"],
            key=options["key_file"],
            bundle=options["bundle_file"],
            combined=options["combined_file"],
            bundle_map=options["bundle_map_file"],
            jwt=pairs(options["jwt"], flag="--jwt"),
            federated=pairs(options["federated"], flag="--federated"),
            join_federated=options["join_federated"],
            spiffe_id=options["spiffe_id"],
            hint=options["hint"],
        ),
        Access(options["key_mode"], options["cert_mode"], uid, _number(options["group"], flag="--group")),
        Hook(
            command=_words(options["command"]),
            signal=name,
            pid_file=options["pid_file"],
            process=options["process"],
            uid=uid,
            patience=options["exec_timeout"],
        ),
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        return tuple(shlex.split(command))
    except ValueError as error:
        raise click.BadParameter(f"{error}", param_hint="--exec") from error


def _number(name: str, *, flag: str) -> int:
    """The number of a user or group that is named or numbered; -1 for none."""
    if not name or name.isdigit():
        return int(name or -1)
    import grp
    import pwd

    try:
        return pwd.getpwnam(name).pw_uid if flag == "--owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise RingfenceError(Kind.INVALID, f"there is no {name}", where=flag, hint="Name one of this machine") from None
