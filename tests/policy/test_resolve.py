"""Selectors as intent spells them, and what becomes of them."""

import pytest

from ringfence.certs.selectors import NAMES
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, codes, load, model_of, only


@pytest.mark.parametrize(
    ("written", "selector"),
    [
        ("unix.uid: 1000", "unix:uid:1000"),
        ("unix.sha256: '" + "1" * 64 + "'", "unix:sha256:" + "1" * 64),
        ("unix.sha256: " + "1" * 64, "unix:sha256:" + "1" * 64),
        ("unix.gid: '7'", "unix:gid:7"),
        ("k8s.pod-label: 'app:x'", "k8s:pod-label:app:x"),
        ("systemd.id: train.service", "systemd:id:train.service"),
    ],
)
def test_a_selector_means_what_the_command_line_spells(written: str, selector: str):
    """`unix.uid: 1000` is `unix:uid:1000`."""
    model = model_of(MESH, TRAINER.replace("unix.uid: 1001", written), REGISTRY, PULL)
    assert [[str(s) for s in one] for one in model.workloads["team-a/trainer"].match] == [[selector]]


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("unix.uuid: 1", "Did you mean 'unix.uid'?"),
        ("unx.uid: 1", "Did you mean 'unix.uid'?"),
        ("'unix:uid': 1", "Did you mean 'unix.uid'?"),
        ("launch.name: x", "Use spec.launch.by"),
        ("x509pop.subject: cn:a", "Leave it out of match and by"),
        ("unix.uid: root", "The value of unix:uid is a number"),
        ("unix.path: ''", "Write unix:NAME:VALUE with one of: " + ", ".join(sorted(NAMES["unix"]))),
    ],
)
def test_a_selector_that_no_attestor_makes_is_an_error(written: str, hint: str):
    """It would never match, so it is refused, with what was probably meant."""
    for old in ("[{unix.uid: 1001}]", "[{unix.uid: 1001}], launch: {by: [{unix.uid: 1}]}"):
        new = old.replace(
            "unix.uid: 1001" if "launch" not in old else "unix.uid: 1}", written + ("}" if "launch" in old else "")
        )
        found = only(load(MESH, TRAINER.replace("[{unix.uid: 1001}]", new), REGISTRY, PULL))
        assert (found.code, found.hint) == ("RF1106", hint)


def test_tls_that_passes_through_is_tcp_to_the_proxy():
    """The proxy sees no request within it, so rules about requests could not be judged."""
    passing = HUB.replace("protocol: http", "protocol: tcp, tls: passthrough")
    port = model_of(MESH, passing).externals["shared/hub"].ports[0]
    assert (port.tls, port.passthrough) == (False, True)
    found = only(load(MESH, HUB.replace("protocol: http", "protocol: http, tls: passthrough")))
    assert found.code == "RF1104"
    assert "tls: true" in found.hint


def test_whose_tls_it_is_changes_the_meaning():
    """A proxy that sees requests and one that does not are two policies."""
    tcp = HUB.replace("protocol: http", "protocol: tcp")
    variants = [
        tcp,
        tcp.replace("protocol: tcp", "protocol: tcp, tls: false"),
        tcp.replace("protocol: tcp", "protocol: tcp, tls: passthrough"),
    ]
    assert len({model_of(MESH, text).revision for text in variants}) == 3


@pytest.mark.parametrize(
    ("serves", "code"),
    [
        ("{name: w, ports: 10002-10101, protocol: tcp}", None),
        ("{name: w, ports: 10002-11001, protocol: tcp}", None),
        ("{name: w, ports: 10002-11002, protocol: tcp}", "RF1104"),
        ("{name: w, ports: 10002-10002, protocol: tcp}", "RF1104"),
        ("{name: w, ports: 10101-10002, protocol: tcp}", "RF1104"),
        ("{name: w, ports: 0-10, protocol: tcp}", "RF1104"),
        ("{name: w, ports: 65530-65536, protocol: tcp}", "RF1104"),
        ('{name: w, ports: "10002", protocol: tcp}', "RF1104"),
        ('{name: w, ports: "1-2-3", protocol: tcp}', "RF1104"),
        ('{name: w, ports: "10-20\\n", protocol: tcp}', "RF1104"),
        ("{name: w, ports: 10002-10101, protocol: http}", "RF1104"),
        ("{name: w, ports: 10002-10101, port: 9, protocol: tcp}", "RF1104"),
        ("{name: w, ports: 10002-10101, protocol: tcp}, {name: x, port: 10050, protocol: tcp}", "RF1206"),
        ("{name: w, ports: 10002-10101, protocol: tcp}, {name: x, ports: 10101-10110, protocol: tcp}", "RF1206"),
        ("{name: w, ports: 10002-10101, protocol: tcp}, {name: x, ports: 10102-10110, protocol: tcp}", None),
    ],
)
def test_a_range_of_ports_has_two_ends_and_no_number_of_another(serves: str, code: str | None):
    """Both ends belong to it; a port stands for one thing only."""
    ray = f"""
kind: Workload
metadata: {{name: ray, namespace: shared}}
spec: {{match: [{{unix.uid: 1044}}], serves: [{serves}]}}
"""
    found = [one for one in codes(load(MESH, ray)) if one != "RF1302"]
    assert found == ([code] if code else [])


def test_a_range_is_known_by_both_ends():
    """Another end is another meaning; a port without an end has the hash that it always had."""
    made = [
        model_of(
            MESH,
            f"""
kind: Workload
metadata: {{name: ray, namespace: shared}}
spec: {{match: [{{unix.uid: 1044}}], serves: [{{name: w, {where}, protocol: tcp}}]}}
""",
        )
        for where in ("port: 10002", "ports: 10002-10003", "ports: 10002-10004")
    ]
    assert len({one.revision for one in made}) == 3
    assert list(made[1].workloads["shared/ray"].serves[0].numbers) == [10002, 10003]
    assert list(made[0].workloads["shared/ray"].serves[0].numbers) == [10002]
