"""What is made once for many: never for anybody whom it is not the same for."""

from __future__ import annotations

from dataclasses import replace

from ringfence.certs.spiffe_id import SpiffeId, TrustDomain
from ringfence.xds import codec, sharing
from ringfence.xds.compile import compile_snapshot
from ringfence.xds.sharing import Same, shared
from ringfence.xds.sources import client_tls
from ringfence.xds.types import EXTENSION_CONFIG
from tests.policy.intent import NOW
from tests.xds.intent import ENDPOINTS, INTENT, REGISTRY, TRAINER, model_of, snapshot_of

SECOND = INTENT.replace("/models/team-a/**", "/models/team-b/**")


def test_what_was_made_before_changes_no_byte() -> None:
    """Whatever was compiled in between, by the same process."""
    sharing.forget()
    first = [snapshot_of(key, who) for key, who in (("shared/registry", REGISTRY), ("team-a/trainer", TRAINER))]
    for key, who in (("shared/registry", replace(REGISTRY, node_id="other")), ("team-a/trainer", TRAINER)):
        snapshot_of(key, who, SECOND)

    again = [snapshot_of(key, who) for key, who in (("shared/registry", REGISTRY), ("team-a/trainer", TRAINER))]
    sharing.forget()

    assert again == first
    assert again == [snapshot_of(key, who) for key, who in (("shared/registry", REGISTRY), ("team-a/trainer", TRAINER))]


def test_proxies_of_a_workload_share_its_policies() -> None:
    """A change is encoded once for all of them, and the filter that it leaves alone is not encoded again."""
    before = model_of()
    (pull,) = (rule for rule in before.rules if rule.name == "pull")
    after = replace(before, rules=tuple(replace(r, hash="0" * 12) if r is pull else r for r in before.rules))
    workload = before.workloads["shared/registry"]

    def policies(model: object, node: str) -> list[object]:
        made = compile_snapshot(model, workload, replace(REGISTRY, node_id=node), ENDPOINTS, now=NOW)  # type: ignore[arg-type]
        return [made.named(EXTENSION_CONFIG)[f"inbound/http/{kind}"] for kind in ("deny", "allow")]

    one, other, changed = policies(before, "one"), policies(before, "other"), policies(after, "one")

    assert [a is b for a, b in zip(one, other, strict=True)] == [True, True]
    assert [a is b for a, b in zip(one, changed, strict=True)] == [True, False]
    assert one[1] != changed[1]


def test_a_peer_is_in_the_context_of_its_own_cluster_alone() -> None:
    """The same caller towards two servers: neither is taken for the other."""
    domain = TrustDomain("example.test")
    own = SpiffeId(domain, "/ns/team-a/sa/trainer")
    for name in ("one", "two", "one"):
        peer = SpiffeId(domain, f"/ns/shared/sa/{name}")
        context = codec.message("envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext").FromString(
            client_tls(own, peer)["typed_config"].value
        )
        validation = context.common_tls_context.combined_validation_context.default_validation_context  # type: ignore[attr-defined]
        assert [each.matcher.exact for each in validation.match_typed_subject_alt_names] == [str(peer)]


def test_same_is_the_object_and_not_its_value() -> None:
    """Two equal lists are two; one is itself."""
    one, equal = [1], [1]

    assert Same(one) == Same(one)
    assert hash(Same(one)) == hash(Same(one))
    assert Same(one) != Same(equal)
    assert Same(one, one) != Same(one)


def test_forgotten_results_are_made_again() -> None:
    """Then nothing is left of what was."""
    made = []

    @shared(2)
    def double(number: int) -> int:
        """Twice as much."""
        made.append(number)
        return 2 * number

    assert [double(1), double(1), double(2)] == [2, 2, 4]
    sharing.forget()
    assert double(1) == 2
    assert made == [1, 2, 1]
