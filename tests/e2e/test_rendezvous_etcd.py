"""The profile for etcd on the page about rendezvous, with a real etcd: a job finds its peers, and does no more."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from textwrap import dedent

import pytest

from tests import parts
from tests.docs.test_rendezvous import PROFILES
from tests.e2e.stack import RINGFENCE, Stack, running_stack
from tests.ports import free_port

pytestmark = [pytest.mark.e2e, pytest.mark.envoy, pytest.mark.slow, pytest.mark.xdist_group("rendezvous-etcd")]

# Requests of etcdserverpb by their fields: 1 is the key, 2 the value, both bytes. Each call's answer, or its code.
_CLIENT = r"""
    import grpc, json, os
    channel = grpc.insecure_channel(os.environ["RINGFENCE_UPSTREAM_ETCD_CLIENT"])
    def call(method, request):
        try:
            return repr(channel.unary_unary(f"/etcdserverpb.{method}")(request, timeout=30, wait_for_ready=True))
        except grpc.RpcError as error:
            return error.code().name
    put = call("KV/Put", b"\x0a\x04rank\x12\x04here")
    found = call("KV/Range", b"\x0a\x04rank")
    print(json.dumps([put, found, call("Cluster/MemberList", b""), call("Auth/AuthStatus", b"")]))
"""


def run(stack: Stack, name: str, *flags: str) -> list[str]:
    """`ringfence run` of a workload of the profile, up to its command."""
    own = ("--name", name, "--namespace", "team-a", "--socket", str(stack.socket))
    return [*RINGFENCE, "run", *own, *flags, "--"]


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """With a real etcd behind its proxy."""
    port, program = free_port(), parts.built("etcd")
    (profile,) = (text for text in PROFILES if "etcdserverpb" in text)
    text = profile.replace("port: 2379", f"port: {port}").replace("unix.uid: 1000", f"unix.uid: {os.getuid()}")
    intent = f"kind: Mesh\nspec: {{trustDomain: example.org}}\n---\n{text}"
    with TemporaryDirectory(prefix="rf") as folder, running_stack(Path(folder), intent) as made:
        url, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{free_port()}"
        etcd = [program, "--data-dir", f"{folder}/etcd", "--listen-client-urls", url, "--advertise-client-urls", url]
        etcd += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        made.start([*run(made, "etcd"), *etcd, "--initial-cluster", f"default={peer}"], Path(folder) / "etcd.log")
        yield made


def test_a_job_registers_and_finds_and_is_no_operator(stack: Stack) -> None:
    """Keys are what the rule opens; members and users of etcd are not."""
    done = subprocess.run(
        [*run(stack, "trainer", "--rank", "0"), sys.executable, "-c", dedent(_CLIENT)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    put, found, members, auth = answers = json.loads(done.stdout)
    assert "here" in found, answers
    assert not put.isupper()
    assert [members, auth] == ["PERMISSION_DENIED"] * 2
    stack.decision(rule="default-deny", source="spiffe://example.org/ns/team-a/job/llama/rank/0", method="POST")
