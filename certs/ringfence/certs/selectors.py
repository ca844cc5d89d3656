"""Selectors: facts that an attestor found about a workload or a node, spelled as SPIRE spells them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from ringfence.certs.errors import Kind, RingfenceError

NODE_KINDS = frozenset({"k8s_psat", "tpm_devid", "x509pop"})  # selectors of nodes; all others are of workloads

# Every selector an attestor of ours can produce; an entry that asks for another would never match.
NAMES: dict[str, frozenset[str]] = {
    "unix": frozenset({"uid", "gid", "user", "group", "supplementary_gid", "supplementary_group", "path", "sha256"}),
    "systemd": frozenset({"id", "fragment_path"}),
    "cgroup": frozenset({"path"}),
    "docker": frozenset({"container_id"}),
    "podman": frozenset({"container_id"}),
    "launch": frozenset({"namespace", "name", "rank"}),
    "k8s": frozenset({"ns", "sa", "node-name", "container-name", "container-image"})
    | {f"pod-{fact}" for fact in ("name", "uid", "label", "owner", "owner-uid", "image", "image-count")}
    | {"pod-init-image", "pod-init-image-count"},
    "slurm": frozenset({"job_id", "sluid", "step"}),
    "k8s_psat": frozenset({"cluster", "agent_ns", "agent_sa"})  # of nodes, as the next
    | {f"agent_pod_{fact}" for fact in ("name", "uid", "label")}
    | {f"agent_node_{fact}" for fact in ("ip", "name", "uid", "label")},
    "tpm_devid": frozenset({"subject", "issuer", "ca"}),
    "x509pop": frozenset({"subject", "ca", "spiffe_id"}),
}
RANK = r"(?:0|[1-9][0-9]{0,5})"  # of a process in its job: one spelling each, also as a segment of a path (RE2)
MAX_RANK = 999_999
_ANYTHING = re.compile(r".+", re.DOTALL)
# What a value looks like when an attestor writes it; another spelling would never match either.
_VALUES = {
    **dict.fromkeys(
        ("unix:uid", "unix:gid", "unix:supplementary_gid", "slurm:job_id"),
        (re.compile(r"0|[1-9][0-9]{0,9}"), "a number"),
    ),
    "launch:rank": (re.compile(RANK), f"a number up to {MAX_RANK}"),
    **dict.fromkeys(
        ("k8s:pod-image-count", "k8s:pod-init-image-count"), (re.compile(r"0|[1-9][0-9]{0,9}"), "a number")
    ),
    **dict.fromkeys(
        ("k8s:pod-label", "k8s_psat:agent_pod_label", "k8s_psat:agent_node_label"),
        (re.compile(r"[^:]+:.*", re.DOTALL), "KEY:VALUE"),
    ),
    **dict.fromkeys(("k8s:pod-owner", "k8s:pod-owner-uid"), (re.compile(r"[A-Za-z0-9]+:.+"), "KIND:NAME or KIND:UID")),
    **dict.fromkeys(
        ("docker:container_id", "podman:container_id"), (re.compile(r"[0-9a-f]{64}"), "64 lower-case hex digits")
    ),
    "k8s:pod-uid": (re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{32}"), "a UID in lower case"),
    "unix:path": (re.compile(r"/.+"), "an absolute path"),
    **dict.fromkeys(
        ("x509pop:subject", "tpm_devid:subject", "tpm_devid:issuer"), (re.compile(r"cn:.+", re.DOTALL), "cn:NAME")
    ),
    **dict.fromkeys(
        ("x509pop:ca", "tpm_devid:ca"),
        (re.compile(r"fingerprint:[0-9a-f]{64}"), "fingerprint:SHA-256, 64 lower-case hex digits"),
    ),
    "x509pop:spiffe_id": (re.compile(r"spiffe://.+"), "a SPIFFE ID"),
    "unix:sha256": (re.compile(r"[0-9a-f]{64}"), "64 lower-case hex digits"),
}


@dataclass(frozen=True, slots=True, order=True)
class Selector:
    """One fact: `unix:uid:1000` has the kind `unix` and the value `uid:1000`."""

    kind: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Selector:
        """The selector that *text* spells; raises INVALID when no attestor could ever produce it."""
        kind, _, value = text.partition(":")
        name, _, fact = value.partition(":")
        if kind not in NAMES:
            raise RingfenceError(
                Kind.INVALID, f"no attestor makes {text!r}", hint=f"Selectors start with one of: {_list(NAMES)}"
            )
        if name not in NAMES[kind] or not fact:
            raise RingfenceError(
                Kind.INVALID,
                f"{text!r} is no selector of {kind}",
                hint=f"Write {kind}:NAME:VALUE with one of: {_list(NAMES[kind])}",
            )
        pattern, shape = _VALUES.get(f"{kind}:{name}", (_ANYTHING, ""))
        if not pattern.fullmatch(fact):
            raise RingfenceError(
                Kind.INVALID, f"{text!r} would never match", hint=f"The value of {kind}:{name} is {shape}"
            )
        return cls(kind, value)

    @classmethod
    def kept(cls, text: str) -> Selector:
        """The selector that `str` wrote, unjudged: one that `parse` took once must not stop whoever reads it again."""
        kind, _, value = text.partition(":")
        return cls(kind, value)

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"


def _list(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))
