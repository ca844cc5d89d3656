"""What the control plane and the agents answer to one who has a workload's key and is no workload of theirs."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

TIMEOUT = 5.0
# What an intruder would like his own Envoy to reach.
WANTED = ("core.banking/http", "scorer.fraud/grpc", "decisions.fraud/http", "features.fraud/postgres")


def fetch(command: dict[str, Any]) -> dict[str, Any]:
    """The Workload API of each agent, asked by this process, which is nobody's workload."""
    import grpc

    from ringfence.proto import workload
    from ringfence.proto.client import client_call

    codes = {}
    for path in command["sockets"]:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            call = client_call(channel, workload.DESCRIPTOR.methods_by_name["FetchX509SVID"])  # type: ignore[arg-type]
            stream = call(workload.X509SVIDRequest(), metadata=[workload.SECURITY_HEADER], timeout=TIMEOUT)
            try:
                codes[path] = str([svid.spiffe_id for svid in next(stream).svids])
            except grpc.RpcError as error:
                codes[path] = str(error.code().name)
    return {"codes": codes}


def control(command: dict[str, Any]) -> dict[str, Any]:
    """Every method that the server's port could have, called with an empty message; the code of each answer."""
    import grpc

    from ringfence.admin.v1 import admin_pb2
    from ringfence.agent.v1 import agent_pb2
    from ringfence.certs.spiffe_id import SERVER_NAME
    from ringfence.proto.service import path_of
    from ringfence.proxy.v1 import proxy_pb2

    services = [s for module in (admin_pb2, agent_pb2, proxy_pb2) for s in module.DESCRIPTOR.services_by_name.values()]
    paths = [path_of(method) for service in services for method in service.methods]
    with _channel(command, SERVER_NAME) as channel:
        codes = {path: _code(grpc, channel, path, b"") for path in paths}
        claims = {who: _discover(grpc, channel, who) for who in command["claims"]}
    return {"codes": codes, "claims": claims}


def _channel(command: dict[str, Any], server_name: str) -> Any:
    import grpc

    folder = Path(command["folder"])
    files = ((folder / name).read_bytes() for name in ("bundle.pem", "key.pem", "svid.pem"))
    options = [("grpc.ssl_target_name_override", server_name)]
    return grpc.secure_channel(command["server"], grpc.ssl_channel_credentials(*files), options=options)


def _code(grpc: Any, channel: Any, path: str, request: bytes) -> str:
    """OK when anything was answered, else the code's name."""
    call = channel.stream_stream(path)(iter((request,)), timeout=TIMEOUT, wait_for_ready=True)
    try:
        for _ in call:
            return "OK"
    except grpc.RpcError as error:
        return str(error.code().name)
    finally:
        call.cancel()
    return "OK"


def _discover(grpc: Any, channel: Any, claim: str) -> Any:
    """The names of the clusters that discovery gives to one who says that it is *claim*, or the refusal's code."""
    from ringfence.xds import codec, types

    places = {key: f"127.0.0.1:{7000 + number}" for number, key in enumerate(WANTED)}
    node = {"id": "intruder", "cluster": claim, "metadata": {"ringfence": {"inbound": {}, "upstream": places}}}
    request = codec.build("envoy.service.discovery.v3.DeltaDiscoveryRequest", node=node, type_url=types.CLUSTER)
    path = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
    waiting = threading.Event()

    def requests() -> Any:
        yield codec.encode(request)
        waiting.wait(TIMEOUT)

    call = channel.stream_stream(path)(requests(), timeout=TIMEOUT, wait_for_ready=True)
    try:
        answer = codec.message("envoy.service.discovery.v3.DeltaDiscoveryResponse").FromString(next(call))
        return sorted(resource.name for resource in answer.resources)  # type: ignore[attr-defined]
    except grpc.RpcError as error:
        return error.code().name
    finally:
        waiting.set()
        call.cancel()
