"""What a Traffic document does to real Envoys: timeouts, retries, ejection, limits, balance, health and zones."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from ringfence.xds.locality import Locality
from tests.e2e.load import loaded
from tests.e2e.mesh import Http
from tests.e2e.replicas import Replicas, replicas, traffic

pytestmark = [pytest.mark.envoy, pytest.mark.slow]

HERE, NEAR, FAR = Locality("eu", "eu-1"), Locality("eu", "eu-2"), Locality("us", "us-1")
CHECK = "{http: /healthz, interval: 100ms, timeout: 1s, unhealthyThreshold: 1, healthyThreshold: 1}"


@pytest.fixture
async def two() -> AsyncIterator[Replicas]:
    """Two replicas, a and b, and their caller."""
    async with replicas("a", "b") as found:
        await found.call()
        yield found


async def ask(found: Replicas, path: str = "/") -> int:
    """The status of one request."""
    http = await Http.connect(found.upstream)
    try:
        return await http.get(path)
    finally:
        http.close()


async def test_a_request_that_takes_too_long_is_504(two: Replicas) -> None:
    """By the whole request; without a timeout it takes as long as it takes."""
    await two.apply(traffic(timeout="200ms"))
    for app in two.apps.values():
        app.open.clear()
    assert await ask(two) == 504
    await two.apply(traffic())
    before = sum(app.asked["/"] for app in two.apps.values())  # who gave up may have done so before it was asked
    slow = asyncio.create_task(ask(two))
    async with asyncio.timeout(30):
        while sum(app.asked["/"] for app in two.apps.values()) == before:  # noqa: ASYNC110  # the app sets no event
            await asyncio.sleep(0.01)
    for app in two.apps.values():
        app.open.set()
    assert await slow == 200


async def test_retries_hide_what_they_name_and_nothing_else(two: Replicas) -> None:
    """A replica that answers 503 is seen by its callers, until its port's Traffic has gateway errors tried again."""
    two.apps["a"].status = 503
    async with loaded(two.upstream) as load:
        await load.more(40)
    assert load.statuses[503] > 0
    await two.apply(traffic(retries="{attempts: 3, on: [gateway-error], budget: {percent: 100, atLeast: 100}}"))
    async with loaded(two.upstream) as load:
        await load.more(100)
    assert (load.failed, load.said.keys()) == (0, {"b"})
    two.apps["a"].status = 500
    async with loaded(two.upstream) as load:
        await load.more(40)
    assert load.statuses[500] > 0


async def test_retries_stay_within_their_budget(two: Replicas) -> None:
    """Where everything fails, a budget keeps retries from doubling what is asked."""
    for app in two.apps.values():
        app.status = 503
        app.pause = 0.02
    await two.apply(traffic(retries="{attempts: 3, on: [gateway-error], budget: {percent: 10, atLeast: 1}}"))
    async with loaded(two.upstream, callers=16) as load:
        await load.more(160)

    assert await two.stat("upstream_rq_retry_overflow") > 0
    assert await two.stat("upstream_rq_retry") < load.statuses.total()


async def test_a_replica_that_fails_in_a_row_is_left_out(two: Replicas) -> None:
    """After the third 5xx it gets nothing, and its callers see no more of it."""
    two.apps["a"].status = 500
    outliers = "{consecutiveErrors: 3, interval: 100ms, baseEjectionTime: 10m, maxEjectionPercent: 50}"
    await two.apply(traffic(outlierDetection=outliers))
    async with loaded(two.upstream) as load:
        await two.until("outlier_detection.ejections_active", 1)
        await load.more(20)
        load.statuses.clear()
        await load.more(60)

    assert load.failed == 0


async def test_a_callers_limits_refuse_what_is_too_much(two: Replicas) -> None:
    """One connection, one request on it, one waiting: the others are 503 at once."""
    for app in two.apps.values():
        app.open.clear()
    await two.apply(traffic(limits="{maxConnections: 1, maxPendingRequests: 1}"))
    asked = [asyncio.create_task(ask(two)) for _ in range(6)]
    await two.until("upstream_rq_pending_overflow", 1)
    refused, _ = await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
    assert {each.result() for each in refused} == {503}
    for app in two.apps.values():
        app.open.set()
    assert set(await asyncio.gather(*asked)) == {200, 503}


