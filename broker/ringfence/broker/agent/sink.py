"""What the server pushes, one method for each kind of message: the cache takes it in, as the link hands it on."""

from __future__ import annotations

from typing import Protocol

from ringfence.agent.v1 import agent_pb2


class Sink(Protocol):
    """Who takes in what the server pushes."""

    def hello(self) -> agent_pb2.Hello:
        """The first message of a stream: what we have already."""
        ...

    def on_entries(self, update: agent_pb2.EntriesUpdate) -> None:
        """Entries or launch rules changed."""
        ...

    def on_bundle(self, update: agent_pb2.BundleUpdate) -> None:
        """A trust bundle changed."""
        ...

    def on_revocations(self, update: agent_pb2.Revocations) -> None:
        """Some identities are to be served no longer."""
        ...

    def on_revoked(self, update: agent_pb2.RevokedUpdate) -> None:
        """All that an operator revoked."""
        ...

    def on_rotate(self, update: agent_pb2.Rotate) -> None:
        """New SVIDs are to be fetched, spread over a while."""
        ...

    def on_fabrics(self, update: agent_pb2.FabricsUpdate) -> None:
        """The node's fabrics, or their members, are others."""
        ...
