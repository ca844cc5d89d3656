"""The API gateway: payments come in over HTTP, are scored, and are held in core banking where they look like fraud.

Environment: `PORT` (on 127.0.0.1), `RINGFENCE_UPSTREAM_SCORER_GRPC`, `RINGFENCE_UPSTREAM_SCORER_HTTP`,
`RINGFENCE_UPSTREAM_CORE_HTTP`, `READY_FILE`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ringfence.broker.demo.fraud.workloads.asking import Asking
from ringfence.broker.demo.fraud.workloads.serving import serve

SCORE = "/fraud.v1.Scorer/Score"
TIMEOUT = 12.0
HOLD_FROM = 0.3  # chance of fraud


class Gateway:
    """What happens to one payment."""

    def __init__(self, score: Callable[[dict[str, Any]], dict[str, Any]], models: Asking, core: Asking) -> None:
        self._score, self._models, self._core = score, models, core

    def answer(self, method: str, path: str, _headers: Any, content: Any) -> tuple[int, Any]:
        """`POST /payments` and `GET /model`; 502 where the mesh gives no answer."""
        import grpc

        try:
            if (method, path) == ("POST", "/payments"):
                return self._pay(content)
            if (method, path) == ("GET", "/model"):
                return self._models.ask("GET", "/model")
        except (OSError, HTTPException) as error:
            return HTTPStatus.BAD_GATEWAY, {"error": f"{type(error).__name__}: {error}"}
        except grpc.RpcError as error:
            return HTTPStatus.BAD_GATEWAY, {"error": str(error)}
        return HTTPStatus.NOT_FOUND, {"error": f"there is no {method} {path}"}

    def _pay(self, payment: dict[str, Any]) -> tuple[int, Any]:
        scored = self._score(payment)
        held = scored["fraud"] >= HOLD_FROM
        if held:
            status, answer = self._core.ask("POST", "/v1/holds", {"id": payment["id"], "card": payment["card"]})
            if status != HTTPStatus.CREATED:
                return HTTPStatus.BAD_GATEWAY, {"error": f"core banking answered {status}: {answer}"}
        return HTTPStatus.OK, {**scored, "held": held}


def scoring(address: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Asks for a score over gRPC, by the own proxy."""
    import grpc
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.struct_pb2 import Struct

    channel = grpc.insecure_channel(address, options=[("grpc.max_reconnect_backoff_ms", 500)])
    call = channel.unary_unary(SCORE, Struct.SerializeToString, Struct.FromString)

    def score(payment: dict[str, Any]) -> dict[str, Any]:
        request = Struct()
        request.update(payment)
        return MessageToDict(call(request, timeout=TIMEOUT))

    return score


def main() -> None:
    """Serve until ended."""
    score = scoring(os.environ["RINGFENCE_UPSTREAM_SCORER_GRPC"])
    models, core = (Asking(os.environ[f"RINGFENCE_UPSTREAM_{name}_HTTP"]) for name in ("SCORER", "CORE"))
    with serve(f"127.0.0.1:{os.environ['PORT']}", Gateway(score, models, core).answer) as server:
        Path(os.environ["READY_FILE"]).touch()
        server.serve_forever()


if __name__ == "__main__":
    main()
