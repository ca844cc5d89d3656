"""Names of our spans and of their attributes: a contract with whoever builds a dashboard on them (docs/evidence.md)."""

from __future__ import annotations

ATTEST = "ringfence.attest"
ISSUE = "ringfence.issue"
COMPILE = "ringfence.compile"
PUSH = "ringfence.push"

# Every span by name, with what it covers.
SPANS = {
    ATTEST: "Proving what a node or a process is",
    ISSUE: "Authorising, drafting, signing and recording one SVID",
    COMPILE: "Turning the model into the snapshots of the proxies that it touches",
    PUSH: "Handing one proxy what changed, up to its acknowledgement or refusal",
}

SPIFFE_ID = "ringfence.spiffe_id"
SERIAL = "ringfence.svid.serial"
ATTESTOR = "ringfence.attestor"
SELECTORS = "ringfence.selectors"
ENTRY = "ringfence.entry"
REVISION = "ringfence.revision"
PROXIES = "ringfence.proxies"
RESOURCES = "ringfence.resources"
NODE = "ringfence.node"
ERROR = "error.type"

# Every attribute by name, with what it holds.
ATTRIBUTES = {
    SPIFFE_ID: "The SPIFFE ID that the work is for",
    SERIAL: "Serial number of the certificate, lower-case hex",
    ATTESTOR: "Which attestor spoke: join_token, unix, launch, ...",
    SELECTORS: "How many selectors it found",
    ENTRY: "Id of the registration entry",
    REVISION: "Content hash of the intent, 64 hex digits",
    PROXIES: "How many proxies changed",
    RESOURCES: "How many resources were sent",
    NODE: "Node id of the proxy",
    ERROR: "Class of the failure; absent when there was none",
}
