"""The file of clusters: read once, and refused by what is wrong in it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ringfence.broker.attest.k8s_clusters import AUDIENCE, Cluster, read_clusters
from ringfence.certs.errors import Kind, RingfenceError
from tests.kubernetes import kubeconfig_of

ONE = '[clusters.prod]\nservice_accounts = ["ringfence:agent"]\nkubeconfig = "prod.kubeconfig"\n'


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """With a kubeconfig beside it."""
    (tmp_path / "prod.kubeconfig").write_text(json.dumps(kubeconfig_of({"server": "https://127.0.0.1:1"})))
    return tmp_path / "clusters.toml"


def test_a_cluster_has_defaults(path: Path) -> None:
    """Its kubeconfig is found beside the file."""
    path.write_text(ONE)
    assert read_clusters(path) == (Cluster("prod", frozenset({"ringfence:agent"}), path.with_name("prod.kubeconfig")),)
    assert AUDIENCE == "ringfence-server"


def test_everything_can_be_said(path: Path) -> None:
    """Of several clusters."""
    more = 'audience = "x"\nnode_labels = ["zone"]\npod_labels = ["app"]\n'
    path.write_text(ONE + more + ONE.replace("prod]", "test]"))
    one, two = read_clusters(path)
    assert (one.audience, one.node_labels, one.pod_labels) == ("x", {"zone"}, {"app"})
    assert two.name == "test"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "clusters"),
        ("[clusters]", "clusters"),
        ("clusters = 7", "clusters"),
        ("[clusters.prod]", "clusters.prod.service_accounts"),
        ("[clusters.prod]\nservice_accounts = []", "clusters.prod.service_accounts"),
        ('[clusters.prod]\nservice_accounts = ["agent"]', "clusters.prod.service_accounts.0"),
        ('[clusters.prod]\nservice_accounts = ["*:*"]', "clusters.prod.service_accounts.0"),
        ('[clusters."a/b"]\nservice_accounts = ["a:b"]', "clusters.a/b"),
        ('[clusters.".."]\nservice_accounts = ["a:b"]', "clusters..."),
        (ONE + "tokens = true", "clusters.prod.tokens"),
        (ONE + 'audience = ""', "clusters.prod.audience"),
        ("[clusters.prod", "end of a table"),
        (ONE.replace("prod.kubeconfig", "absent"), "absent"),
    ],
)
def test_what_is_wrong_is_named(path: Path, text: str, says: str) -> None:
    """INVALID, with the file."""
    path.write_text(text)
    with pytest.raises(RingfenceError) as caught:
        read_clusters(path)
    assert caught.value.kind is Kind.INVALID
    assert says in str(caught.value)
    assert str(path.parent) in caught.value.where


def test_a_file_that_is_not_there_is_named(path: Path) -> None:
    """Before the server starts."""
    with pytest.raises(RingfenceError, match="No such file"):
        read_clusters(path)
