"""The programs of the fraud scenario, each by itself."""

from __future__ import annotations

import json
import random
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.demo.fraud.workloads.asking import Asking
from ringfence.broker.demo.fraud.workloads.gateway import Gateway
from ringfence.broker.demo.fraud.workloads.intruder import Http
from ringfence.broker.demo.fraud.workloads.records import Records
from ringfence.broker.demo.fraud.workloads.serving import serve
from ringfence.broker.demo.fraud.workloads.stumps import train
from ringfence.broker.demo.plane import free_port


def history(count: int) -> list[tuple[float, ...]]:
    """Payments of which those abroad at night, or of eight times the usual, are fraud, but for some noise."""
    draw = random.Random(5)  # noqa: S311  # payments, not keys
    rows: list[tuple[float, ...]] = []
    for _ in range(count):
        ratio, abroad, night = 8 * draw.random(), draw.random() < 0.4, draw.random() < 0.4
        fraud = (abroad and night) or ratio > 7
        rows.append((ratio, abroad, night, draw.randint(0, 3), 0, draw.random(), fraud != (draw.random() < 0.05)))
    return rows


def test_the_model_finds_out_what_makes_a_fraud() -> None:
    """On rows that it has not seen it ranks most frauds above what is none."""
    model = train(history(2000))

    assert model.auc > 0.8
    assert model.score((1, 1, 1, 0, 0, 0.5)) > 0.5 > model.score((1, 0, 0, 0, 0, 0.5))


def test_noise_teaches_the_model_nothing() -> None:
    """The figure is honest: labels that hang on nothing give a coin's."""
    draw = random.Random(6)  # noqa: S311  # payments, not keys
    model = train([(*row[:-1], draw.random() < 0.3) for row in history(2000)])

    assert abs(model.auc - 0.5) < 0.12


def test_what_is_sent_again_is_kept_once(tmp_path: Path) -> None:
    """Proxies retry; a decision is still one line, and another path is another thing."""
    records = Records(tmp_path / "records", frozenset({"/decisions"}))

    assert [records.answer("POST", "/decisions", {}, {"id": "1"})[0] for _ in range(2)] == [201, 201]
    assert records.answer("POST", "/v1/transfers", {}, {"id": "1"})[0] == 404
    assert records.answer("GET", "/decisions", {}, {"id": "1"})[0] == 404
    assert [json.loads(line)["body"] for line in (tmp_path / "records").read_text().splitlines()] == [{"id": "1"}]


class Core:
    """Answers as it is told to, and remembers what it was asked."""

    def __init__(self, status: int) -> None:
        self.status = status
        self.asked: list[Any] = []

    def ask(self, *question: Any) -> tuple[int, Any]:
        """One question."""
        self.asked.append(question)
        return self.status, "no"


@pytest.mark.parametrize(
    ("fraud", "status", "answered", "asked"), [(0.9, 201, 200, 1), (0.9, 403, 502, 1), (0, 0, 200, 0)]
)
def test_a_payment_that_looks_like_fraud_is_held(fraud: float, status: int, answered: int, asked: int) -> None:
    """It is taken only when core banking has put the hold; core banking hears of no other payment."""
    core = Core(status)
    gateway = Gateway(lambda payment: {"id": payment["id"], "fraud": fraud}, core, core)  # type: ignore[arg-type]

    assert gateway.answer("POST", "/payments", {}, {"id": "1", "card": 7})[0] == answered
    assert core.asked == [("POST", "/v1/holds", {"id": "1", "card": 7})] * asked


@pytest.fixture
def echo() -> Iterator[str]:
    """A service on loopback that answers with what it was sent."""
    address = f"127.0.0.1:{free_port()}"
    with serve(address, lambda method, path, _, content: (200, [method, path, content])) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield address
        server.shutdown()
        thread.join()


def test_json_goes_over_and_comes_back(echo: str) -> None:
    """On one connection, as often as asked."""
    asking = Asking(echo)

    assert asking.ask("POST", "/a", {"b": 1}) == (200, ["POST", "/a", {"b": 1}])
    assert asking.ask("GET", "/c") == (200, ["GET", "/c", None])
    asking.close()


def test_an_intruder_sees_what_answers_and_what_does_not(echo: str) -> None:
    """An answer has a status; a port that is closed has none, and says so instead of ending the scan."""
    door = Http(echo, None)

    assert door.ask("POST", "/v1/holds")["status"] == 200
    door.close()
    assert Http(f"127.0.0.1:{free_port()}", None).ask("GET", "/") == {"status": 0, "error": "ConnectionRefusedError"}


def test_a_service_on_a_unix_socket_answers(tmp_path: Path) -> None:
    """As its proxy would ask: a socket has no peer address to log."""
    path = str(tmp_path / "s")
    with serve(path, lambda *_: (404, {})) as server, socket.socket(socket.AF_UNIX) as client:
        client.connect(path)
        client.sendall(b"GET /x HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        thread = threading.Thread(target=server.handle_request)
        thread.start()
        assert client.recv(64).startswith(b"HTTP/1.1 404")
        thread.join()
