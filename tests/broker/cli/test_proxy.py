"""`ringfence proxy` against a server."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from ringfence.admin.v1 import admin_pb2
from ringfence.broker.cli import proxy, proxy_diff
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.xds.types import CLUSTER
from tests.xds.test_readable import CALLING, SERVING


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the server lists; stands in for the socket."""
    rows: list[Any] = []
    monkeypatch.setattr(proxy, "ask", lambda socket, call: admin_pb2.ListProxiesResponse(proxies=rows))  # noqa: ARG005
    return rows


@pytest.fixture
def dumps(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the server says that it sent; stands in for the socket."""
    found: list[Any] = []
    monkeypatch.setattr(proxy, "ask", lambda socket, call: admin_pb2.ShowProxiesResponse(proxies=found))  # noqa: ARG005
    return found


def dump_of(snapshot: Any, node: str = "n1", *, proxyless: bool = False) -> Any:
    """A ProxyDump of everything in *snapshot*, accepted."""
    resources = [
        admin_pb2.SentResource(type_url=url, name=r.name, version=r.version, state="accepted", any=r.any)
        for url, named in snapshot.resources.items()
        for r in named.values()
    ]
    return admin_pb2.ProxyDump(node=node, resources=resources, proxyless=proxyless)


def run(*arguments: str) -> tuple[Any, str]:
    """The command's return value and its output."""
    verb, *more = arguments if arguments and not arguments[0].startswith("-") else ("status", *arguments)
    result = CliRunner().invoke(
        proxy.command, [verb, "--admin-socket", str(Path("a.sock")), *more], standalone_mode=False
    )
    if isinstance(result.exception, RingfenceError):
        raise result.exception
    return result.return_value, result.output


def test_proxies_are_listed_and_all_is_well(answers: list[Any]) -> None:
    """A revision is shortened in the table only."""
    answers.append(
        admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", revision="0123456789abcdef", state="SYNCED")
    )

    code, table = run()
    assert code == 0
    assert "0123456789ab" in table
    assert "0123456789abcdef" not in table
    _, text = run("-o", "json")
    assert json.loads(text)["items"][0]["revision"] == "0123456789abcdef"


def test_a_refusal_is_shown_and_is_a_no(answers: list[Any]) -> None:
    """Exit code 3, so that a script notices."""
    answers.append(admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", state="NACK", detail="rules.yaml:3: bad"))

    code, table = run()

    assert code == 3
    assert "rules.yaml:3: bad" in table


def test_where_a_proxy_runs_is_in_the_wide_table_only(answers: list[Any]) -> None:
    """Most meshes have one place."""
    answers.append(admin_pb2.ProxyStatus(spiffe_id="spiffe://a/b", node="n1", state="SYNCED", region="eu", zone="eu-1"))
    assert "eu-1" in run("-o", "wide")[1]
    assert "eu-1" not in run()[1]


@pytest.mark.parametrize(("ago", "age"), [(5, "5s"), (119, "119s"), (600, "10m"), (3 * 3600, "3h"), (49 * 3600, "2d")])
def test_ages_are_for_people_and_times_for_programs(
    answers: list[Any], monkeypatch: pytest.MonkeyPatch, ago: int, age: str
) -> None:
    """How long it is connected, in one unit; since when, in RFC 3339; nothing for what never was."""
    monkeypatch.setattr(time, "time", lambda: 1_800_000_000.0)
    answers.append(admin_pb2.ProxyStatus(node="n1", state="SYNCED", connected_at=1_800_000_000 - ago))
    assert age in run()[1].split()
    (row,) = json.loads(run("-o", "json")[1])["items"]
    assert row["connectedAt"].startswith("2027-01-1")
    assert row["answeredAt"] == ""


def test_what_a_proxy_was_sent_is_a_line_each(dumps: list[Any]) -> None:
    """Of one type, or of all; the node is named only where there are several."""
    dumps.append(dump_of(SERVING))
    _, table = run("config", "n1", "--type", "listener")
    assert " ".join(table.splitlines()[1].split()) == "listener inbound/http accepted 127.0.0.1:15000, 1 filter chains"
    dumps.append(dump_of(CALLING, "n2"))
    _, table = run("config", "team-a")
    kinds = {line.split()[1] for line in table.splitlines()[1:]}
    assert kinds == {"listener", "cluster", "route", "endpoint", "policy"}


def test_what_a_proxy_was_sent_is_shown_whole_to_programs(dumps: list[Any]) -> None:
    """With everything that is packed in it."""
    dumps.append(dump_of(SERVING))
    (row,) = json.loads(run("config", "n1", "--type", "cluster", "-o", "json")[1])["items"]
    assert row["resource"]["load_assignment"]["cluster_name"] == "app/http"
    (options,) = row["resource"]["typed_extension_protocol_options"].values()
    assert options["@type"].endswith("HttpProtocolOptions")


def test_secrets_are_shown_by_name(dumps: list[Any]) -> None:
    """A proxy asks its agent for them."""
    dumps.append(dump_of(SERVING))
    assert run("config", "n1", "--type", "secret-names", "-o", "name")[1].splitlines() == [
        "ALL",
        "spiffe://example.test/ns/shared/sa/registry",
    ]


def test_a_difference_is_shown_and_is_a_no(dumps: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Exit code 3; with equal configurations 0 and a word."""
    kind = "type.googleapis.com/envoy.admin.v3.ClustersConfigDump"
    pages = [json.dumps({"configs": [{"@type": kind}]})]
    monkeypatch.setattr(proxy_diff, "ask", lambda socket, page: pages[0])  # noqa: ARG005
    resource = SERVING.named(CLUSTER)["app/http"]
    sent = admin_pb2.SentResource(type_url=CLUSTER, name="app/http", state="accepted", any=resource.any)
    dumps.append(admin_pb2.ProxyDump(node="n1", resources=[sent]))
    code, table = run("diff", "n1", "--envoy-admin", str(tmp_path))
    assert (code, table.splitlines()[1].split(maxsplit=2)[2]) == (3, "the proxy does not hold it")

    dumps[0].ClearField("resources")
    assert run("diff", "n1", "--envoy-admin", str(tmp_path)) == (0, "no difference\n")


@pytest.mark.parametrize(
    ("page", "kind", "words"),
    [
        ("", Kind.UNAVAILABLE, "--envoy-admin"),
        ("{}", Kind.INVALID, "no config dump"),
        ("<html>", Kind.INVALID, "says: <html>"),
    ],
)
def test_what_answers_nothing_of_use_is_said(
    dumps: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: str, kind: Kind, words: str
) -> None:
    """No Envoy, or something else that speaks HTTP."""
    monkeypatch.setattr(proxy_diff, "ask", lambda *_: page)
    dumps.append(dump_of(SERVING))
    with pytest.raises(RingfenceError) as failure:
        run("diff", "n1", "--envoy-admin", str(tmp_path))
    assert failure.value.kind is kind
    assert words in str(failure.value)


def test_an_envoy_elsewhere_cannot_be_asked_and_the_next_step_is_said(
    dumps: list[Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Its socket is on its host; a gRPC library has none."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    dumps.append(dump_of(SERVING))
    with pytest.raises(RingfenceError, match=r"cannot be reached from here.*on its host"):
        run("diff", "n1")
    dumps[0] = dump_of(SERVING, proxyless=True)
    with pytest.raises(RingfenceError, match="gRPC library"):
        run("diff", "n1")
