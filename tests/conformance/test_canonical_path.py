"""Paths as a real Envoy makes them canonical, held against our own reading of its rules."""

import itertools
import json
import random
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ringfence.policy.canonical import canonical_path
from tests import parts

PIECES = [
    *("/", "//", "a", "A", ".", "..", "...", "%2e", "%2E", "%2f", "%5C", "\\", "%61", "%7e", "%21", "%25", "%252f"),
    *("%", "%0", "%g1", "%01", "%7f", "%80", "~", "-", "_", "!", "$", "&", "'", "(", "*", "+", ",", ";", ":", "="),
    *("@", "|", "^", "[", "]", "{", "<", '"', "`", "?", "?x=/../y", ";", "/..;", ".;", "%3f", "%23", "#", "%00"),
]
HCM = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"


def bootstrap(folder: Path) -> dict[str, object]:
    """An Envoy that answers each request with the path that it saw, with the path options of our listeners."""
    route = {
        "match": {"prefix": "/"},
        "direct_response": {"status": 200},
        "response_headers_to_add": [{"header": {"key": "x-seen", "value": "%REQ(:PATH)%"}}],
    }
    manager = {
        "@type": HCM,
        "stat_prefix": "x",
        "delayed_close_timeout": "0s",
        "normalize_path": True,
        "merge_slashes": True,
        "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
        "route_config": {"virtual_hosts": [{"name": "x", "domains": ["*"], "routes": [route]}]},
    }
    listener = {
        "name": "x",
        "address": {"pipe": {"path": str(folder / "x.sock")}},
        "filter_chains": [{"filters": [{"name": "hcm", "typed_config": manager}]}],
    }
    return {"static_resources": {"listeners": [listener]}}


@pytest.fixture(scope="module")
def envoy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The socket of a running Envoy."""
    folder = tmp_path_factory.mktemp("e")
    (folder / "envoy.json").write_text(json.dumps(bootstrap(folder)))
    command = [parts.envoy(), "-c", folder / "envoy.json", "--concurrency", "1", "--disable-hot-restart", "-l", "error"]
    with subprocess.Popen(command) as process:
        try:
            while not listens(folder / "x.sock"):
                assert process.poll() is None
                with pytest.raises(subprocess.TimeoutExpired):
                    process.wait(0.01)
            yield folder / "x.sock"
        finally:
            process.terminate()


def listens(path: Path) -> bool:
    """Whether somebody accepts on a Unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0


def seen_by(envoy: Path, path: str) -> str | None:
    """The path as Envoy's routes and filters see it; None where it answers 400."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(envoy))
        sock.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode("latin-1"))
        answer = b"".join(iter(lambda: sock.recv(65536), b"")).decode("latin-1")
    if answer.startswith("HTTP/1.1 400"):
        return None
    return next(line.removeprefix("x-seen: ") for line in answer.split("\r\n") if line.startswith("x-seen: "))


@pytest.mark.envoy
@pytest.mark.slow
def test_envoy_sees_what_we_say_it_sees(envoy: Path):
    """Every pair of pieces, and long paths of many, are read alike: the evaluator judges what Envoy judges."""
    choose = random.Random(7)  # noqa: S311 - the same paths in every run
    paths = [f"/{one}{two}" for one, two in itertools.product(PIECES, repeat=2)]
    paths += ["/" + "".join(choose.choices(PIECES, k=choose.randint(3, 12))) for _ in range(3000)]
    differing = {
        path: (seen, canonical_path(path)) for path in paths if (seen := seen_by(envoy, path)) != canonical_path(path)
    }
    assert differing == {}
