"""What a caller is told that may not: who it is taken for, which role is missing on what, and how to get it."""

from __future__ import annotations

from ringfence.broker.access.rights import Caller, Role, Subject
from ringfence.certs.errors import Kind, RingfenceError


def denied(caller: Caller, what: str, role: Role, namespace: str = "") -> RingfenceError:
    """*caller* may not do *what*: that takes *role*, of *namespace* if it is named."""
    scope = f" of the namespace {namespace}" if namespace else ""
    article = "an" if role is not Role.VIEWER else "a"
    return RingfenceError(
        Kind.DENIED,
        f"{caller.subject.name} ({caller.rights}) may not {what}: that takes {article} {role.value}{scope}",
        hint=f"Have an admin add to the server's configuration: {grant_text(caller.subject, role, namespace)}",
    )


def grant_text(subject: Subject, role: Role, namespace: str = "") -> str:
    """The grant that would give it, as TOML on one line."""
    if role is Role.EDITOR:
        namespace = namespace or "NAMESPACE"
    namespaces = f'namespaces = ["{namespace}"], ' if namespace else ""
    return f'[[access.grant]] role = "{role.value}", {namespaces}{_match(subject)}'


def _match(subject: Subject) -> str:
    if subject.spiffe_id is not None:
        return f'spiffe_id = "{subject.spiffe_id}"'
    if subject.issuer:
        [sub] = subject.claims.get("sub") or ["..."]
        return f'oidc = {{issuer = "{subject.issuer}", claims = {{sub = "{sub}"}}}}'
    return f"unix.uid = {subject.uid}"
