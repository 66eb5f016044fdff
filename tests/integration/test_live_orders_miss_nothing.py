"""Owners hear every move of their orders once, and a browser that comes back hears what it missed."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import follow_stream, listeners, live_orders
from services.orders.change_status import change_status
from shared.events import Status
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_joined_key
from tests.integration.live_stage import Door, seen
from tests.integration.orders_stage import a_checkout, accept, record


async def test_the_present_state_comes_first_and_then_every_move_of_own_orders_alone(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    recorded = await record(engine, a_checkout())
    before = await accept(redis, a_checkout())
    anna, bob = await door.listen(), await door.listen("bob")
    state = await anna.next()
    assert (state.name, {order["id"] for order in state.data}) == ("orders", {str(recorded), str(before)})
    assert (await bob.next()).data == []

    await change_status(redis, engine, settings, "anna", before, Status.PAID)
    bobs = await accept(redis, a_checkout("bob"))
    await redis.xadd(STREAM, {"event_id": "nonsense"})
    await accept(redis, a_joined_key(before, uuid4(), "anna"))
    after = await accept(redis, a_checkout())
    assert seen(await anna.next()) == ("order", str(before), "paid")
    made = await anna.next()
    assert seen(made) == ("order", str(after), "processing")
    listed = (await door.http.get("/api/orders", headers=door.bearer("anna"))).json()["data"]
    assert made.data in listed
    assert seen(await bob.next()) == ("order", str(bobs), "processing")


async def test_the_last_event_id_resumes_without_a_gap_and_without_a_repeat(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    first = await door.listen()
    await first.next()
    orders = [await accept(redis, a_checkout()) for _ in range(20)]
    told = [await first.next() for _ in range(7)]
    await first.close()
    later = [await accept(redis, a_checkout()) for _ in range(20)]
    await accept(redis, a_checkout("bob"))
    second = await door.listen(last_seen=told[-1].id)
    latest = await accept(redis, a_checkout())
    told += [await second.next() for _ in range(34)]
    assert [seen(event) for event in told] == [
        ("order", str(order), "processing") for order in (*orders, *later, latest)
    ]
    assert len({event.id for event in told}) == 41


async def test_what_cannot_be_resumed_begins_with_the_present_state(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await accept(redis, a_checkout())
    trimmed = (await redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    gone = await accept(redis, a_checkout())
    kept = await accept(redis, a_checkout())
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    of_no_stream = ["18446744073709551615-1", "99999999999999999999-0", "0-1", "x", "1-0-0", "1"]
    for last_seen in (trimmed, *of_no_stream):
        source = await door.listen(last_seen=last_seen)
        state = await source.next()
        assert state.name == "orders", last_seen
        assert {order["id"] for order in state.data} == {str(first), str(gone), str(kept)}
        await source.close()

    monkeypatch.setattr(follow_stream, "WAITING", 2)
    for _ in range(3):
        await accept(redis, a_checkout())
    assert (await (await door.listen(last_seen=state.id)).next()).name == "orders"


async def test_a_stream_trimmed_to_nothing_has_no_gap(door: Door, redis: Redis) -> None:
    await accept(redis, a_checkout())
    first = await door.listen()
    last_seen = (await first.next()).id
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    second = await door.listen(last_seen=last_seen)
    order = await accept(redis, a_checkout())
    assert seen(await second.next()) == ("order", str(order), "processing")


async def test_a_heartbeat_moves_the_browsers_last_event_id_along(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_orders, "HEARTBEAT", timedelta(milliseconds=50))
    anna = await door.listen()
    await anna.next()
    await accept(redis, a_checkout("bob"))
    tail = (await redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    await anna.read_until(lambda: anna.last_id == tail)
    assert ": alive" in anna.comments
    assert 1000 <= anna.retry <= 5000


async def test_what_was_seen_is_not_told_again_by_a_reader_that_is_behind(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    listener = listeners.Listener("anna")
    orders = [await accept(redis, a_checkout()) for _ in range(3)]
    entries: Any = await redis.xrange(STREAM)
    for (entry_id, _), order in zip(entries, orders, strict=True):
        listener.tell(listeners.Moved(entry_id.decode(), "anna", order))
    opening = live_orders.Opening(entries[1][0].decode())
    told = live_orders.tell_orders(redis, engine, settings, door.follower, listener, opening)
    sent = [await anext(told), await anext(told)]
    assert sent[0].startswith(b"retry: ")
    assert str(orders[2]).encode() in sent[1]
