"""Reaching a Kubernetes API, with the library that only those load who ask one, and what its failures mean."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ringfence.certs.errors import Kind, RingfenceError

if TYPE_CHECKING:
    from lightkube import AsyncClient

_FORBIDDEN = {401, 403}


def client_of(kubeconfig: Path | None) -> AsyncClient:
    """A client by *kubeconfig*, else by the service account of the pod that we are. Raises INVALID; may block."""
    try:
        from lightkube import AsyncClient, KubeConfig
    except ImportError:
        raise RingfenceError(
            Kind.INVALID, "the library that speaks to Kubernetes is not installed", hint="pip install 'ringfence[k8s]'"
        ) from None
    where = str(kubeconfig or "the pod's service account")
    try:
        config = KubeConfig.from_file(kubeconfig) if kubeconfig else KubeConfig.from_service_account()
        client = AsyncClient(config=config)
    except OSError as error:
        raise _unusable(where, error.strerror or str(error)) from error
    except Exception as error:  # what a file of the wrong shape raises is the library's own affair
        raise _unusable(where, f"{type(error).__name__}: {error}") from error
    # What it says decides who somebody is.
    cluster = client.config.cluster
    if not cluster.server.startswith("https://") or cluster.insecure:
        raise _unusable(where, f"{cluster.server} would not be known by its certificate")
    return client


def failure(error: Exception, where: str) -> RingfenceError:
    """What *error* of a call means to an operator: UNAVAILABLE, with the right that is lacking if one is."""
    code = status_code(error)
    if code in _FORBIDDEN:
        hint = "Apply deploy/kubernetes/rbac.yaml"
        return RingfenceError(Kind.UNAVAILABLE, f"the Kubernetes API refuses us: {error}", where=where, hint=hint)
    said = str(error) or type(error).__name__
    return RingfenceError(Kind.UNAVAILABLE, f"the Kubernetes API did not answer: {said}", where=where)


def status_code(error: Exception) -> int:
    """The code of the API's answer, 0 if it gave none."""
    code = getattr(getattr(error, "status", None), "code", None)
    return code if isinstance(code, int) else 0


def _unusable(where: str, detail: str) -> RingfenceError:
    return RingfenceError(
        Kind.INVALID,
        f"it does not say how to reach a Kubernetes API: {detail}",
        where=where,
        hint="Give a kubeconfig file, or run in a pod that has a service account token",
    )
