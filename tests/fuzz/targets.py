"""Everything that reads what others wrote: bytes in, and a value or a RingfenceError out."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from google.protobuf.message import DecodeError

from ringfence.admin.v1 import admin_pb2
from ringfence.agent.v1 import agent_pb2
from ringfence.broker.access.config import access_of
from ringfence.broker.access.tokens import unverified_issuer
from ringfence.broker.address import Address
from ringfence.broker.agent.cache import Cache
from ringfence.broker.agent.fabrics.said import Said
from ringfence.broker.agent.revoked import Revoked
from ringfence.broker.attest import cgroup_paths
from ringfence.broker.audit.record import GENESIS, Event, parse, seal
from ringfence.broker.cli.duration import seconds
from ringfence.broker.cli.entry_text import read_entries
from ringfence.broker.cli.spire_dump import Parents, read_dump
from ringfence.broker.cli.times import moment
from ringfence.broker.entry_message import entry_of
from ringfence.broker.fabric.leak_proxies import admin_of
from ringfence.broker.fabric.message import claims_of, update_message
from ringfence.broker.federation.relation import check_url
from ringfence.certs import jws
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.bundle_map import parse_map, write_map
from ringfence.certs.crl import read_crl, sign_crl
from ringfence.certs.errors import RingfenceError
from ringfence.certs.jwt_svid import missing_key, validate_jwt
from ringfence.certs.oidc import check_issuer
from ringfence.certs.path_template import PathTemplate
from ringfence.certs.possession import Possession, prove
from ringfence.certs.profile import csr_public_key, new_csr
from ringfence.certs.selectors import Selector
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.certs.svid import verify_peer
from ringfence.certs.tpm.certification import Certification
from ringfence.certs.tpm.public import PublicArea
from ringfence.certs.tpm.residency import reside
from ringfence.certs.tpm.signature import verify
from ringfence.certs.wit_svid import validate_wit
from ringfence.fabric.claims import judge
from ringfence.fabric.doctor.diagnose import diagnose
from ringfence.fabric.doctor.evidence import Declared
from ringfence.fabric.doctor.gather import KINDS, Text, gather
from ringfence.fabric.doctor.write_bw import write_bw
from ringfence.fabric.leak.counters import filter_grown, filter_of, grown, links, upstream_bytes
from ringfence.fabric.manifests.check import check
from ringfence.fabric.membership import Judged, told
from ringfence.policy.load import load_documents
from tests.certs.factory import Ca
from tests.certs.material import HOUR, NOW, TD, TRAINER, new_authority, new_key
from tests.certs.tpm.paper import DATA as TPM_CHALLENGE
from tests.certs.tpm.paper import PaperTpm
from tests.fabric import claims
from tests.fabric.doctor import samples
from tests.fabric.leak import counters
from tests.fabric.manifests import samples as manifests
from tests.policy.intent import FABRIC, GRANT, MESH, joined
from tests.policy.intent import TRAINER as TRAINING

_AUTHORITY, _KEYS = new_authority(wit=True)
_BUNDLE = _AUTHORITY.bundle(1)
_BUNDLES = {TD: _BUNDLE}
_LEAF = _AUTHORITY.issue_x509(TRAINER, new_key().public_key(), now=NOW, ttl=HOUR)
_JWT = _AUTHORITY.issue_jwt(TRAINER, ["db"], now=NOW, ttl=HOUR)[0]
_ROOT = _AUTHORITY.x509.current
_MAKER = Ca()
_DEVID = new_key()
_RESIDENCY = PaperTpm(_MAKER).evidence(_MAKER, _DEVID)
_CGROUP = "/system.slice/slurmstepd.scope/job_17/step_0/user/task_0"
_POD = "/kubepods.slice/kubepods-pod1b4e28ba_2fa1_11d2_883f_0016d3cca427.slice/cri-containerd-" + "a" * 64 + ".scope"
_ENTRY = {"spiffeId": str(TRAINER), "selectors": ["unix:uid:1"], "x509Ttl": "1h", "expiresAt": "2027-01-01T00:00:00Z"}
_DUMPED: Mapping[str, Any] = {
    "id": "1",
    "spiffe_id": {"trust_domain": "example.org", "path": "/ns/a/sa/w"},
    "parent_id": {"trust_domain": "example.org", "path": "/spire/agent/x"},
    "selectors": [{"type": "unix", "value": "uid:1"}],
    "x509_svid_ttl": 600,
}
_LEAVE = claims.two_tenants()
_FABRICS = joined(MESH, TRAINING, FABRIC, GRANT)
_EVENT = Event(actor="uid:0 pid:1", action="entry.create", subject=str(TRAINER), detail={"why": "a test"})


@dataclass(frozen=True, slots=True)
class Target:
    """A reader, and what it reads well: what others are made from."""

    read: Callable[[bytes], object]
    seeds: tuple[bytes, ...]

    def try_(self, data: bytes) -> None:
        """Read *data*; whatever is raised but a RingfenceError is a defect."""
        with suppress(RingfenceError):
            self.read(data)


def _text(read: Callable[[str], object], *seeds: str) -> Target:
    return Target(lambda data: read(data.decode("utf-8", "replace")), tuple(seed.encode() for seed in seeds))


def _message(kind: Any, use: Callable[[Any], object], *seeds: Any) -> Target:
    """A message of the wire: what is none is refused by the lane before anyone looks at it."""

    def read(data: bytes) -> object:
        try:
            message = kind.FromString(data)
        except DecodeError:
            return None
        return use(message)

    return Target(read, tuple(seed.SerializeToString() for seed in seeds))


def _signed_jwt(data: bytes) -> object:
    """Claims that nobody of ours would make, signed by our own key."""
    try:
        claims = json.loads(data)
    except (ValueError, RecursionError):
        return None
    if not isinstance(claims, dict):
        return None
    key = _AUTHORITY.jwt.current
    token = jws.sign({"alg": "ES256", "kid": key.kid, "typ": "JWT"}, claims, key_id=key.key_id, keys=_KEYS)
    return validate_jwt(token, "db", _BUNDLES, now=NOW)


def _audit_record(data: bytes) -> None:
    with suppress(ValueError):  # as it says: whoever reads the log names the line
        parse(data)


def _access(text: str) -> object:
    try:
        document = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError):
        return None  # told by whoever reads the file
    return access_of(document, TD)


def _entries_pushed(update: Any) -> None:
    Cache(_BUNDLE, clock=lambda: NOW).on_entries(update)


def _cgroup(text: str) -> None:
    for read in (cgroup_paths.docker, cgroup_paths.podman, cgroup_paths.k8s, cgroup_paths.pod, cgroup_paths.slurm):
        read({"": text})
        read({"pids": text, "memory": text[::-1]})


def _resides(data: bytes) -> object:
    """One field of the proof is damaged, the others are good: they have to be, for this one to be looked at."""
    name, _, value = data.partition(b"=")
    damaged = {name.decode("ascii", "replace"): value}
    if not damaged.keys() <= {"devid", "signature", "endorsement", "attestation", "certification"}:
        return None
    return reside(replace(_RESIDENCY, **damaged), TPM_CHALLENGE, [_MAKER.certificate], [_MAKER.certificate], now=NOW)


def _doctor(text: str) -> object:
    """One text as every kind of evidence at once."""
    declared = Declared(("fab0",), mtu=9000)
    write_bw(text)
    return diagnose(gather(declared, [Text(kind, "a.txt", text, "fab0") for kind in KINDS], {text: text}))


def _counters(text: str) -> None:
    """One text as what each counter of the leak test is read from, and as an Envoy's configuration."""
    grown(links(text), links(text[::-1]))
    filter_grown(filter_of(text), filter_of(text))
    upstream_bytes(text)
    admin_of(text, "/proc/1/root")


