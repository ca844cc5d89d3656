"""What a server fetches because a document names it: over HTTPS, within bounds, and never where no name may lead."""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker import https
from tests.e2e.identities import web_server
from tests.e2e.proxies import served


class Pages:
    """An HTTPS server; `answer` is a status, header lines and a body, `asked` what it was asked."""

    def __init__(self, port: int, ca: str) -> None:
        self.port, self.ca = port, ca
        self.answer: tuple[int, dict[str, str], bytes] = (200, {}, b"keys")
        self.asked: list[str] = []

    def url(self, host: str = "localhost") -> str:
        """Of its only page."""
        return f"https://{host}:{self.port}/keys?v=1"


@contextmanager
def pages(folder: Path, host: str = "localhost") -> Iterator[Pages]:
    """One that proves to be *host*."""
    identity, ca = web_server(host)
    (folder / "pages.pem").write_bytes(identity.chain + identity.key)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(folder / "pages.pem")

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(f"{self.path} of {self.headers['host']}")
            status, headers, body = running.answer
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Keep the terminal clean."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    running = Pages(int(server.server_address[1]), ca.decode())
    with served(server):
        yield running


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Pages]:
    """A server for one test."""
    with pages(tmp_path) as found:
        yield found


def get(running: Pages, url: str = "", ca: str | None = None) -> bytes:
    """What is fetched, with small bounds."""
    return https.get(url or running.url(), ca_pem=running.ca if ca is None else ca, seconds=20.0, most=1000)


def test_a_page_is_read_from_a_server_that_proves_its_name(running: Pages):
    """By the authority of the document; host and query are as they were written."""
    assert get(running) == b"keys"
    assert running.asked == [f"/keys?v=1 of localhost:{running.port}"]


def test_a_server_that_proves_another_name_is_not_asked(tmp_path: Path):
    """Nor one whom nobody vouches for."""
    with pages(tmp_path, "other.example") as other, pytest.raises(ssl.SSLCertVerificationError):
        get(other)
    with pages(tmp_path) as unknown:
        with pytest.raises(ssl.SSLCertVerificationError):
            get(unknown, ca="")
        assert unknown.asked == []


@pytest.mark.parametrize("status", [301, 302, 307, 404, 500])
def test_nothing_but_200_is_an_answer(running: Pages, status: int):
    """A redirect leads nowhere, whatever it says."""
    running.answer = (status, {"location": "http://169.254.169.254/latest/meta-data"}, b"keys")
    with pytest.raises(ValueError, match=str(status)):
        get(running)


def test_a_body_is_bounded(running: Pages):
    """One byte too many, and all of it is refused."""
    running.answer = (200, {}, b"x" * 1000)
    assert len(get(running)) == 1000
    running.answer = (200, {}, b"x" * 1001)
    with pytest.raises(ValueError, match="more than 1000 bytes"):
        get(running)


def test_a_server_that_is_slow_is_given_up(monkeypatch: pytest.MonkeyPatch, running: Pages):
    """However it spreads its bytes over time."""
    clock = iter([0.0, 21.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock, 22.0))
    with pytest.raises(TimeoutError):
        get(running)


@pytest.mark.parametrize(
    "url", ["http://localhost/keys", "file:///etc/passwd", "https:///keys", "ftp://localhost/keys"]
)
def test_only_https_is_fetched(running: Pages, url: str):
    """Whatever a document got past its own check."""
    with pytest.raises(ValueError, match="no https URL"):
        get(running, url)


@pytest.mark.parametrize(
    "address", ["169.254.169.254", "fd00:ec2::254", "127.0.0.1", "::1", "::ffff:127.0.0.1", "64:ff9b::a9fe:a9fe"]
)
def test_no_name_leads_into_this_host_or_to_a_metadata_service(
    monkeypatch: pytest.MonkeyPatch, running: Pages, address: str
):
    """The address that is judged is the one that is dialled: there is no second look-up."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_a, **_k: [(family, socket.SOCK_STREAM, 6, "", (address, running.port))]
    )
    with pytest.raises(ValueError, match="where no document may lead"):
        get(running, running.url("keys.example"))
    assert running.asked == []