async def test_the_replica_with_least_to_do_gets_more(two: Replicas) -> None:
    """Round robin gives a slow replica as much as a fast one."""
    two.apps["a"].pause = 0.1
    shares = {}
    for balance in ("round-robin", "least-request"):
        await two.apply(traffic(balance=balance))
        async with loaded(two.upstream, callers=8) as load:
            await load.more(200)
        shares[balance] = load.said["a"] / load.statuses.total()

    assert abs(shares["round-robin"] - 0.5) < 0.1, shares
    assert shares["least-request"] < 0.35, shares


async def test_health_checks_keep_requests_from_a_replica_that_is_not_well(two: Replicas) -> None:
    """The check is a request of the caller's like any other; a replica that is well again is used again."""
    two.apps["a"].healthy = False
    await two.apply(traffic(healthCheck=CHECK, zones="{preferLocal: false, panicPercent: 0}"))
    await two.until("membership_healthy", 1)
    await two.until("health_check.failure", 1)
    async with loaded(two.upstream) as load:
        await load.more(60)
    assert (load.failed, load.said.keys()) == (0, {"b"})
    two.apps["a"].healthy = True
    await two.until("membership_healthy", 2)
    async with loaded(two.upstream) as load:
        await load.more(60)
    assert (load.failed, load.said.keys()) == (0, {"a", "b"})


async def test_a_replica_that_left_is_forgotten_however_well_it_is(two: Replicas) -> None:
    """Envoy by itself keeps an endpoint that answers its checks, whatever the server says."""
    await two.apply(traffic(healthCheck=CHECK))
    await two.until("membership_healthy", 2)
    await two.mesh.fleet.depart("a/web#a/web/a", patience=20)
    await two.knows(1)
    assert await ask(two) == 200


async def test_without_health_the_panic_threshold_decides(two: Replicas) -> None:
    """Below it any replica is better than none; with 0 nobody is asked who is not well."""
    for app in two.apps.values():
        app.healthy = False
    await two.apply(traffic(healthCheck=CHECK, zones="{preferLocal: false, panicPercent: 50}"))
    await two.until("health_check.failure", 2)
    assert await ask(two) == 200
    await two.apply(traffic(healthCheck=CHECK, zones="{preferLocal: false, panicPercent: 0}"))
    await two.until("health_check.failure", 2)
    assert await ask(two) == 503


async def test_calls_stay_in_their_zone_then_in_their_region() -> None:
    """Who is preferred depends on the caller's place; a zone that has left is followed by the next."""
    text = traffic(zones="{preferLocal: true}")
    async with replicas("a", "b", "c", text=text, a=FAR, b=NEAR, c=HERE) as found:
        await found.call(HERE)
        for name in ("c", "b", "a"):
            async with loaded(found.upstream) as load:
                await load.more(40)
                assert load.said.keys() == {name}
                if name != "a":
                    await found.mesh.fleet.depart(f"a/web#a/web/{name}", patience=20)
                    await load.more(40)
            assert load.failed == 0, load.failures


async def test_a_zone_that_dies_costs_no_request_but_those_it_had() -> None:
    """All of its proxies are killed under load, and nobody says a word: their callers find out and go elsewhere."""
    text = traffic(zones="{preferLocal: true}")
    async with replicas("a", "b", "c", "d", text=text, a=HERE, b=HERE, c=NEAR, d=NEAR) as found:
        await found.call(HERE)
        async with loaded(found.upstream, callers=8) as load:
            await load.more(80)
            assert load.said.keys() == {"a", "b"}
            for name in ("a", "b"):
                found.proxies[name].process.kill()
            await load.more(200)
            early = load.failed
            await load.more(200)

    assert load.said.keys() == {"a", "b", "c", "d"}
    # What was under way: no caller had more than one connection to either, and each takes one request with it.
    assert early <= 8 * 2, load.failures
    assert load.failed == early, load.failures
