"""Child processes that a test controls: each reads commands on stdin and answers on stdout."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

# Connects when told to; every line it prints is one answer of the agent.
FETCHER = """
import sys, grpc
socket, method = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "FetchX509SVID"
from ringfence.proto import workload
options = (("grpc.use_local_subchannel_pool", 1),)
channel = grpc.insecure_channel("unix:" + socket, options=options)
call = channel.unary_stream("/SpiffeWorkloadAPI/FetchX509SVID")(b"", metadata=(workload.SECURITY_HEADER,), timeout=60)
try:
    for data in call:
        ids = [svid.spiffe_id for svid in workload.X509SVIDResponse.FromString(data).svids]
        print(" ".join(ids), flush=True)
    print("OK", flush=True)
except grpc.RpcError as error:
    print(error.code().name, flush=True)
"""

# A launcher: vouches for its tree, then starts what it is told, setsid and double fork included.
LAUNCHER = """
import ctypes, os, subprocess, sys
import grpc
from ringfence.admin.v1 import admin_pb2
ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER
admin, namespace, name = sys.argv[1:4]
channel = grpc.insecure_channel("unix:" + admin)
rank = int(sys.argv[5]) if sys.argv[5:] else None
request = admin_pb2.LaunchRequest(namespace=namespace, name=name, rank=rank).SerializeToString()
call = channel.unary_stream("/ringfence.admin.v1.Launcher/Launch")(request, timeout=60)
try:
    next(call)
except grpc.RpcError as error:
    print(error.code().name, error.details(), flush=True)
    sys.exit()
print("accepted", flush=True)
program = sys.stdin.readline().strip()
fork = "\\nif os.fork(): os._exit(0)\\n"
detach = f"import os, sys{fork}os.setsid(){fork}os.execv(sys.argv[1], sys.argv[1:])"
subprocess.run([sys.executable, "-c", detach, sys.executable, "-c", open(program).read(), sys.argv[4]])
sys.stdin.read()
"""


class Child:
    """A running child."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def line(self) -> str:
        """Its next answer, empty at its end."""
        assert self.process.stdout is not None
        return (await self.process.stdout.readline()).decode().strip()

    def say(self, text: str) -> None:
        """A line to its stdin."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{text}\n".encode())

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()


@asynccontextmanager
async def child(code: str, *arguments: str, prefix: Sequence[str] = ()) -> AsyncIterator[Child]:
    """A Python that runs *code*, killed at the end."""
    command = [*prefix, sys.executable, "-c", code, *arguments]
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdin=pipe, stdout=pipe)
    try:
        yield Child(process)
    finally:
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        # The pipe ends when the last process of the tree has closed it.
        await process.communicate()
