"""Server reflection: what a client that knows nothing learns, enough to call."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import grpc.aio
import pytest
from google.protobuf import descriptor_pb2, descriptor_pool

from ringfence.proto import broker, reflection
from ringfence.proto.client import Client
from ringfence.proto.lane import Lane
from ringfence.proto.reflection import Reflection, ServerReflectionRequest

REFLECTION = Reflection(broker.POOL)


def ask(**question: Any) -> Any:
    """The answer."""
    return REFLECTION.answer(ServerReflectionRequest(host="h", **question))


def test_services_are_listed_reflection_among_them() -> None:
    """By their full names; the question comes back with the answer."""
    answer = ask(list_services="")
    assert [each.name for each in answer.list_services_response.service] == [
        "grpc.reflection.v1.ServerReflection",
        "spiffe.broker.API",
    ]
    assert answer.valid_host == "h"
    assert answer.original_request.WhichOneof("message_request") == "list_services"


@pytest.mark.parametrize(
    "question",
    [
        {"file_containing_symbol": "spiffe.broker.API"},
        {"file_containing_symbol": "spiffe.broker.API.FetchJWTSVID"},
        {"file_containing_symbol": "spiffe.broker.SubscribeToX509SVIDResponse.FederatedBundlesEntry"},
        {"file_by_filename": "ringfence/proto/broker.proto"},
    ],
)
def test_a_file_comes_with_all_that_it_imports(question: dict[str, str]) -> None:
    """So that a pool that knew nothing can find the service."""
    files = [
        descriptor_pb2.FileDescriptorProto.FromString(data)
        for data in ask(**question).file_descriptor_response.file_descriptor_proto
    ]
    assert files[0].name == "ringfence/proto/broker.proto"
    pool = descriptor_pool.DescriptorPool()
    for file in reversed(files):
        pool.Add(file)
    assert len(pool.FindServiceByName("spiffe.broker.API").methods) == 4


@pytest.mark.parametrize(
    ("question", "code"),
    [
        ({"file_containing_symbol": "spiffe.broker.Nothing"}, 5),
        ({"file_by_filename": "no.proto"}, 5),
        ({"all_extension_numbers_of_type": "spiffe.broker.X509SVID"}, 12),
        ({}, 12),
    ],
)
def test_what_is_not_there_is_said(question: dict[str, str], code: int) -> None:
    """As an answer, so that the client can go on asking."""
    assert ask(**question).error_response.error_code == code


async def test_a_call_asks_as_often_as_it_likes(tmp_path: Path) -> None:
    """One answer a question, in order, until the client asks no more."""
    lane = Lane(REFLECTION.methods())
    await lane.listen_unix(tmp_path / "s")
    async with grpc.aio.insecure_channel(f"unix:{tmp_path / 's'}") as channel:
        questions = [ServerReflectionRequest(list_services=""), ServerReflectionRequest(file_by_filename="no")]
        call = Client(channel, reflection.DESCRIPTOR).ServerReflectionInfo(iter(questions))
        answers = [answer.WhichOneof("message_response") async for answer in call]
    assert answers == ["list_services_response", "error_response"]
    await lane.close()
