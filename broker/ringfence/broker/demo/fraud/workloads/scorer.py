"""Scores payments over gRPC (`/fraud.v1.Scorer/Score`, Struct to Struct) and over HTTP (`POST /score`, `GET /model`).

Trains its model from the feature store when it starts, and records each score in the sink before it answers.
Environment: `RINGFENCE_SOCKET_DIR`, `RINGFENCE_UPSTREAM_FEATURES_POSTGRES`, `RINGFENCE_UPSTREAM_DECISIONS_HTTP`,
`RINGFENCE_ZONE`, `READY_FILE`. On stdin one JSON line, `{"leak": FOLDER}`, stands for code that an attacker runs in
here: it hands out this workload's key, certificate and bundle, which any code in this process could.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from concurrent import futures
from http import HTTPStatus
from http.client import HTTPException
from pathlib import Path
from typing import Any

from ringfence.broker.demo.fraud.workloads.asking import Asking
from ringfence.broker.demo.fraud.workloads.lookups import Lookups
from ringfence.broker.demo.fraud.workloads.serving import serve
from ringfence.broker.demo.fraud.workloads.stumps import FEATURES, Model, train

SERVICE, METHOD = "fraud.v1.Scorer", "Score"
HEALTH = "grpc.health.v1.Health"
SERVING = b"\x08\x01"  # HealthCheckResponse with status SERVING, on the wire
WORKERS = 16
HISTORY = (
    "select ratio, abroad, night, velocity, chargebacks, age, fraud from history"  # FEATURES, then what came of it
)


class Scorer:
    """One model, the features of cards, and the sink."""

    def __init__(self, model: Model, lookups: Lookups, sink: Asking, zone: str) -> None:
        self._model, self._lookups, self._sink, self._zone = model, lookups, sink, zone

    def score(self, payment: dict[str, Any]) -> dict[str, Any]:
        """The chance of fraud; raises OSError, HTTPException or psycopg.Error where an upstream does not answer."""
        sql = "select average, velocity, chargebacks, age from cards where id = %s"
        average, velocity, chargebacks, age = self._lookups.rows(sql, [int(payment["card"])])[0]
        row = (payment["amount"] / average, payment["abroad"], payment["night"], velocity, chargebacks, age)
        chance = round(self._model.score(row), 4)
        decision = {"id": payment["id"], "fraud": chance, "zone": self._zone}
        status, answer = self._sink.ask("POST", "/decisions", decision)
        if status != HTTPStatus.CREATED:
            raise OSError(f"the sink answered {status}: {answer}")
        return decision

    def http(self, method: str, path: str, _headers: Any, content: Any) -> tuple[int, Any]:
        """The same over HTTP, and what model it is."""
        if (method, path) == ("GET", "/model"):
            card = {"kind": "boosted stumps", "features": list(FEATURES), "auc": round(self._model.auc, 4)}
            return HTTPStatus.OK, {**card, "stumps": len(self._model.cut), "zone": self._zone}
        if (method, path) == ("POST", "/score"):
            return HTTPStatus.OK, self.score(content)
        return HTTPStatus.NOT_FOUND, {"error": f"there is no {method} {path}"}


def grpc_server(scorer: Scorer, socket: str) -> Any:
    """The gRPC server; it says UNAVAILABLE where an upstream does not answer, so that another zone may be asked."""
    import grpc
    import psycopg
    from google.protobuf.json_format import MessageToDict
    from google.protobuf.struct_pb2 import Struct

    def score(request: Struct, context: grpc.ServicerContext) -> Struct:
        answer = Struct()
        try:
            answer.update(scorer.score(MessageToDict(request)))
        except (OSError, HTTPException, psycopg.Error) as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error).strip())
        return answer

    handler = grpc.unary_unary_rpc_method_handler(score, Struct.FromString, Struct.SerializeToString)
    ready = grpc.unary_unary_rpc_method_handler(lambda *_: SERVING)
    server = grpc.server(futures.ThreadPoolExecutor(WORKERS))
    handlers = {SERVICE: {METHOD: handler}, HEALTH: {"Check": ready}}
    server.add_generic_rpc_handlers(tuple(grpc.method_handlers_generic_handler(*each) for each in handlers.items()))
    server.add_insecure_port(f"unix:{socket}")
    return server


def leak(folder: Path) -> None:
    """What an attacker in this process would take along: key, certificates and bundle, as files."""
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from spiffe import WorkloadApiClient

    with WorkloadApiClient(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as client:
        svid, bundles = client.fetch_x509_svid(), client.fetch_x509_bundles()
    roots = [root for bundle in bundles.bundles for root in bundle.x509_authorities]
    folder.mkdir(mode=0o700, exist_ok=True)
    key = svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for name, content in (
        ("key.pem", key),
        ("svid.pem", b"".join(each.public_bytes(Encoding.PEM) for each in svid.cert_chain)),
        ("bundle.pem", b"".join(each.public_bytes(Encoding.PEM) for each in roots)),
    ):
        (folder / name).write_bytes(content)


def main() -> None:
    """Train, serve, and do what stdin says."""
    lookups = Lookups(os.environ["RINGFENCE_UPSTREAM_FEATURES_POSTGRES"])
    model = train(lookups.rows(HISTORY))
    sink = Asking(os.environ["RINGFENCE_UPSTREAM_DECISIONS_HTTP"])
    scorer = Scorer(model, lookups, sink, os.environ.get("RINGFENCE_ZONE", ""))
    sockets = os.environ["RINGFENCE_SOCKET_DIR"]
    server_of_calls = grpc_server(scorer, f"{sockets}/grpc.sock")  # kept: it ends when it is forgotten
    server_of_calls.start()
    with serve(f"{sockets}/http.sock", scorer.http) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(json.dumps({"ready": os.environ.get("RINGFENCE_IDENTITY", "")}), flush=True)
        for line in sys.stdin:
            leak(Path(json.loads(line)["leak"]))
            print(json.dumps({"status": 200}), flush=True)


if __name__ == "__main__":
    main()
