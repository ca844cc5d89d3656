"""What an editor of namespaces may do to registration entries: those inside, which give no right beyond them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ringfence.broker.access.namespaces import namespace_named, namespace_of, overlaps
from ringfence.broker.access.refusal import denied
from ringfence.broker.access.rights import Caller, Role
from ringfence.broker.entry import AGENT_PREFIX, ANY_NODE, Entry

_Lack = tuple[str, Role, str]  # what is not allowed, and the role that it takes, on what
_CLUSTER_NAMES = ("", ".svc", ".svc.cluster.local")  # behind NAME.NAMESPACE


def path_of(entry: Entry) -> str:
    """Its path, or the template of its paths."""
    return entry.template or entry.spiffe_id.path


def own_dns_name(name: str, namespace: str) -> bool:
    """Whether a DNS name is one of the namespace's own: NAME.NAMESPACE, as Kubernetes has them."""
    first, _, rest = name.partition(".")
    return bool(first) and rest in {namespace + suffix for suffix in _CLUSTER_NAMES}


@dataclass(frozen=True, slots=True)
class EntryPermit:
    """What *caller* may do to entries while the names in *held* have rights of their own."""

    caller: Caller
    held: Sequence[str] = ()

    @classmethod
    def of(cls, caller: Caller) -> EntryPermit:
        """Of *caller* as things are now; an admin may anything, so nothing has to be looked up."""
        return cls(caller, () if caller.rights.admin else tuple(caller.privileged()))

    def sees(self, entry: Entry) -> bool:
        """Whether it may be read."""
        rights = self.caller.rights
        return rights.sees_all or rights.sees(namespace_named(entry.name))

    def owns(self, entry: Entry) -> bool:
        """Whether it may be changed."""
        return self._lacks(entry) is None

    def check(self, entry: Entry) -> None:
        """Raise DENIED unless it may be made, changed to or changed from."""
        if (lacks := self._lacks(entry)) is not None:
            what, role, namespace = lacks
            raise denied(self.caller, f"{what} {entry.name}", role, namespace)

    def _lacks(self, entry: Entry) -> _Lack | None:
        # 1. An admin may.
        if self.caller.rights.admin:
            return None
        # 2. Every identity that it can give is in one namespace, whatever fills its template.
        namespace = namespace_of(path_of(entry))
        if not namespace:
            return "register outside of a namespace", Role.ADMIN, ""
        # 3. The caller edits that namespace.
        if not self.caller.rights.changes(namespace):
            return "register", Role.EDITOR, namespace
        # 4. It is below nodes in general, an agent, or an alias of the same namespace.
        if not _parent_fits(entry.parent_id.path, namespace):
            return f"put below {entry.parent_id} the entry", Role.ADMIN, ""
        return self._reaches_out(entry, namespace)

    def _reaches_out(self, entry: Entry, namespace: str) -> _Lack | None:
        # 5. It gives nothing that reaches further than the namespace.
        if entry.admin or entry.downstream or entry.federates_with:
            return "set or touch admin, downstream or federates-with of", Role.ADMIN, ""
        # 6. No name of a host that is another's.
        if stray := [name for name in entry.dns_names if not own_dns_name(name, namespace)]:
            return f"give the DNS name {stray[0]} (yours end in .{namespace}) to", Role.ADMIN, ""
        # 7. Nobody gets by it a name that has rights of its own.
        if overlaps(path_of(entry), self.held):
            return "register, since that name has rights of its own,", Role.ADMIN, ""
        return None


def _parent_fits(path: str, namespace: str) -> bool:
    return path == ANY_NODE or path.startswith(AGENT_PREFIX) or namespace_of(path) == namespace
