"""A gRPC application for tests behind proxies: every method sends back what comes, in each of gRPC's kinds of call."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import grpc

TIMES = 3  # answers of a stream for one request


class _Echo(grpc.GenericRpcHandler):  # type: ignore[type-arg]  # generic in the stubs only
    """By the method's name: `Watch` streams answers, `Chat` streams both ways, any other is unary."""

    def service(self, handler_call_details: Any) -> Any:
        method = handler_call_details.method.rpartition("/")[2]
        if method == "Watch":
            return grpc.unary_stream_rpc_method_handler(lambda data, _: iter([data] * TIMES))
        if method == "Chat":
            return grpc.stream_stream_rpc_method_handler(lambda requests, _: requests)
        return grpc.unary_unary_rpc_method_handler(lambda data, _: data)


@contextmanager
def rpc_app() -> Iterator[int]:
    """The application, serving; yields its port."""
    with ThreadPoolExecutor(8) as pool:
        server = grpc.server(pool)
        server.add_generic_rpc_handlers((_Echo(),))
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        try:
            yield port
        finally:
            server.stop(0).wait()
