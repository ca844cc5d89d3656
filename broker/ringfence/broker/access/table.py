"""The one table of admin calls: the role that each takes and how far it has to reach. What is not here is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

from ringfence.broker.access.rights import Rights, Role


class Scope(Enum):
    """How far a role has to reach for a call."""

    NONE = "-"  # whoever proves an identity
    NAMESPACE = "namespace"  # what the call changes is checked one by one; what it reads is filtered
    CLUSTER = "all"  # the role for all namespaces


@dataclass(frozen=True, slots=True)
class Need:
    """What a call takes; `what` completes "you may not ..."."""

    role: Role
    scope: Scope
    what: str
    commands: tuple[str, ...] = ()


def _reads(scope: Scope, what: str, *commands: str) -> Need:
    return Need(Role.VIEWER, scope, what, commands)


def _edits(what: str, *commands: str) -> Need:
    return Need(Role.EDITOR, Scope.NAMESPACE, what, commands)


def _admin(what: str, *commands: str) -> Need:
    return Need(Role.ADMIN, Scope.CLUSTER, what, commands)


_KINDS, _STEPS = ("x509", "jwt"), ("prepare", "activate", "taint", "revoke")
_SOME, _ALL = Scope.NAMESPACE, Scope.CLUSTER

NEEDS: Mapping[str, Need] = {
    "DescribeCaller": _reads(Scope.NONE, "ask who it is", "access whoami"),
    "CheckAccess": _reads(Scope.NONE, "ask what it may", "access can-i"),
    "Info": _reads(_SOME, "ask after the server", "server healthcheck"),
    "ShowBundle": _reads(_SOME, "read the trust bundle", "bundle show"),
    # Registrations.
    "ListEntries": _reads(_SOME, "list entries", "entry list", "entry show"),
    "CountEntries": _reads(_SOME, "count entries", "entry count"),
    "CreateEntries": _edits("create entries", "entry create"),
    "UpdateEntries": _edits("change entries", "entry update"),
    "DeleteEntries": _edits("delete entries", "entry delete"),
    "ApplyEntries": _edits("apply entries", "entry apply", "entry import"),
    # Intent, and what was decided by it.
    "ApplyPolicy": _edits("apply intent documents", "policy apply"),
    "ShowPolicy": _reads(_SOME, "read intent documents and their status", "policy status", "policy get"),
    "CheckAuthz": _reads(_SOME, "ask what the intent says of others", "authz check"),
    "ExplainAuthz": _reads(_SOME, "read decisions", "authz explain"),
    "TailAuthz": _reads(_SOME, "follow decisions", "authz tail"),
    "ListDepartures": _reads(_SOME, "read what left the mesh", "egress list"),
    "ListProxies": _reads(_SOME, "list proxies", "proxy status"),
    "ShowProxies": _reads(_SOME, "read what proxies were sent", "proxy config", "proxy diff"),
    "WatchProxies": _reads(_SOME, "wait for proxies", "proxy wait"),
    "ListFabricMembers": _reads(_SOME, "list members of fabrics", "fabric members"),
    # The inventory.
    "ListIdentities": _reads(_SOME, "list identities", "identity list", "identity show", "identity holders"),
    "ExplainIdentity": _reads(_SOME, "ask why an identity is given", "identity explain"),
    "ListRevocations": _reads(_SOME, "list revocations", "identity revocations", "bundle crl"),
    "RevokeIdentities": _edits("revoke identities", "identity revoke"),
    "LiftRevocations": _admin("lift revocations", "identity lift"),
    # Nodes.
    "ListNodes": _reads(_ALL, "list nodes", "node list", "node show", "node count"),
    "GenerateToken": _admin("make join tokens", "token generate"),
    "EvictNodes": _admin("evict nodes", "node evict"),
    "BanNodes": _admin("ban nodes", "node ban", "node unban"),
    # Authorities.
    "ShowAuthorities": _reads(_ALL, "list authorities", "authority x509 show", "authority jwt show"),
    "Rotate": _admin("have everything renewed", "server rotate"),
    "StepAuthority": _admin("step authorities", *(f"authority {k} {s}" for k in _KINDS for s in _STEPS)),
    # Servers.
    "ListServers": _reads(_ALL, "list servers", "server list"),
    "ForgetServer": _admin("forget servers", "server forget"),
    # Other trust domains.
    "ListBundles": _reads(_ALL, "list bundles of others", "bundle list"),
    "SetBundle": _admin("set bundles of others", "bundle set"),
    "DeleteBundle": _admin("delete bundles of others", "bundle delete"),
    "ListFederations": _reads(_ALL, "list federations", "federation list", "federation show"),
    "CreateFederation": _admin("federate", "federation create"),
    "UpdateFederation": _admin("change federations", "federation update"),
    "RefreshFederation": _admin("refresh federations", "federation refresh"),
    "DeleteFederation": _admin("end federations", "federation delete"),
}


def allowed(need: Need, rights: Rights) -> bool:
    """Whether *rights* are enough to be heard at all; what is asked about single things is checked when it is known."""
    # 1. Whoever proved an identity.
    if need.scope is Scope.NONE:
        return True
    # 2. An admin may everything that is in the table.
    if rights.admin:
        return True
    # 3. A role that reaches as far as the call.
    match need.role, need.scope:
        case Role.VIEWER, Scope.CLUSTER:
            return rights.views_all
        case Role.VIEWER, Scope.NAMESPACE:
            return rights.views_all or bool(rights.views or rights.edits)
        case Role.EDITOR, Scope.NAMESPACE:
            return bool(rights.edits)
        # 4. Anything else is an admin's.
        case _:
            return False
