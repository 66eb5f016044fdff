"""The overview and the background reconciliation over HTTP: true numbers, unknown where nobody can know, no guess."""

import json
from typing import Any
from uuid import UUID

import httpx
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Operator
from services.orders.claims import ensure_group
from services.orders.overview import Overview
from services.orders.overview_routes import MAX_WATCHERS, Watch, _events
from services.orders.reconcile_runs import open_run
from services.orders.reload_names import reload_names
from shared.auth import Role
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import DUPLICATES, GROUP, INTAKE_PAUSED, NAME_KINDS, PARTITION, STREAM
from tests.integration.operators import consume
from tests.integration.orders_stage import a_checkout, accept, serving, signed_in
from tests.servers import Servers
from tests.shop import open_shop
from tests.tables import rows
from tests.waiting import until

BASE = "/api/admin/operations"


def as_a(role: Role, settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_development_token(settings, 'vera', role=role)}"}


async def ask(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await (http.post(BASE + path, json=body) if body else http.get(BASE + path))
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["data"]


async def test_the_overview_counts_what_was_accepted_recorded_and_left_waiting(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await ensure_group(redis)
    overview = Overview(redis, engine)
    first = await overview.look()
    assert (first.lag_entries, first.accepted_per_second, first.recorded_per_second) == (0, None, None)
    for number in range(6):
        await accept(redis, a_checkout(f"shopper-{number}"), UUID(int=number + 1))
    waiting = await overview.look()
    assert (waiting.lag_entries, waiting.pending, waiting.overlay, waiting.recorded_per_second) == (6, 0, 6, 0)
    await redis.xadd(STREAM, {"payload": "{"})
    await consume(engine, redis, settings)
    await redis.set(INTAKE_PAUSED, "too many")
    taken = await overview.look()
    assert (taken.lag_entries, taken.lag_seconds, taken.overlay, taken.dead_letters) == (0, 0.0, 0, 1)
    assert (taken.paused, taken.redis, taken.postgres) == ("too many", "ok", "ok")
    for rate, entries, before, after in [
        (waiting.accepted_per_second, 6, first, waiting),
        (taken.accepted_per_second, 1, waiting, taken),
        (taken.recorded_per_second, 7, waiting, taken),
    ]:
        assert rate is not None
        assert abs(rate - entries / (after.at - before.at)) < 0.01 * entries / (after.at - before.at) + 0.01
    assert taken.lag_trend is not None


async def test_what_nobody_can_know_is_unknown_and_never_zero(
    engine: AsyncEngine, redis: Redis, settings: Settings, servers: Servers
) -> None:
    await accept(redis, a_checkout())
    overview = Overview(redis, engine)
    without_group = await overview.look()
    assert (without_group.lag_entries, without_group.pending, without_group.stream_length) == (None, None, 1)
    await consume(engine, redis, settings)
    assert (await overview.look()).lag_entries == 0
    servers.redis.stop()
    try:
        away = await overview.look()
    finally:
        servers.redis.start()
    assert (away.redis, away.postgres, away.dead_letters) == ("down", "ok", 0)
    assert {away.lag_entries, away.pending, away.overlay, away.accepted_per_second, away.stream_length} == {None}
    back = await overview.look()
    assert (back.redis, back.accepted_per_second) == ("ok", None)
    await redis.xgroup_destroy(STREAM, GROUP)
    assert (await overview.look()).recorded_per_second is None


async def test_suppressed_duplicates_are_counted_over_all_processes_by_the_name_they_were_known_by(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    overview = Overview(redis, engine)
    before = await overview.look()
    none = dict.fromkeys(NAME_KINDS, 0)
    assert (before.duplicates, before.duplicates_per_second) == (none, None)
    statuses = []
    for _process in range(2):
        async with open_shop(settings) as shop:
            cart = await shop.fill({"2": 1}, "6f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f")
            for _click in range(2):
                statuses.append((await shop.order("anna", {"1": 1}, idempotency_key="anna-buys")).status_code)
            statuses.append((await shop.order("anna", {"1": 1}, x_cart_session=cart)).status_code)
            statuses.append((await shop.order("bert", {"2": 1}, x_cart_session=cart)).status_code)
            statuses.append((await shop.order("anna", {"3": 1}, idempotency_key="anna-buys")).status_code)
    assert statuses == [201, 200, 200, 201, 422, 200, 200, 200, 200, 422]
    known = none | {"key": 3, "window": 2, "cart": 1}
    after = await overview.look()
    assert after.duplicates == known
    assert after.duplicates_per_second is not None
    seconds = after.at - before.at
    assert {kind: round(rate * seconds) for kind, rate in after.duplicates_per_second.items()} == known
    await consume(engine, redis, settings)
    await reload_names(engine, redis, settings)
    assert (await overview.look()).duplicates == known, "names that come back from the archive are no duplicates"
    await redis.delete(DUPLICATES)
    assert (await overview.look()).duplicates_per_second is None, "Redis began anew: no rate is negative"


async def test_watchers_share_one_sample_and_are_never_too_many(settings: Settings, engine: AsyncEngine) -> None:
    async with serving(settings) as http:
        http.headers.update(as_a(Role.VIEWER, settings))
        assert (await ask(http, "/overview"))["now"]["redis"] == "ok"
        transport: Any = http._transport
        watch: Watch = transport.app.state.watch
        events = [_events(watch) for _ in range(2)]
        opened = [await anext(one) for one in events]
        [sample] = watch.overview.samples
        told = [json.loads(one.split(b"data: ")[1].partition(b"\n")[0]) for one in opened]
        assert [[one["at"] for one in history] for history in told] == [[sample.at]] * 2
        watch.is_stopping.set()  # as SIGTERM does: no stream holds up the end of the process
        assert [rest for one in events async for rest in one] == []
        watch.is_stopping.clear()
        watch.watchers = MAX_WATCHERS
        refused = await http.get(f"{BASE}/overview/live")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
        for path in ("/overview", "/overview/live", "/reconcile/run"):
            assert (await http.get(BASE + path, headers=signed_in(settings))).status_code == 403
            assert (await http.get(BASE + path, headers={"Authorization": ""})).status_code == 401


async def test_a_reconciliation_over_http_names_and_fixes_what_is_missing(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    order_ids = [await accept(redis, a_checkout(f"shopper-{number}"), UUID(int=number + 1)) for number in range(5)]
    await consume(engine, redis, settings)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM order_items WHERE order_id = :id"), {"id": order_ids[3]})
        await connection.execute(text("DELETE FROM orders WHERE id = :id"), {"id": order_ids[3]})
    async with serving(settings) as http:
        viewer = as_a(Role.VIEWER, settings)
        refused = await http.post(f"{BASE}/reconcile", json={"why": "look", "fix": True}, headers=viewer)
        assert refused.status_code == 403
        http.headers.update(as_a(Role.OPERATOR, settings))
        assert await ask(http, "/reconcile/run") is None
        assert (await http.post(f"{BASE}/reconcile", json={"fix": True})).status_code == 400

        async def finished() -> Any:
            run = await ask(http, "/reconcile/run")
            return run if run["status"] != "running" else None

        for fix, missing, fixed in [(False, 2, 0), (True, 2, 2), (False, 0, 0)]:
            opened = await ask(http, "/reconcile", why="rows are gone", fix=fix)
            assert (opened["status"], opened["who"]) == ("running", "vera")
            run = await until(finished)
            assert run["status"] == "finished", run
            assert (run["result"]["counts"]["missing"], run["result"]["fixed"]) == (missing, fixed), run
        assert [act["action"] for act in await ask(http, "/audit")] == ["reconcile"]
        run = await open_run(redis, Operator("olga", "test", "me first"), fix=False)
        twice = await http.post(f"{BASE}/reconcile", json={"why": "me too"})
        assert (twice.status_code, twice.json()["error"]) == (409, "A reconciliation is running already")
        await redis.delete(f"till:{PARTITION}:reconcile-lock")  # as time does when the process of the run has died
        assert (await ask(http, "/reconcile/run"))["status"] == "interrupted"
        assert (await ask(http, "/reconcile/run"))["run_id"] == run["run_id"]
    assert len(await rows(engine, "SELECT id FROM orders")) == 5
