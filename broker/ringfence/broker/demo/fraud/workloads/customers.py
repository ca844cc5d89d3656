"""Customers who pay: threads that send one payment after the other to the gateway, and remember how each went.

One JSON command a line on stdin, one JSON result a line: `report` tells of every payment that ended since the last
report, and with `since` (machine-wide monotonic time) how many failures began after it.
Environment: `GATEWAY` (HOST:PORT),
`CUSTOMERS` (threads), `PAUSE` (seconds between two payments of one customer).
"""

from __future__ import annotations

import json
import os
import random
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException
from typing import Any

from ringfence.broker.demo.fraud.workloads.asking import Asking
from ringfence.broker.demo.fraud.workloads.features import CARDS

SHOWN = 3  # failures in a report


@dataclass(frozen=True, slots=True)
class Paid:
    """How one payment went; times are of the machine-wide monotonic clock."""

    began: float
    ended: float
    status: int
    zone: str
    error: str = ""


class Customers:
    """Everybody who pays, and what became of it."""

    def __init__(self, gateway: str, count: int, pause: float) -> None:
        self._asking = Asking(gateway)
        self._pause = pause
        self._turn = threading.Lock()
        self._paid: list[Paid] = []
        self._going = threading.Event()
        self._going.set()
        for number in range(count):
            threading.Thread(target=self._run, args=(number,), daemon=True).start()

    def _run(self, number: int) -> None:
        draw = random.Random(number)  # noqa: S311  # payments, not keys
        count = 0
        while True:
            self._going.wait()
            count += 1
            paid = self._pay(
                {
                    "id": f"{number}-{count}",
                    "card": draw.randint(1, CARDS),
                    "amount": round(draw.lognormvariate(4, 1), 2),
                    "abroad": int(draw.random() < 0.2),  # noqa: PLR2004  # as in the history that was learned from
                    "night": int(draw.random() < 0.3),  # noqa: PLR2004
                }
            )
            with self._turn:
                self._paid.append(paid)
            time.sleep(self._pause)

    def _pay(self, payment: dict[str, Any]) -> Paid:
        began = time.monotonic()
        try:
            status, answer = self._asking.ask("POST", "/payments", payment)
        except (OSError, HTTPException) as error:
            return Paid(began, time.monotonic(), 0, "", f"{type(error).__name__}: {error}")
        if status != HTTPStatus.OK:
            return Paid(began, time.monotonic(), status, "", str(answer)[:300])
        return Paid(began, time.monotonic(), status, str(answer["zone"]))

    def report(self, since: float) -> dict[str, Any]:
        """What happened since the last report."""
        with self._turn:
            paid, self._paid = self._paid, []
        failures = [each for each in paid if each.error]
        times = sorted(each.ended - each.began for each in paid) or [0.0]
        return {
            "sent": len(paid),
            "failed": len(failures),
            "failed_after": sum(each.began >= since for each in failures),
            "first_failure": min((each.ended for each in failures if each.began >= since), default=0.0),
            "failures": [each.error for each in failures[:SHOWN]],
            "zones": dict(Counter(each.zone for each in paid if each.zone)),
            "p50_ms": round(1000 * times[len(times) // 2], 1),
            "p99_ms": round(1000 * times[len(times) * 99 // 100], 1),
            "slowest_ms": round(1000 * times[-1], 1),
            "slowest_after_ms": round(
                1000 * max((e.ended - e.began for e in paid if e.began >= since), default=0.0), 1
            ),
        }

    def pause(self, *, going: bool) -> None:
        """Let nobody begin a payment, or all of them again."""
        (self._going.set if going else self._going.clear)()


def main() -> None:
    """Pay until stdin ends."""
    customers = Customers(os.environ["GATEWAY"], int(os.environ["CUSTOMERS"]), float(os.environ["PAUSE"]))
    print(json.dumps({"ready": ""}), flush=True)
    for line in sys.stdin:
        command = json.loads(line)
        if command["do"] == "report":
            result = customers.report(command.get("since", 0.0))
        else:
            customers.pause(going=command["do"] == "go")
            result = {"status": 200}
        print(json.dumps(result), flush=True)


if __name__ == "__main__":
    main()
