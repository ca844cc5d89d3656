"""Selectors as intent spells them, and what becomes of them."""

import pytest

from ringfence.certs.selectors import NAMES
from tests.policy.intent import HUB, MESH, PULL, REGISTRY, TRAINER, load, model_of, only


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
