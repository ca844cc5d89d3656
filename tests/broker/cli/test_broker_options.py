"""Who is served the Broker API, by flags, environment or file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.broker.address import Address
from ringfence.broker.broker_api.allowed import KUBERNETES, PID, Broker, BrokerConfig
from ringfence.broker.cli import agent
from ringfence.broker.cli.broker_options import broker_config
from ringfence.broker.cli.main import cli
from ringfence.certs.errors import RingfenceError
from ringfence.certs.spiffe_id import SpiffeId

WORDS = ["agent", "run", "--server", "s", "--trust-domain", "t", "--data-dir", "d", "--socket", "/run/agent/w.sock"]
FEATURE = ["--feature", "broker-api"]
PROXY = "spiffe://example.org/node-proxy"
BROKER = Broker(SpiffeId.parse(PROXY), {PID: False, KUBERNETES: True})


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the command was told, once it is called."""
    found: dict[str, Any] = {}
    monkeypatch.setattr(agent.run, "callback", lambda **options: found.update(options))
    return found


def test_without_an_option_nothing_is_served(told: dict[str, Any]) -> None:
    """Neither is it with the feature alone."""
    assert CliRunner().invoke(cli, [*WORDS, *FEATURE]).exit_code == 0
    assert broker_config(told) is None


def test_flags_and_a_file_say_the_same(told: dict[str, Any], tmp_path: Path) -> None:
    """`[[brokers]]` is one broker, as `--broker` is."""
    where = ["--broker-socket", "/run/brokers/b.sock", "--broker-listen", "127.0.0.1:7"]
    text = f"{PROXY}={PID},{KUBERNETES}+tcp"
    expected = BrokerConfig((BROKER,), Path("/run/brokers/b.sock"), Address("127.0.0.1", 7))
    assert CliRunner().invoke(cli, [*WORDS, *FEATURE, *where, "--broker", text]).exit_code == 0
    assert broker_config(told) == expected
    (tmp_path / "agent.toml").write_text(
        'features = ["broker-api"]\nbroker_socket = "/run/brokers/b.sock"\nbroker_listen = "127.0.0.1:7"\n'
        f'[[brokers]]\nid = "{PROXY}"\n'
        f'references = [{{type = "{PID}"}}, {{type = "{KUBERNETES}", over_tcp = true}}]\n'
    )
    told.clear()
    done = CliRunner().invoke(cli, [*WORDS, "--config", str(tmp_path / "agent.toml")])
    assert done.exit_code == 0, done.output
    assert broker_config(told) == expected
    told.clear()
    variables = {"RINGFENCE_AGENT_BROKERS": text, "RINGFENCE_AGENT_BROKER_SOCKET": "/run/brokers/b.sock"}
    assert CliRunner().invoke(cli, [*WORDS, *FEATURE, *where[2:]], env=variables).exit_code == 0
    assert broker_config(told) == expected


@pytest.mark.parametrize(
    "options",
    [
        ["--broker-socket", "/run/brokers/b.sock", "--broker", f"{PROXY}={PID}"],  # without the feature
        [*FEATURE, "--broker-socket", "/run/brokers/b.sock"],
        [*FEATURE, "--broker-listen", "127.0.0.1:7"],
        [*FEATURE, "--broker", f"{PROXY}={PID}"],
        [*FEATURE, "--broker-socket", "/run/agent/b.sock", "--broker", f"{PROXY}={PID}"],
    ],
)
def test_half_an_endpoint_is_refused(told: dict[str, Any], options: list[str]) -> None:
    """No feature, no broker, no place, or the Workload API's own folder."""
    assert CliRunner().invoke(cli, [*WORDS, *options]).exit_code == 0
    with pytest.raises(RingfenceError):
        broker_config(told)
