"""From evidence to findings, and to the answer: is segmentation forcing RDMA through a firewall, a proxy or a hop?"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from ringfence.fabric.doctor import collective_signs, node_signs, path_signs
from ringfence.fabric.doctor.evidence import Evidence
from ringfence.fabric.doctor.signatures import SIGNATURES, WAYS, Findings
from ringfence.policy.findings import Finding

YES, NO_SIGN, NOT_LOOKED = "yes", "no sign of it", "not looked at"
MAX_FINDINGS = 200  # of one code: more of them say nothing new

SIGNS: Mapping[str, Callable[[Evidence], Findings]] = MappingProxyType(
    {
        "RF6001": collective_signs.fallen_back,
        "RF6002": collective_signs.wrong_interface,
        "RF6003": collective_signs.not_direct,
        "RF6004": path_signs.not_bypassing,
        "RF6005": path_signs.through_gateway,
        "RF6006": collective_signs.different_networks,
        "RF6007": path_signs.small_packets,
        "RF6008": path_signs.dropped,
        "RF6009": path_signs.lossy,
        "RF6010": path_signs.rewritten,
        "RF6011": node_signs.captured,
        "RF6012": node_signs.arp_flux,
        "RF6013": node_signs.slow,
        "RF6014": node_signs.open_rendezvous,
        "RF6015": node_signs.shared_devices,
        "RF6016": node_signs.closed_group,
        "RF6017": collective_signs.strangers,
        "RF6018": node_signs.full_members,
        "RF6019": node_signs.open_managers,
    }
)


@dataclass(frozen=True, slots=True)
class Answer:
    """Whether one of WAYS is forced upon the fabric: by which codes, or by which kinds of evidence there is no sign."""

    way: str
    verdict: str
    codes: tuple[str, ...]
    looked: tuple[str, ...]

    def __str__(self) -> str:
        because = ", ".join(self.codes or self.looked)
        return f"{self.way}: {self.verdict}{f' ({because})' if because else ''}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """Everything found, in the order of codes, with the three answers and the codes that nothing let judge."""

    findings: tuple[Finding, ...]
    answers: tuple[Answer, ...]
    not_judged: tuple[str, ...]


def diagnose(evidence: Evidence) -> Diagnosis:
    """Every signature over *evidence*; each finding once."""
    found = [finding for sign in SIGNS.values() for finding in _bounded(sign(evidence))]
    findings = tuple(dict.fromkeys(found))
    looked = judgeable(evidence)
    unknown = tuple(code for code, known in SIGNATURES.items() if not set(known.needs) & looked)
    return Diagnosis(findings, tuple(_answer(way, findings, looked) for way in WAYS), unknown)


def judgeable(evidence: Evidence) -> frozenset[str]:
    """The kinds of evidence that can show anything: of a fabric that nobody declared, most can not."""
    seen = set(evidence.seen)
    if not evidence.networks():
        seen -= {"sockets", "flows", "routes", "neighbours"}
    if not evidence.declared.interfaces:
        seen -= {"nft", "sysctls"}
    if "sockets" in seen and evidence.mtu():
        seen.add("packet sizes")
    if any(failure.local_gid and failure.remote_gid for log in evidence.logs for failure in log.failures):
        seen.add("gids in logs")
    if evidence.logs and evidence.declared.interfaces:
        seen.add("interfaces in logs")
    if evidence.declared.tenants == 0:
        seen.discard("rdma-system")
    return frozenset(seen)


def _bounded(findings: Findings) -> list[Finding]:
    return [finding for finding, _ in zip(findings, range(MAX_FINDINGS), strict=False)]


def _answer(way: str, findings: tuple[Finding, ...], seen: frozenset[str]) -> Answer:
    codes = sorted({one.code for one in findings if SIGNATURES[one.code].way == way})
    looked = sorted({kind for known in SIGNATURES.values() if known.way == way for kind in known.needs} & seen)
    verdict = YES if codes else (NO_SIGN if looked else NOT_LOOKED)
    return Answer(way, verdict, tuple(codes), tuple(looked))
