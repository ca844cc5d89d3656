"""The clusters whose nodes may attest: a TOML file, checked once.

[clusters.prod]                                      # the agent names it, and its SPIFFE ID does
service_accounts = ["ringfence:ringfence-agent"]     # NAMESPACE:NAME, which pods of agents have
kubeconfig = "/etc/ringfence/prod.kubeconfig"        # without it: the cluster that the server itself runs in
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ringfence.broker.attest.k8s_client import client_of
from ringfence.certs.errors import Kind, RingfenceError

AUDIENCE = "ringfence-server"
_Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-][a-zA-Z0-9._-]{0,62}$")]
_Account = Annotated[str, Field(pattern=r"^[a-z0-9-]{1,63}:[a-z0-9.-]{1,253}$")]
_Text = Annotated[str, Field(min_length=1, max_length=512)]


@dataclass(frozen=True, slots=True)
class Cluster:
    """One cluster, and whom of it to believe."""

    name: str
    service_accounts: frozenset[str]  # NAMESPACE:NAME
    kubeconfig: Path | None = None
    audience: str = AUDIENCE
    node_labels: frozenset[str] = frozenset()  # keys of the labels that become selectors
    pod_labels: frozenset[str] = frozenset()


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class _Cluster(_Part):
    service_accounts: Annotated[list[_Account], Field(min_length=1)]
    kubeconfig: _Text | None = None
    audience: _Text = AUDIENCE
    node_labels: list[_Text] = []
    pod_labels: list[_Text] = []


class _File(_Part):
    clusters: Annotated[dict[_Name, _Cluster], Field(min_length=1)]


def read_clusters(path: Path) -> tuple[Cluster, ...]:
    """The clusters in the file at *path*; raises INVALID naming what is wrong, a kubeconfig included."""
    try:
        read = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise _unusable(path, f"{place}: {first['msg']}") from None
    except ValueError as error:  # no TOML, no UTF-8
        raise _unusable(path, str(error)) from error
    return tuple(_cluster(name, each, path.parent) for name, each in read.clusters.items())


def _cluster(name: str, read: _Cluster, folder: Path) -> Cluster:
    kubeconfig = folder / read.kubeconfig if read.kubeconfig else None  # a relative one is beside the file
    client_of(kubeconfig)  # a server that could review no token does not start
    return Cluster(
        name,
        frozenset(read.service_accounts),
        kubeconfig,
        read.audience,
        frozenset(read.node_labels),
        frozenset(read.pod_labels),
    )


def _unusable(path: Path, detail: str) -> RingfenceError:
    return RingfenceError(Kind.INVALID, detail, where=str(path), hint="See docs/attestors/k8s_psat.md")
