"""Whoever asks about an order is told all that log and tables know, and what nobody knows any more."""

from typing import Any
from uuid import UUID, uuid4

import httpx
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.explain_order import Explanation, explain_order
from shared.events import Status
from shared.settings import Settings
from shared.streams import GROUP, STREAM, order_key
from tests.builders import a_change, fields_of
from tests.integration.operators import consume
from tests.integration.orders_stage import a_checkout, accept, forget, move_id, serving, signed_in
from tests.shop import open_shop


async def explained(redis: Redis, engine: AsyncEngine, order_id: UUID) -> Explanation:
    found = await explain_order(redis, engine, order_id)
    assert found is not None
    return found


async def entry_ids(redis: Redis) -> list[str]:
    entries: Any = await redis.xrange(STREAM)
    return [entry_id.decode() for entry_id, _ in entries]


async def bought(settings: Settings) -> tuple[UUID, list[int]]:
    """Anna buys headphones three times with the same click; what she was answered."""
    async with open_shop(settings) as shop:
        answers: list[httpx.Response] = [await shop.order("anna", {"1": 1}) for _ in range(3)]
    return UUID(answers[0].json()["data"]["id"]), [answer.status_code for answer in answers]


async def test_an_order_accepted_and_not_recorded_is_found_in_the_stream(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    order_id, statuses = await bought(settings)
    assert statuses == [201, 200, 200]
    found = await explained(redis, engine, order_id)
    assert (found.state, found.status, found.user_id, found.total) == ("accepted", "processing", "anna", "129")
    [event] = found.events
    [entry_id] = await entry_ids(redis)
    assert (event["entry_id"], event["recorded_at"], event["pending"]) == (entry_id, None, None)
    await redis.xgroup_create(STREAM, GROUP, id="0")
    await redis.xreadgroup(GROUP, "consumer-7", {STREAM: ">"})
    pending = (await explained(redis, engine, order_id)).events[0]["pending"]
    assert (pending["consumer"], pending["deliveries"]) == ("consumer-7", 1)


async def test_suppressed_duplicates_are_told_by_the_name_that_they_were_known_by(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    bare, _ = await bought(settings)
    assert (await explained(redis, engine, bare)).duplicates == {"window": 2}
    async with open_shop(settings) as shop:
        cookie = await shop.fill({"2": 1})
        answers = [
            await shop.order("bert", {"2": 1}, idempotency_key="bert-buys", x_cart_session=cookie),
            await shop.order("bert", {"2": 1}, idempotency_key="bert-buys"),
            await shop.order("bert", {"2": 1}, x_cart_session=cookie),
            await shop.order("bert", {"3": 1}, idempotency_key="bert-buys"),  # 422: not this order
        ]
    assert [answer.status_code for answer in answers] == [201, 200, 200, 422]
    by_key = UUID(answers[0].json()["data"]["id"])
    found = await explained(redis, engine, by_key)
    assert found.duplicates == {"cart": 1, "key": 1}
    assert found.names["key"] is not None
    assert len(found.names["carts"]) == 1
    await redis.delete(order_key(by_key))
    await consume(engine, redis, settings)
    assert (await explained(redis, engine, by_key)).duplicates is None, "beyond the horizon it is unknown, never 0"


async def test_counting_never_leaves_a_record_that_does_not_end(settings: Settings, redis: Redis) -> None:
    order_id, _ = await bought(settings)
    assert await redis.pttl(order_key(order_id)) > 0
    await redis.delete(order_key(order_id))
    async with open_shop(settings) as shop:
        await shop.order("anna", {"1": 1})
    assert not await redis.exists(order_key(order_id))


async def test_every_move_is_told_with_its_entry_and_the_consumer_that_recorded_it(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    order_id, _ = await bought(settings)
    paid: Any = fields_of(a_change(order_id, Status.PAID, "anna"), move_id("anna", order_id, Status.PAID), 10**13)
    await redis.xadd(STREAM, paid)
    await consume(engine, redis, settings)
    await forget(redis, "anna", order_id)
    found = await explained(redis, engine, order_id)
    assert found.state == "recorded"
    assert [(event["what"], event["consumer"]) for event in found.events] == [
        ("checkout", "consumer-1"),
        ("status paid", "consumer-1"),
    ]
    entries = await entry_ids(redis)
    assert [event["entry_id"] for event in found.events] == entries
    told = [what for _, what in found.timeline()]
    assert told[0] == f"checkout: accepted as event {order_id}"
    assert f"checkout: recorded by consumer-1 from entry {entries[0]}" in told
    assert sorted(moment for moment, _ in found.timeline()) == [moment for moment, _ in found.timeline()]


async def test_dead_letters_that_mention_the_order_and_replays_that_touched_it_are_told(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    order_id, _ = await bought(settings)
    stray: Any = fields_of(a_change(order_id, Status.PAID, "mallory"))
    await redis.xadd(STREAM, stray)
    await redis.xadd(STREAM, {"event_id": str(order_id), "payload": "{", "accepted_at": "1"})
    await redis.xadd(STREAM, {"event_id": str(uuid4()), "payload": "{", "accepted_at": "1"})
    await consume(engine, redis, settings)
    async with engine.begin() as connection:
        run = {"run": uuid4(), "event": order_id}
        await connection.execute(
            text(
                "INSERT INTO replays (run_id, source, filter, bound, rate, status, who, why)"
                " VALUES (:run, 'archive', '{}', '', 1, 'finished', 'olga', 'a lost batch')"
            ),
            run,
        )
        await connection.execute(
            text(
                "INSERT INTO replayed_events (run_id, source_id, number, event_id, planned, outcome)"
                " VALUES (:run, 's', 1, :event, 'duplicate', 'duplicate')"
            ),
            run,
        )
    found = await explained(redis, engine, order_id)
    assert [letter["reason"] for letter in found.dead_letters] == ["not_owner", "undecodable"]
    [replay] = found.replays
    assert (replay["who"], replay["outcome"]) == ("olga", "duplicate")
    assert any("olga (a lost batch): duplicate" in what for _, what in found.timeline())


async def test_a_buried_checkout_says_so(settings: Settings, engine: AsyncEngine, redis: Redis) -> None:
    order_id = uuid4()
    await redis.xadd(STREAM, {"event_id": str(order_id), "payload": "{", "accepted_at": "1"})
    await consume(engine, redis, settings)
    assert (await explained(redis, engine, order_id)).state == "buried"
    assert await explain_order(redis, engine, uuid4()) is None


async def test_over_http_an_admin_is_told_the_same_and_nobody_else_anything(
    settings: Settings, engine: AsyncEngine, redis: Redis
) -> None:
    order_id = await accept(redis, a_checkout())
    await consume(engine, redis, settings)
    async with serving(settings) as http:
        admin = signed_in(settings, "olga", admin=True)
        path = f"/api/admin/operations/explain/{order_id}"
        answer = (await http.get(path, headers=admin)).json()["data"]
        assert (answer["order_id"], answer["state"]) == (str(order_id), "recorded")
        assert answer["timeline"][0]["what"].startswith("checkout: accepted")
        verdict = (await http.get("/api/admin/operations/reconcile", headers=admin)).json()["data"]
        assert (verdict["is_clean"], verdict["orders"], verdict["discrepancies"]) == (True, 1, [])
        for target in (path, "/api/admin/operations/reconcile"):
            assert (await http.get(target)).status_code == 401
            assert (await http.get(target, headers=signed_in(settings))).status_code == 403
        assert (await http.get("/api/admin/operations/explain/x", headers=admin)).status_code == 400
        assert (await http.get(f"/api/admin/operations/explain/{uuid4()}", headers=admin)).status_code == 404
