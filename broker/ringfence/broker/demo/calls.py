"""The calls that the demo makes, and what must come of each: the table that it prints is held against this one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

REGISTRY = "RINGFENCE_UPSTREAM_REGISTRY_HTTP"
FEATURES = "RINGFENCE_UPSTREAM_FEATURES_POSTGRES"
HUB = "RINGFENCE_UPSTREAM_HUB_HTTPS"

# What a PostgreSQL client says first (a startup message of protocol 3.0 for user trainer, database features).
STARTUP = bytes.fromhex("00030000") + b"user\0trainer\0database\0features\0\0"
POSTGRES_HELLO = (len(STARTUP) + 4).to_bytes(4, "big") + STARTUP


@dataclass(frozen=True, slots=True)
class Call:
    """One call by one workload, whether it must succeed, and the rule (or named default) that must have decided."""

    who: str  # team-a/trainer | team-b/notebook
    title: str
    allowed: bool
    rule: str
    do: str
    command: dict[str, Any] = field(default_factory=dict)
    to: str = "shared/registry"  # whose proxy judges: the place to look for decisions without a trace id


def _http(who: str, method: str, path: str, rule: str, *, allowed: bool, **more: str) -> Call:
    command = {"upstream": REGISTRY, "method": method, "path": path, **more}
    return Call(who, f"{method} registry {path}", allowed, rule, "http", command)


TRAINER, NOTEBOOK = "team-a/trainer", "team-b/notebook"

CALLS = (
    _http(TRAINER, "GET", "/models/shared/base", "team-a/train-pulls-base-model", allowed=True),
    _http(TRAINER, "PUT", "/models/team-a/probe", "team-a/train-pushes-checkpoint", allowed=True, body="weights"),
    _http(TRAINER, "GET", "/models/team-a/probe", "team-a/train-pulls-base-model", allowed=True),
    _http(NOTEBOOK, "GET", "/models/team-b/notes", "team-b/notebook-reads-own", allowed=True),
    Call(
        TRAINER,
        "SELECT from features",
        allowed=True,
        rule="team-a/train-reads-features",
        do="postgres",
        command={"upstream": FEATURES},
        to="team-a/features",
    ),
    Call(
        TRAINER,
        "GET hub /models/base",
        allowed=True,
        rule="team-a/train-pulls-from-hub",
        do="http",
        command={"upstream": HUB, "method": "GET", "path": "/models/base"},
        to="shared/hub",
    ),
    _http(NOTEBOOK, "GET", "/models/team-a/probe", "default-deny", allowed=False),
    _http(NOTEBOOK, "PUT", "/models/team-b/notes", "default-deny", allowed=False, body="x"),
    _http(NOTEBOOK, "GET", "/models/team-b/../team-a/probe", "default-deny", allowed=False),
    _http(NOTEBOOK, "GET", "/models/team-b/%2e%2e%2fteam-a/probe", "default-deny", allowed=False),
    _http(TRAINER, "PUT", "/models/shared/base", "shared/nobody-writes-shared", allowed=False, body="x"),
    Call(
        NOTEBOOK,
        "database, with its own certificate",
        allowed=False,
        rule="default-deny",
        do="direct",
        command={"inbound": "team-a/features/postgres", "send": POSTGRES_HELLO.hex()},
        to="team-a/features",
    ),
    Call(
        NOTEBOOK,
        "GET http://exfil.example/ (undeclared)",
        allowed=False,
        rule="default-deny",
        do="egress",
        command={"url": "http://exfil.example/"},
        to="exfil.example",
    ),
    Call(
        NOTEBOOK,
        "plaintext to the registry's mTLS port",
        allowed=False,
        rule="not-mtls",
        do="plaintext",
        command={
            "inbound": "shared/registry/http",
            "send": b"GET /models/team-a/probe HTTP/1.1\r\nHost: r\r\n\r\n".hex(),
        },
        to="shared/registry",
    ),
)

# What is revoked while its connection stays open, and the document that is edited for it.
REVOKED = CALLS[0]
REVOKED_RULE = "train-pulls-base-model"

# Traffic that goes on while SVIDs and authorities rotate and while the server is killed.
LOAD = (
    {"do": "http", "upstream": REGISTRY, "method": "GET", "path": "/models/team-a/probe"},
    {"do": "http", "upstream": HUB, "method": "GET", "path": "/models/base"},
    {"do": "postgres", "upstream": FEATURES},
)