def _manifests(text: str) -> object:
    """One text as a manifest and as partitions of opensm."""
    return check([("a.yaml", text), ("a.conf", text)], None, NOW)


def _claims(said: Any) -> None:
    """Each claim of an agent by itself: what is refused of one keeps no other from being judged."""
    for claim in claims_of(said, claims.AGENT.format(1)):
        with suppress(RingfenceError):
            judge(claim, _LEAVE, claims.given)


TARGETS: dict[str, Target] = {
    "spiffe-id": _text(SpiffeId.parse, str(TRAINER), "spiffe://example.org/a/../b"),
    "trust-domain": _text(TrustDomain, "example.org"),
    "selector": _text(Selector.parse, "unix:uid:1", "k8s:pod-label:app:web"),
    "path-template": _text(PathTemplate.parse, "/ns/{k8s.ns}/sa/{k8s.sa}", "/job/{slurm.job_id}"),
    "bundle": Target(lambda data: SpiffeBundle.parse(TD, data), (_BUNDLE.to_json(),)),
    "bundle-map": Target(parse_map, (write_map([_BUNDLE]),)),
    "jwt": _text(lambda text: validate_jwt(text, "db", _BUNDLES, now=NOW), _JWT),
    "jwt-claims": Target(_signed_jwt, (json.dumps({"sub": str(TRAINER), "aud": ["db"], "exp": 1795600000}).encode(),)),
    "jwt-missing-key": _text(lambda text: missing_key(text, _BUNDLES), _JWT),
    "wit": _text(lambda text: validate_wit(text, _BUNDLES, now=NOW), _JWT),
    "oidc-token": _text(unverified_issuer, _JWT),
    "oidc-issuer": _text(check_issuer, "https://issuer.example.org/path"),
    "csr": Target(csr_public_key, (new_csr(new_key()),)),
    "certificate": Target(lambda data: verify_peer([data], _BUNDLE, now=NOW), tuple(_LEAF)),
    "possession": Target(lambda data: prove(Possession((data,), data[:80]), b"x", [], now=NOW), tuple(_LEAF)),
    "tpm-public": Target(lambda data: PublicArea.parse(data, "it"), (_RESIDENCY.devid, _RESIDENCY.endorsement)),
    "tpm-certification": Target(Certification.parse, (_RESIDENCY.certification,)),
    "tpm-signature": Target(
        lambda data: verify(_DEVID.public_key(), data, TPM_CHALLENGE, "it"), (_RESIDENCY.signature,)
    ),
    "tpm-residency": Target(_resides, (b"devid=" + _RESIDENCY.devid, b"endorsement=" + _RESIDENCY.endorsement)),
    "crl": Target(read_crl, (sign_crl(_ROOT, [], number=1, now=NOW).der,)),
    "intent": Target(lambda data: load_documents([("a.yaml", data)], now=NOW), (MESH.encode(), _FABRICS.encode())),
    "entries": _text(lambda text: read_entries(text, "a.yaml", TD), json.dumps([_ENTRY]), f"- spiffeId: {TRAINER}\n"),
    "spire-dump": _text(
        lambda text: read_dump(text, "a.json", TD, Parents(others=str(TRAINER))), json.dumps({"entries": [_DUMPED]})
    ),
    "access": _text(_access, '[[grant]]\nrole = "admin"\nunix.uid = 0\n'),
    "cgroup": _text(_cgroup, _CGROUP, _POD),
    "audit-record": Target(_audit_record, (seal(_EVENT, seq=1, time="2026-11-24T12:00:00Z", prev=GENESIS).line(),)),
    "entry-message": _message(
        admin_pb2.Entry,
        lambda message: entry_of(message, TD),
        admin_pb2.Entry(spiffe_id=str(TRAINER), selectors=["unix:uid:1"], dns_names=["a.example"], hint="x"),
    ),
    "entries-update": _message(
        agent_pb2.EntriesUpdate,
        _entries_pushed,
        agent_pb2.EntriesUpdate(revision=3, upserts=[agent_pb2.Entry(id="1", spiffe_id=str(TRAINER))], removed=["2"]),
    ),
    "fabric-claims": _message(
        agent_pb2.FabricClaims,
        _claims,
        agent_pb2.FabricClaims(
            claims=[
                agent_pb2.FabricClaim(
                    fabric=claims.RAIL,
                    job=claims.LLM,
                    entry_id="e1",
                    addresses=["192.168.50.1"],
                    spiffe_id=claims.IDENTITY,
                )
            ]
        ),
    ),
    "fabrics-update": _message(
        agent_pb2.FabricsUpdate,
        Said.parse,
        update_message(3, told(_LEAVE, Judged(), claims.AGENT.format(1), frozenset({claims.IDENTITY})), ()),
    ),
    "revoked": Target(Revoked.parse, (agent_pb2.Revoked(serials=["0a"], crls=[b"x"]).SerializeToString(),)),
    "endpoint-url": _text(check_url, "https://example.org:8443/bundle"),
    "address": _text(lambda text: Address.parse(text, flag="--listen"), "127.0.0.1:8081", "[::1]:80"),
    "duration": _text(seconds, "1h", "90s"),
    "fabric-doctor": _text(_doctor, *(value for value in vars(samples).values() if isinstance(value, str))),
    "fabric-counters": _text(_counters, counters.DEV, counters.listing(3), counters.STATS, counters.ENVOY),
    "fabric-manifests": _text(
        _manifests, manifests.POD, manifests.JOB, "Default=0x7fff,ipoib,defmember=full : ALL, SELF=full ;"
    ),
    "moment": _text(moment, "2027-01-01T00:00:00Z", "2027-01-01T00:00:00+02:00"),
}
