"""Who may use the Broker API: what can be written, and what is refused before anything is served."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ringfence.broker.broker_api.allowed import KUBERNETES, PID, Broker, BrokerConfig
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

PROXY = "spiffe://example.org/node-proxy"
BROKER = Broker(SpiffeId.parse(PROXY), {PID: False})
WORKLOAD_SOCKET = Path("/run/ringfence/agent.sock")


def test_a_flag_and_a_table_say_the_same() -> None:
    """`+tcp` and `over_tcp = true` are one thing, and off unless said."""
    by_flag = Broker.parse(f"{PROXY}={PID},{KUBERNETES}+tcp")
    table = {"id": PROXY, "references": [{"type": PID}, {"type": KUBERNETES, "over_tcp": True}]}
    assert Broker.of_table(table) == by_flag == Broker(SpiffeId.parse(PROXY), {PID: False, KUBERNETES: True})


@pytest.mark.parametrize(
    ("reference", "local", "may"),
    [
        (PID, True, True),
        (PID, False, False),
        (KUBERNETES, True, True),
        (KUBERNETES, False, True),
        ("Other", True, False),
    ],
)
def test_what_is_not_listed_is_denied(reference: str, may: bool, *, local: bool) -> None:  # noqa: FBT001  # a case
    """Over TCP only what says so; another type never."""
    assert Broker.parse(f"{PROXY}={PID},{KUBERNETES}+tcp").may_use(reference, local=local) is may


@pytest.mark.parametrize(
    "text",
    [
        "",
        PROXY,
        f"{PROXY}=",
        f"{PROXY}=Other",
        f"{PROXY}=*",
        f"{PROXY}={PID},{PID}+tcp",
        f"spiffe://example.org={PID}",
        f"spiffe://example.org/*={PID}",
        f"node-proxy={PID}",
    ],
)
def test_a_broker_that_cannot_be_is_refused(text: str) -> None:
    """No wildcard, no whole trust domain, no unknown type, none twice, and one at least."""
    with pytest.raises(RingfenceError) as caught:
        Broker.parse(text)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"id": PROXY},
        {"id": 1, "references": [{"type": PID}]},
        {"id": PROXY, "references": PID},
        {"id": PROXY, "references": [PID]},
        {"id": PROXY, "references": [{"type": PID, "over_tcp": "yes"}]},
        {"id": PROXY, "references": [{"type": PID, "tcp": True}]},
        {"id": PROXY, "references": [{"type": PID}], "other": 1},
    ],
)
def test_a_table_that_is_none_is_refused(table: dict[str, Any]) -> None:
    """A misspelt setting is not taken for the safe one."""
    with pytest.raises(RingfenceError) as caught:
        Broker.of_table(table)
    assert caught.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "config",
    [
        BrokerConfig((), Path("/run/brokers/b.sock")),
        BrokerConfig((BROKER,)),
        BrokerConfig((BROKER, BROKER), Path("/run/brokers/b.sock")),
        BrokerConfig((BROKER,), WORKLOAD_SOCKET.with_name("b.sock")),
        BrokerConfig((BROKER,), WORKLOAD_SOCKET.parent / "x" / ".." / "b.sock"),
        BrokerConfig((BROKER,), Path("/run/brokers") / ("b" * 108)),
    ],
)
def test_an_endpoint_that_would_serve_nobody_or_everybody_is_refused(config: BrokerConfig) -> None:
    """Nobody listed, nowhere to serve, one twice, in the Workload API's folder, or where no socket can be."""
    with pytest.raises(RingfenceError) as caught:
        config.check(WORKLOAD_SOCKET)
    assert caught.value.kind is Kind.INVALID


def test_a_link_to_the_workload_apis_folder_is_that_folder(tmp_path: Path) -> None:
    """However it is spelled."""
    (tmp_path / "agent").mkdir()
    (tmp_path / "brokers").symlink_to(tmp_path / "agent")
    with pytest.raises(RingfenceError):
        BrokerConfig((BROKER,), tmp_path / "brokers" / "b.sock").check(tmp_path / "agent" / "agent.sock")
    BrokerConfig((BROKER,), tmp_path / "b.sock").check(tmp_path / "agent" / "agent.sock")
