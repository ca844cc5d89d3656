"""A real Slurm on loopback: munged, slurmctld, and a slurmd a node, with cgroup v2 as its jobs are told apart by.

Slurm refuses a machine on which controllers of cgroup v1 are mounted beside v2, though it needs none of them to follow
processes. There, a library of a few lines hides the lines of v1 from slurmd when it reads /proc/self/cgroup. The jobs'
cgroups, and what /proc/PID/cgroup says of their processes, are the kernel's own either way.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

from tests import parts
from tests.e2e.plane import until
from tests.e2e.users import open_to_all
from tests.ports import free_port

CLUSTER = "hpc"
_ONLY_V2 = r"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <stdarg.h>
    #include <stdio.h>
    #include <string.h>
    #include <sys/mman.h>
    #include <unistd.h>
    static int of_v2(int fd) {
      char line[4096];
      FILE *all = fdopen(fd, "r");
      int kept = memfd_create("cgroup", MFD_CLOEXEC);
      while (all && fgets(line, sizeof line, all))
        if (!strncmp(line, "0::", 3) && write(kept, line, strlen(line)) < 0) break;
      if (all) fclose(all);
      lseek(kept, 0, SEEK_SET);
      return kept;
    }
    static int opened(const char *name, const char *path, int flags, mode_t mode) {
      int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, name);
      int fd = real(path, flags, mode);
      return fd >= 0 && !strcmp(path, "/proc/self/cgroup") ? of_v2(fd) : fd;
    }
    int open(const char *path, int flags, ...) {
      va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
      return opened("open", path, flags, mode);
    }
    int open64(const char *path, int flags, ...) {
      va_list more; va_start(more, flags); mode_t mode = va_arg(more, int); va_end(more);
      return opened("open64", path, flags, mode);
    }
"""
_SLURMD = """\
    #!/bin/sh
    set -e
    mount --make-rprivate /
    [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || mount -t cgroup2 none /sys/fs/cgroup
    mkdir -p /sys/fs/cgroup/system.slice
    LD_PRELOAD={only_v2} exec slurmd -D -N {node} -f {conf}
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a machine of the cluster is: its address, and what to put before a command for it to run there."""

    address: str = "127.0.0.1"
    within: tuple[str, ...] = ()


