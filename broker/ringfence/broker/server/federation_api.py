"""The admin API's part on other trust domains: their bundles, and the relations that fetch them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from ringfence.admin.v1 import admin_pb2 as pb
from ringfence.broker.entry import Entry
from ringfence.broker.federation.federation import Federation
from ringfence.broker.federation.relation import Profile, Relation
from ringfence.broker.federation.schedule import State
from ringfence.broker.feed import Feed
from ringfence.broker.registry import Registry
from ringfence.broker.store import entries as stored
from ringfence.broker.store.engine import Store
from ringfence.broker.store.federation import Held
from ringfence.certs.bundle import SpiffeBundle
from ringfence.certs.errors import Kind, RingfenceError
from ringfence.certs.spiffe_id import SpiffeId, TrustDomain


@dataclass(frozen=True, slots=True)
class FederationApi:
    """What the service Server says of federation."""

    federation: Federation
    registry: Registry
    store: Store
    feed: Feed

    def unary(self) -> dict[str, Callable[[Any], Awaitable[Any]]]:
        """What answers each call."""
        return {
            "ListBundles": self.list_bundles,
            "SetBundle": self.set_bundle,
            "DeleteBundle": self.delete_bundle,
            "CreateFederation": self.create,
            "UpdateFederation": self.update,
            "ListFederations": self.list,
            "RefreshFederation": self.refresh,
            "DeleteFederation": self.delete,
        }

    async def list_bundles(self, _: pb.ListBundlesRequest) -> pb.ListBundlesResponse:
        """Every bundle that is held of others."""
        return pb.ListBundlesResponse(bundles=[self._bundle(held) for _, held in sorted(self.federation.held.items())])

    async def set_bundle(self, asked: pb.SetBundleRequest) -> pb.FederatedBundle:
        """Believe a bundle that an operator brought."""
        bundle = SpiffeBundle.parse(TrustDomain(asked.trust_domain), asked.bundle)
        action = await self.federation.set_bundle(bundle, dry_run=asked.dry_run)
        tried = asked.dry_run and action != "unchanged"
        return self._bundle(Held(bundle, 0) if tried else self.federation.held[bundle.trust_domain], action)

    async def delete_bundle(self, asked: pb.DeleteBundleRequest) -> pb.DeleteBundleResponse:
        """Believe it no longer; raises CONFLICT while entries federate with it, unless *mode* says what of them."""
        domain = TrustDomain(asked.trust_domain)
        changed = 0 if asked.force else await self._let_go(domain, asked.mode or "restrict", dry_run=asked.dry_run)
        deleted = await self.federation.delete_bundle(domain, dry_run=asked.dry_run)
        return pb.DeleteBundleResponse(deleted=deleted, entries=changed)

    async def _let_go(self, domain: TrustDomain, mode: str, *, dry_run: bool) -> int:
        """Do with the entries that federate with *domain* what *mode* says, all or none; how many."""
        # 1. What would keep the bundle is said before an entry changes.
        self.federation.check_unrelated(domain)
        held = [entry for entry in self.registry.every() if domain in entry.federates_with]
        run = self.store.rehearse if dry_run else self.store.run
        match mode:
            case "restrict":
                _refuse_while(held, domain)
            case "dissociate":
                apart = [replace(entry, federates_with=_without(entry, domain)) for entry in held]
                await run(stored.update, apart)
            case "delete":
                await run(stored.remove, [entry.id for entry in held], stored.refuse_intents)
            case _:
                raise RingfenceError(Kind.INVALID, f"{mode!r} is no mode", hint="restrict, dissociate or delete")
        # 2. Known everywhere before the bundle goes.
        await self.feed.catch_up()
        return len(held)

    async def create(self, asked: pb.Federation) -> pb.Federation:
        """A relation as an operator wrote it."""
        return await self._write(asked, self.federation.create)

    async def update(self, asked: pb.Federation) -> pb.Federation:
        """A relation that is there, as an operator writes it now."""
        return await self._write(asked, self.federation.update)

    async def _write(self, asked: pb.Federation, write: Callable[..., Awaitable[str]]) -> pb.Federation:
        domain = TrustDomain(asked.trust_domain)
        relation = Relation(domain, asked.url, _profile(asked.profile), _endpoint(asked.endpoint_id))
        bootstrap = SpiffeBundle.parse(domain, asked.bootstrap) if asked.bootstrap else None
        action = await write(relation, bootstrap, dry_run=asked.dry_run)
        if asked.dry_run and action != "unchanged":
            return pb.Federation(**_written(relation), sequence=bootstrap.sequence if bootstrap else 0, action=action)
        return self._relation(self.federation.state(domain), action)

    async def list(self, asked: pb.ListFederationsRequest) -> pb.ListFederationsResponse:
        """Every relation, or one; raises NOT_FOUND."""
        found = (
            (self.federation.state(TrustDomain(asked.trust_domain)),) if asked.trust_domain else self.federation.states
        )
        return pb.ListFederationsResponse(federations=[self._relation(state) for state in found])

    async def refresh(self, asked: pb.RefreshFederationRequest) -> pb.Federation:
        """Fetch at once, and say how that went."""
        return self._relation(await self.federation.refresh(TrustDomain(asked.trust_domain)))

    async def delete(self, asked: pb.DeleteFederationRequest) -> pb.DeleteFederationResponse:
        """End a relation."""
        domain = TrustDomain(asked.trust_domain)
        return pb.DeleteFederationResponse(deleted=await self.federation.delete(domain, dry_run=asked.dry_run))

    def _bundle(self, held: Held, action: str = "") -> pb.FederatedBundle:
        domain = held.bundle.trust_domain
        return pb.FederatedBundle(
            trust_domain=domain.name,
            bundle=held.bundle.to_json(),
            changed_at=held.changed_at,
            action=action,
            entries=self._entries(domain),
        )

    def _relation(self, state: State, action: str = "") -> pb.Federation:
        relation = state.relation
        held = self.federation.held.get(relation.trust_domain)
        return pb.Federation(
            **_written(relation),
            created_at=relation.created_at,
            refreshed_at=int(state.refreshed_at.timestamp()) if state.refreshed_at else 0,
            next_at=int(state.next_at.timestamp()),
            sequence=held.bundle.sequence if held else 0,
            failure=state.failure,
            action=action,
        )

    def _entries(self, domain: TrustDomain) -> int:
        return sum(domain in entry.federates_with for entry in self.registry.every())


def _written(relation: Relation) -> dict[str, Any]:
    """What an operator wrote."""
    return {
        "trust_domain": relation.trust_domain.name,
        "url": relation.url,
        "profile": relation.profile.value,
        "endpoint_id": str(relation.endpoint_id or ""),
    }


def _refuse_while(held: list[Entry], domain: TrustDomain) -> None:
    if held:
        raise RingfenceError(
            Kind.CONFLICT,
            f"{'1 entry federates' if len(held) == 1 else f'{len(held)} entries federate'} with {domain}",
            hint="See `ringfence entry list --federates-with`, and --mode for what may become of them",
        )


def _without(entry: Entry, domain: TrustDomain) -> tuple[TrustDomain, ...]:
    return tuple(one for one in entry.federates_with if one != domain)


def _profile(text: str) -> Profile:
    try:
        return Profile(text)
    except ValueError:
        raise RingfenceError(
            Kind.INVALID, f"{text!r} is no profile of a bundle endpoint", hint="https_spiffe or https_web"
        ) from None


def _endpoint(text: str) -> SpiffeId | None:
    return SpiffeId.parse(text) if text else None
