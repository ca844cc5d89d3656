"""Names and virtual addresses of what may be dialled: by the name alone, each its own, nobody's real address."""

from __future__ import annotations

from ipaddress import ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ringfence.policy.scope import upstreams_of
from ringfence.xds.virtual import VIRTUAL, Place, places, virtual_addresses, workload_key
from tests.policy import intent
from tests.xds.intent import INTENT, model_of

EXTERNALS = """---
kind: External
metadata: {name: HOST, namespace: shared}
spec: {host: "ADDRESS", ports: [{name: http, port: 80, protocol: http, tls: false}]}
---
kind: Allow
metadata: {name: out-HOST, namespace: team-a}
spec: {from: [{workload: trainer}], to: [{external: HOST, namespace: shared}], owner: ml, reason: test}
"""
NAMES = st.text("abcdefghijklmnopqrstuvwxyz.-", min_size=1, max_size=30)


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("registry.shared.mesh", "shared/registry"),
        ("registry.shared", ""),
        ("hub.example", ""),
        ("a.registry.shared.mesh", ""),
        ("mesh", ""),
    ],
)
def test_a_name_of_the_mesh_means_a_workload(host: str, key: str) -> None:
    """Three labels, the last of them ours."""
    assert workload_key(host) == key


def places_of(text: str) -> dict[str, Place]:
    """What the trainer may dial."""
    model = model_of(text)
    return dict(places(model, upstreams_of(model, model.workloads["team-a/trainer"])))


@given(st.sets(NAMES, max_size=40))
def test_every_name_has_an_address_of_its_own(names: set[str]) -> None:
    """Within the reserved network, neither its first nor its last."""
    found = virtual_addresses(names)
    assert set(found) == names
    assert len(set(found.values())) == len(names)
    for address in found.values():
        assert VIRTUAL.network_address < ip_address(address) < VIRTUAL.broadcast_address


@given(st.sets(NAMES, min_size=2, max_size=20))
def test_an_address_does_not_depend_on_other_names(names: set[str]) -> None:
    """A rule that comes or goes moves nobody: programs keep addresses, and so do caches."""
    every = virtual_addresses(names)
    alone = {name: virtual_addresses([name])[name] for name in names}
    if len(set(alone.values())) == len(names):  # two of them may want the same place, once in 16 million
        assert every == alone


def test_two_names_that_want_one_address_get_two(monkeypatch: pytest.MonkeyPatch) -> None:
    """The later by name moves on, past the end to the beginning."""
    monkeypatch.setattr("ringfence.xds.virtual._hashed", lambda _: VIRTUAL.num_addresses - 2)
    assert virtual_addresses(["b", "a"]) == {"a": "240.255.255.254", "b": "240.0.0.1"}


def test_ports_of_a_host_share_its_address_and_have_their_numbers() -> None:
    """A port behind a Unix socket has the usual number of its protocol; a host outside its own name."""
    found = places_of(INTENT)
    address = found["registry.shared/http"].address
    assert found["registry.shared/http"] == Place("registry.shared.mesh", address, (8080,))
    assert found["registry.shared/rpc"] == Place("registry.shared.mesh", address, (8081,))
    assert found["registry.shared/db"] == Place("registry.shared.mesh", address, (5432,))
    assert found["hub.shared/https"].name == "hub.example"
    assert found["hub.shared/https"].numbers == (443,)


def test_an_external_by_address_is_dialled_by_it() -> None:
    """No name, no virtual address."""
    found = places_of(intent.joined(INTENT, EXTERNALS.replace("HOST", "box").replace("ADDRESS", "192.0.2.9")))
    assert found["box.shared/http"] == Place("", "192.0.2.9", (80,))


def test_a_wildcard_is_no_name() -> None:
    """Nobody dials a star; the forward proxy takes those names."""
    found = places_of(
        intent.joined(
            INTENT,
            EXTERNALS.replace("HOST", "many").replace(
                'host: "ADDRESS", ports: [{name: http, port: 80, protocol: http, tls: false}]',
                'host: "*.s3.example", dynamic: {labels: one}, ports: [{name: https, port: 443, protocol: http}]',
            ),
        )
    )
    assert "many.shared/https" not in found
    assert "hub.shared/https" in found


def test_of_two_that_would_be_dialled_alike_the_first_has_the_number() -> None:
    """Two documents may name the same host and port; Envoy would refuse two listeners there."""
    one, two = (EXTERNALS.replace("HOST", name).replace("ADDRESS", "twice.example") for name in ("box", "crate"))
    found = places_of(intent.joined(INTENT, one, two))
    assert "box.shared/http" in found
    assert "crate.shared/http" not in found