class Slurm:
    """One cluster in *folder*: nodes by name, and slurmctld; *settings* are further lines of slurm.conf."""

    def __init__(
        self, folder: Path, exits: ExitStack, nodes: Mapping[str, Place], settings: str, control: Place = Place()
    ) -> None:
        parts.root()
        for program, package in (("slurmctld", "slurmctld"), ("slurmd", "slurmd"), ("munged", "munge")):
            parts.program(program, package)
        self.folder, self._exits, self._places, self._control = folder, exits, nodes, control
        self.nodes = tuple(nodes)
        for name in ("munge", "state", *(f"spool-{node}" for node in nodes)):
            (folder / name).mkdir()
        self.conf = folder / "slurm.conf"
        self.conf.write_text(self._conf(settings))
        mount = "/sys/fs/cgroup"
        text = f"CgroupPlugin=cgroup/v2\nCgroupMountpoint={mount}\nIgnoreSystemd=yes\n"
        (folder / "cgroup.conf").write_text(text)
        self.environment = {**os.environ, "SLURM_CONF": str(self.conf)}

    def _conf(self, settings: str) -> str:
        lines = [
            f"ClusterName={CLUSTER}",
            f"SlurmctldHost=localhost({self._control.address})",
            f"SlurmctldPort={free_port()}",
            "SlurmUser=root",
            "AuthType=auth/munge",
            f"AuthInfo=socket={self.folder}/munge/socket",
            "MpiDefault=none",
            "ProctrackType=proctrack/cgroup",
            "TaskPlugin=task/none",
            "SelectType=select/cons_tres",
            "SelectTypeParameters=CR_CPU",
            f"StateSaveLocation={self.folder}/state",
            f"SlurmdSpoolDir={self.folder}/spool-%n",
            f"SlurmctldPidFile={self.folder}/slurmctld.pid",
            f"SlurmdPidFile={self.folder}/slurmd-%n.pid",
            f"SlurmctldLogFile={self.folder}/slurmctld.log",
            f"SlurmdLogFile={self.folder}/slurmd-%n.log",
            "SlurmdParameters=config_overrides",
            "ReturnToService=2",
            "KillWait=5",
            "SchedulerParameters=sched_interval=1,requeue_delay=0",
            "PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP",
        ]
        host = os.uname().nodename
        lines += [
            f"NodeName={node} NodeHostname={host} NodeAddr={place.address} Port={free_port()} CPUs=8 State=UNKNOWN"
            for node, place in self._places.items()
        ]
        return "\n".join([*lines, settings, ""])

    def start(self) -> None:
        """All of its daemons, until every node is idle."""
        self._exits.callback(self._end)
        munge = self.folder / "munge"
        (munge / "key").write_bytes(secrets.token_bytes(128))
        (munge / "key").chmod(0o600)
        files = (f"--key-file={munge}/key", f"--socket={munge}/socket", f"--pid-file={munge}/pid")
        more = (f"--log-file={munge}/log", f"--seed-file={munge}/seed", "--force", "--foreground")
        self._daemon("munged", "munged", *files, *more)
        until((munge / "socket").exists, "munged")
        self._daemon("slurmctld", *self._control.within, "slurmctld", "-D", "-i", "-f", str(self.conf))
        only_v2 = self._only_v2()
        for node in self.nodes:
            script = self.folder / f"slurmd-{node}"
            script.write_text(dedent(_SLURMD).format(only_v2=only_v2, node=node, conf=self.conf))
            script.chmod(0o755)
            self._daemon(node, *self._places[node].within, *open_to_all(), "unshare", "--mount", str(script))
        until(lambda: self.run("sinfo", "-h", "-o", "%T").split() == ["idle"], "nodes that are idle", 60)
        self._exits.callback(self._cancel)

    def run(self, *command: str) -> str:
        """What a command of Slurm's prints, whatever it ends with."""
        whole = [*self._control.within, *command]
        done = subprocess.run(whole, env=self.environment, capture_output=True, text=True, check=False, cwd="/")
        return done.stdout + done.stderr

    def as_user(self, uid: int, gid: int, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """The same of a user, who submits by it."""
        become = ("setpriv", "--reuid", str(uid), "--regid", str(gid), "--clear-groups")
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        variables = {**self.environment, "PATH": path, **environment}
        return subprocess.run(
            [*self._control.within, *become, *command],
            env=variables,
            capture_output=True,
            text=True,
            check=False,
            cwd="/",
            timeout=60,
        )

    def _only_v2(self) -> str:
        """The library that hides v1, where there is any to hide."""
        if all(line.startswith("0::") for line in Path("/proc/self/cgroup").read_text().splitlines()):
            return ""
        source, made = self.folder / "only_v2.c", self.folder / "only_v2.so"
        source.write_text(dedent(_ONLY_V2))
        subprocess.run([parts.program("gcc", "gcc"), "-shared", "-fPIC", "-o", made, source, "-ldl"], check=True)
        return str(made)

    def _daemon(self, name: str, *command: str) -> None:
        with (self.folder / f"{name}.out").open("ab") as out:
            process = subprocess.Popen(
                command, env=self.environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd="/"
            )
        self._exits.callback(_stop, process)

    def _cancel(self) -> None:
        """Every job, before those end that end its processes."""
        self.run("scancel", *self.run("squeue", "-h", "-o", "%A").split())
        until(lambda: not self.run("squeue", "-h").strip(), "the last job to end", 60)

    def _end(self) -> None:
        """Cgroups of the nodes, with what may be left in them; all the daemons have ended by now."""
        scopes = [_cgroups() / "system.slice" / f"{node}_slurmstepd.scope" for node in self.nodes]
        for scope in (scope for scope in scopes if scope.is_dir()):
            (scope / "cgroup.kill").write_text("1")
            until(lambda: "populated 0" in (scope / "cgroup.events").read_text(), f"the end of {scope}")  # noqa: B023
            for folder in sorted((path for path in scope.rglob("*") if path.is_dir()), reverse=True):
                folder.rmdir()
            scope.rmdir()
        with suppress(OSError):  # systemd's own, where there is one; else made for this
            (_cgroups() / "system.slice").rmdir()


def _cgroups() -> Path:
    unified = Path("/sys/fs/cgroup/unified")
    return unified if unified.is_dir() else Path("/sys/fs/cgroup")


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
