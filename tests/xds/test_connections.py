"""The limit of a port's connections: in front of all else, at ports that have one, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest

from ringfence.xds import codec, types
from tests.policy import plain
from tests.policy.intent import model_of
from tests.xds.intent import INTENT, REGISTRY, snapshot_of
from tests.xds.test_routing import read

LIMITED = INTENT.replace("port: 8080, protocol: http", "port: 8080, protocol: http, maxConnections: 7")


def listener(text: str, port: str = "http") -> Any:
    """Of the registry."""
    return read(snapshot_of("shared/registry", REGISTRY, text), types.LISTENER, f"inbound/{port}")


def test_the_limit_stands_in_front_of_all_other_filters():
    """Before TLS, the rules and the workload are asked for anything."""
    first = listener(LIMITED).filter_chains[0].filters[0]
    limit = codec.unpack(first.typed_config.SerializeToString())
    assert (first.name, limit.max_connections.value, limit.stat_prefix) == ("ringfence.connections", 7, "inbound/http")
    assert "%DOWNSTREAM_LOCAL_CLOSE_REASON%" in str(listener(LIMITED).access_log)


@pytest.mark.parametrize("port", ["http", "db"])
def test_a_port_without_one_is_as_it_was(port: str):
    """Not a byte of it differs."""
    before, after = (snapshot_of("shared/registry", REGISTRY, text) for text in (INTENT, LIMITED))
    name = f"inbound/{port}"
    same = before.named(types.LISTENER)[name].version == after.named(types.LISTENER)[name].version
    assert same == (port == "db")
    assert "connections" not in str(listener(INTENT, port).filter_chains[0].filters[0].name)


def test_callers_in_plaintext_have_a_count_of_their_own():
    """They take nothing from the mesh."""
    taken = f"maxConnections: 7, plaintext: {{until: {plain.UNTIL}, {plain.OWNED}}}"
    made = listener(LIMITED.replace("maxConnections: 7", taken))
    for chain in (made.filter_chains[0], made.default_filter_chain):
        assert chain.filters[0].name == "ringfence.connections"


@pytest.mark.parametrize("wrong", ["0", "-1", "many"])
def test_a_limit_is_a_number_from_1(wrong: str):
    """None is said by leaving it out."""
    with pytest.raises(AssertionError, match="RF1104"):
        model_of(LIMITED.replace("maxConnections: 7", f"maxConnections: {wrong}"))


def test_another_limit_is_another_revision():
    """And the workload's own hash."""
    revisions = {model_of(text).revision for text in (INTENT, LIMITED, LIMITED.replace(": 7", ": 8"))}
    assert len(revisions) == 3
