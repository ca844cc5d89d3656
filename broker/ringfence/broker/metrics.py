"""What the server counts, by the names that dashboards use (docs/metrics.md); no label ever holds an identity."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

REGISTRY = CollectorRegistry()  # ours alone: nothing that a library registers by itself is exposed

BUILD = Gauge("ringfence_build_info", "Always 1; the version is the label.", ["version"], registry=REGISTRY)
UP = Gauge("ringfence_up", "1 once the state is loaded and streams are served.", registry=REGISTRY)
HANDLED = Counter(
    "ringfence_grpc_server_handled", "Calls that ended.", ["service", "method", "code"], registry=REGISTRY
)
DURATION = Histogram(
    "ringfence_grpc_server_duration_seconds", "How long calls took.", ["service", "method"], registry=REGISTRY
)
CA_EXPIRY = Gauge("ringfence_ca_expiry_timestamp_seconds", "When an authority ends.", ["authority"], registry=REGISTRY)
ISSUED = Counter("ringfence_svid_issued", "SVIDs signed or refused.", ["type", "result"], registry=REGISTRY)
SIGN_SECONDS = Histogram(
    "ringfence_svid_sign_duration_seconds",
    "Signing and checking one X509-SVID: the mean of each batch.",
    buckets=(0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.05),
    registry=REGISTRY,
)
ATTESTED = Counter("ringfence_attestation", "Attestations of nodes.", ["attestor", "result"], registry=REGISTRY)
NODES_ENDED = Counter("ringfence_nodes_ended", "Agents that an operator evicted or banned.", ["how"], registry=REGISTRY)
REVOKED = Gauge("ringfence_revoked", "Serials and identities that are revoked now.", ["what"], registry=REGISTRY)
REVOCATIONS = Counter(
    "ringfence_revocations", "Operators' acts: identity, serial, node revoked; lift.", ["what"], registry=REGISTRY
)
TURNED_AWAY = Counter(
    "ringfence_revoked_peers", "Connections with a revoked certificate: refused, or ended.", ["how"], registry=REGISTRY
)
AGENTS = Gauge("ringfence_agents", "Agents by state.", ["state"], registry=REGISTRY)
REVISION = Gauge(
    "ringfence_policy_revision_info", "Always 1; the revision is the label.", ["revision"], registry=REGISTRY
)
RULES = Gauge("ringfence_policy_rules", "Rules of the intent in force.", registry=REGISTRY)
APPLY_SECONDS = Histogram("ringfence_policy_compile_seconds", "From documents to pushed snapshots.", registry=REGISTRY)
STORE_SECONDS = Histogram(
    "ringfence_store_query_seconds",
    "One transaction, its wait for the thread included.",
    buckets=(0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 2),
    registry=REGISTRY,
)
MISSED_KEYS = Counter(
    "ringfence_missed_keys",
    "Keys that a bundle lacks, by who met them (agent, proxy) and what was done (docs/federation.md).",
    ["by", "done"],
    registry=REGISTRY,
)
EVIDENCE = Gauge(
    "ringfence_evidence",
    "Decisions, spans and exports since the start, by what became of them (docs/evidence.md).",
    ["what"],
    registry=REGISTRY,
)
FABRIC_CLAIMS = Counter(
    "ringfence_fabric_claims",
    "Claims of nodes on fabrics: admitted, refused, withdrawn.",
    ["result"],
    registry=REGISTRY,
)
FABRIC_APPLIED = Counter(
    "ringfence_fabric_applied", "Answers of nodes to what they were told of fabrics.", ["result"], registry=REGISTRY
)
FABRIC_APPLY_SECONDS = Histogram(
    "ringfence_fabric_apply_seconds",
    "From telling a node of fabrics to its word that it holds that.",
    buckets=(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 5),
    registry=REGISTRY,
)
