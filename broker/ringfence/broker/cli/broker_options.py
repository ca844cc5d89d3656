"""The options of `ringfence agent run` that say who is served the SPIFFE Broker API, and where."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ringfence.broker.features import BROKER_API
from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:  # an agent that serves no broker does not pay for it
    from ringfence.broker.broker_api.allowed import Broker, BrokerConfig

_OPTIONS = ("brokers", "broker_socket", "broker_listen")


class _Broker(click.ParamType["Broker"]):
    """`ID=TYPE,...` on the command line, a table in a file."""

    name = "broker"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Broker:  # noqa: ARG002  # click's signature
        """The broker that *value* spells; raises INVALID."""
        from ringfence.broker.broker_api.allowed import Broker

        if isinstance(value, Broker):
            return value
        return Broker.of_table(value) if isinstance(value, Mapping) else Broker.parse(str(value))


def broker_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the three to *command*."""
    for option in (
        click.option(
            "--broker-listen",
            default="",
            envvar="RINGFENCE_AGENT_BROKER_LISTEN",
            help="HOST:PORT of the SPIFFE Broker API.",
        ),
        click.option(
            "--broker-socket",
            type=click.Path(path_type=Path),
            envvar="RINGFENCE_AGENT_BROKER_SOCKET",
            help="Unix socket of the SPIFFE Broker API, in a folder of its own.",
        ),
        click.option(
            "--broker",
            "brokers",
            multiple=True,
            type=_Broker(),
            envvar="RINGFENCE_AGENT_BROKERS",
            metavar="ID=TYPE[+tcp],...",
            help="SPIFFE ID of a broker, and the types of reference it may use; in a file [[brokers]].",
        ),
    ):
        command = option(command)
    return command


def broker_config(options: Mapping[str, Any]) -> BrokerConfig | None:
    """What the options say; None when they say nothing. Raises INVALID, without the feature too."""
    if not any(options[name] for name in _OPTIONS):
        return None
    if BROKER_API not in options["features"]:
        raise RingfenceError(
            Kind.INVALID, "the Broker API follows a standard that may still change", hint=f"Add --feature {BROKER_API}"
        )
    from ringfence.broker.address import Address
    from ringfence.broker.broker_api.allowed import BrokerConfig

    listen = options["broker_listen"]
    found = BrokerConfig(
        tuple(options["brokers"]),
        Path(options["broker_socket"]).absolute() if options["broker_socket"] else None,
        Address.parse(listen, flag="--broker-listen") if listen else None,
    )
    found.check(Path(options["socket"]).absolute())
    return found
