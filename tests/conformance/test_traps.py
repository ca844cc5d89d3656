"""Traps that show in what we write, before a proxy reads it; others are held beside what they try."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from ringfence.broker.run.bootstrap import bootstrap
from ringfence.xds import types
from ringfence.xds.instance import Instance
from tests.broker.run.test_plan import plan, written
from tests.xds.intent import REGISTRY, TRAINER, snapshot_of
from tests.xds.test_compile import managers

BOTH = pytest.mark.parametrize(("key", "instance"), [("shared/registry", REGISTRY), ("team-a/trainer", TRAINER)])


def sources(config: Any) -> Iterator[dict[str, Any]]:
    """Every source of resources in a bootstrap, however deep."""
    if isinstance(config, dict):
        if "api_type" in config:
            yield config
        for value in config.values():
            yield from sources(value)
    elif isinstance(config, list):
        for value in config:
            yield from sources(value)


@pytest.mark.parametrize("state_of_the_world", [False, True])
def test_3_1_1_every_source_sends_the_node_once(*, state_of_the_world: bool) -> None:
    """Envoy's node is 61 KB, most of it a list of its extensions."""
    found = list(sources(written(state_of_the_world=state_of_the_world)))

    assert len(found) >= 3
    assert all(source["set_node_on_first_message_only"] is True for source in found)


@BOTH
def test_3_2_10_whoever_asks_for_a_server_name_looks_for_it(key: str, instance: Instance) -> None:
    """Without the inspector the name is empty, and a rule on it would judge nothing."""
    for listener in snapshot_of(key, instance).named(types.LISTENER).values():
        asks = any(name in listener.any for name in (b"ServerNameInput", b"sni_cluster", b"SniDynamicForwardProxy"))
        assert not asks or b"tls_inspector" in listener.any


@BOTH
def test_3_2_11_no_address_is_believed_that_somebody_claims(key: str, instance: Instance) -> None:
    """The connection's own peer is the only address there is: no PROXY protocol, no hop whose header is trusted."""
    found = snapshot_of(key, instance)
    assert managers(found)
    for manager in managers(found).values():
        assert manager.use_remote_address.value
        assert manager.xff_num_trusted_hops == 0
        assert not manager.original_ip_detection_extensions
    assert not any(b"proxy_protocol" in listener.any for listener in found.named(types.LISTENER).values())


@pytest.mark.parametrize("node_id", ["n", "y", "no", "0x1", "1e3", "null"])
def test_3_2_13_a_node_id_stays_a_text(node_id: str) -> None:
    """A bootstrap is JSON, in which only quotes make a text."""
    text = bootstrap(replace(plan(), node_id=node_id), admin_socket="/x/admin.sock")

    assert json.loads(text)["node"]["id"] == node_id
    assert f'"id": "{node_id}"' in text
