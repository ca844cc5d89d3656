"""Names of our spans and of their attributes: a contract with whoever builds a dashboard on them (docs/evidence.md)."""

from __future__ import annotations

ATTEST = "ringfence.attest"
ISSUE = "ringfence.issue"
COMPILE = "ringfence.compile"
PUSH = "ringfence.push"

# Every span by name, with what it covers.
SPANS = {
    ATTEST: "Proving what a node or a process is",
    ISSUE: "Issuing what one request asked for: one SVID, or a batch",
    COMPILE: "Turning the model into the snapshot of one proxy",
    PUSH: "Bringing a revision into force: finding the proxies that it touches, and waking their streams",
}

SPIFFE_ID = "ringfence.spiffe_id"
ATTESTOR = "ringfence.attestor"
ENTRY = "ringfence.entry"
REVISION = "ringfence.revision"
PROXIES = "ringfence.proxies"
NODE = "ringfence.node"
COUNT = "ringfence.count"
ERROR = "error.type"

# Every attribute by name, with what it holds.
ATTRIBUTES = {
    SPIFFE_ID: "The SPIFFE ID that the work is for",
    ATTESTOR: "Which attestor spoke: join_token, unix, launch, ...",
    ENTRY: "Id of the registration entry",
    REVISION: "Content hash of the intent, 64 hex digits",
    PROXIES: "How many proxies changed",
    NODE: "Node id of the proxy",
    COUNT: "How many SVIDs a batch has; one alone has its SPIFFE ID and entry instead",
    ERROR: "Class of the failure; absent when there was none",
}
