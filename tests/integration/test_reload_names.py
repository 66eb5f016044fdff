"""What Redis lost is read back from the archive before anything new is accepted."""

from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from redis.exceptions import ResponseError
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import ensure_group
from services.orders.entries import Entry, entries_of, keep_raw
from services.orders.record_events import record_batch
from services.orders.reload_names import check_names, reload_names
from shared.events import Event, PaymentOpened, Status, encode
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, user_digest
from tests.builders import a_change, a_checkout, a_joined_key, an_entry, fields_of, names

SECOND, DAY = 1000, 86_400_000  # ms


async def now(redis: Redis) -> int:
    """Redis' clock in ms."""
    seconds, microseconds = await redis.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


async def archive(engine: AsyncEngine, event: Event, at: int, event_id: UUID | None = None) -> UUID:
    """Leaves an event in the archive as the consumer does; returns its id."""
    event_id = event_id or uuid4()
    await record_batch(engine, [an_entry(event, event_id, at=at)], "consumer-1")
    return event_id


async def bearer(redis: Redis, name: UUID) -> UUID | None:
    value: Any = await redis.get(name_key(name))
    return UUID(value.decode()) if value else None


async def record_of(redis: Redis, order_id: UUID) -> dict[str, str]:
    fields: Any = await redis.hgetall(order_key(order_id))
    return {name.decode(): value.decode() for name, value in fields.items()}


async def test_every_name_and_record_comes_back_as_accepting_wrote_it(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    key, cart, window = (uuid4() for _ in range(3))
    at = await now(redis) - 10 * SECOND
    event = a_checkout(names=names(key=key, carts=(cart,), window=window))
    order_id = await archive(engine, event, at)
    await redis.delete(NAMES_LOADED)
    assert await reload_names(engine, redis, settings) == 1
    assert [await bearer(redis, name) for name in (key, cart, window)] == [order_id] * 3
    record = await record_of(redis, order_id)
    assert record == {
        "user": user_digest("user_ada"),
        "fingerprint": event.fingerprint,
        "key": str(key),
        "status": "processing",
        "accepted_at": str(at),
        "payload": encode(event).decode(),
    }
    left = settings.identity_days * DAY - 10 * SECOND
    for kept in (order_key(order_id), name_key(key), name_key(cart)):
        assert left - 20 * SECOND < await redis.pttl(kept) <= left
    assert 0 < await redis.pttl(name_key(window)) <= 20 * SECOND
    assert await redis.exists(NAMES_LOADED)


async def test_a_payment_session_comes_back_until_it_ends_with_its_order_or_as_its_reservation(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    at = await now(redis)
    ordered = await archive(engine, a_checkout(), at)
    cancelled = await archive(engine, a_checkout("user_bob"), at)
    await archive(engine, a_change(cancelled, Status.CANCELLED, "user_bob"), at)
    orders = {"ordered": ordered, "reserved": uuid4(), "ended": uuid4(), "cancelled": cancelled}
    users = {"cancelled": "user_bob", "ended": "user_eve"}
    opened = {
        case: PaymentOpened(
            user_id=users.get(case, "user_ada"),
            order_id=order_id,
            payment_session_id=f"cs_of_{case}",
            expires_at=at + (-SECOND if case == "ended" else 60 * SECOND),
            slot=uuid4(),
            checkout=a_checkout(users.get(case, "user_ada"), names=names(payment_session=uuid4())),
        )
        for case, order_id in orders.items()
    }
    for event in opened.values():
        await archive(engine, event, at)
    for _ in range(2):
        await reload_names(engine, redis, settings)
    assert {case: await bearer(redis, event.slot) for case, event in opened.items()} == {
        "ordered": ordered,
        "reserved": orders["reserved"],
        "ended": None,
        "cancelled": None,
    }
    assert 0 < await redis.pttl(name_key(opened["reserved"].slot)) <= 60 * SECOND
    assert 0 < await redis.pttl(order_key(orders["reserved"])) <= 60 * SECOND
    reservation = await record_of(redis, orders["reserved"])
    assert reservation["draft"] == encode(opened["reserved"].checkout).decode()
    assert (reservation["session"], "payload" in reservation) == ("cs_of_reserved", False)
    order = await record_of(redis, ordered)
    assert (order["session"], "draft" in order) == ("cs_of_ordered", False)
    assert await record_of(redis, orders["ended"]) == {}


async def test_the_window_of_an_old_checkout_is_over_and_its_horizon_ends_its_memory(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    key, window, forgotten = (uuid4() for _ in range(3))
    order_id = await archive(engine, a_checkout(names=names(key=key, window=window)), await now(redis) - 40 * SECOND)
    too_old = await now(redis) - settings.identity_days * DAY - SECOND
    gone = await archive(engine, a_checkout("user_bob", names=names(key=forgotten)), too_old)
    assert await reload_names(engine, redis, settings) == 1
    assert await bearer(redis, key) == order_id
    assert await bearer(redis, window) is None
    assert await bearer(redis, forgotten) is None
    assert not await redis.exists(order_key(gone))


async def test_a_key_that_joined_later_comes_back_with_its_checkout(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    """Also when the checkout alone would be forgotten: accepting a key prolonged its memory."""
    key, old_key = uuid4(), uuid4()
    order_id = await archive(engine, a_checkout(), await now(redis) - SECOND)
    await archive(engine, a_joined_key(order_id, key), await now(redis))
    old = await archive(engine, a_checkout(), await now(redis) - settings.identity_days * DAY - SECOND)
    await archive(engine, a_joined_key(old, old_key), await now(redis) - DAY)
    await reload_names(engine, redis, settings)
    for joined, order in ((key, order_id), (old_key, old)):
        assert await bearer(redis, joined) == order
        assert (await record_of(redis, order))["key"] == str(joined)
        assert "payload" in await record_of(redis, order)


async def test_what_is_there_is_never_overwritten_and_a_status_only_moves_forward(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    key = uuid4()
    paid = await archive(engine, a_checkout(names=names(key=key)), await now(redis))
    await archive(engine, a_change(paid), await now(redis))
    cancelled = await archive(engine, a_checkout("user_bob"), await now(redis))
    other = uuid4()
    await redis.set(name_key(key), str(other))
    await redis.hset(order_key(paid), mapping={"user": "somebody", "status": "processing"})
    await redis.hset(order_key(cancelled), mapping={"status": "cancelled"})  # accepted, not recorded yet
    await reload_names(engine, redis, settings)
    assert await bearer(redis, key) == other
    assert (await record_of(redis, paid))["user"] == "somebody"
    assert (await record_of(redis, paid))["status"] == "paid"
    assert (await record_of(redis, cancelled))["status"] == "cancelled"


async def test_a_cancelled_order_keeps_its_key_alone(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    """The shopper cancelled and bought the same again: the weak names are the second order's."""
    key, cart, window = (uuid4() for _ in range(3))
    at = await now(redis) - 5 * SECOND
    first = await archive(engine, a_checkout(names=names(key=key, carts=(cart,), window=window)), at)
    await archive(engine, a_change(first, Status.CANCELLED), at + 1)
    second = await archive(engine, a_checkout(names=names(carts=(cart,), window=window)), at + 2)
    await redis.set(name_key(cart), str(first))  # from a backup of the time before the cancel
    await reload_names(engine, redis, settings)
    assert await bearer(redis, key) == first
    assert [await bearer(redis, name) for name in (cart, window)] == [second, second]


async def test_of_two_live_orders_the_earlier_keeps_the_name(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    """A second key means a second order; the bare cart still stands for the first."""
    cart = uuid4()
    at = await now(redis) - 5 * SECOND
    second = await archive(engine, a_checkout(names=names(key=uuid4(), carts=(cart,))), at + 1)
    first = await archive(engine, a_checkout(names=names(key=uuid4(), carts=(cart,))), at)
    await reload_names(engine, redis, settings)
    assert await bearer(redis, cart) == first != second


async def test_more_than_a_page_is_reloaded(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    at = await now(redis)
    keys = [uuid4() for _ in range(2300)]
    entries = [an_entry(a_checkout(names=names(key=key)), at=at - number // 700) for number, key in enumerate(keys)]
    await record_batch(engine, entries, "consumer-1")
    assert await reload_names(engine, redis, settings) == 2300
    assert await redis.exists(*(name_key(key) for key in keys)) == 2300


async def test_the_marker_comes_last_and_not_at_all_when_something_fails(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await archive(engine, a_checkout(names=names(key=uuid4())), await now(redis))
    await redis.set(order_key(order_id), "a foreign key in the way")
    await redis.delete(NAMES_LOADED)
    with pytest.raises(ResponseError, match="WRONGTYPE"):
        await reload_names(engine, redis, settings)
    assert not await redis.exists(NAMES_LOADED)


async def in_stream(redis: Redis) -> list[Entry]:
    keep_raw(redis)
    return entries_of(await redis.xrange(STREAM))


async def test_nothing_is_reloaded_while_the_names_are_there(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    await ensure_group(redis)
    assert await check_names(engine, redis, settings) is None
    for _ in range(3):
        await redis.xadd(STREAM, fields_of(a_checkout(), accepted_at=await now(redis)))
    await record_batch(engine, await in_stream(redis), "consumer-1")
    assert await check_names(engine, redis, settings) is None
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    assert await check_names(engine, redis, settings) is None, "trimmed is not lost"
    await redis.delete(NAMES_LOADED)
    assert await check_names(engine, redis, settings) == 3
    assert await check_names(engine, redis, settings) is None


async def test_a_redis_that_went_back_in_time_is_noticed_before_and_after_it_accepts_again(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for accepts_again in (False, True):
        await redis.delete(STREAM)
        await ensure_group(redis)
        key = uuid4()
        kept = await redis.xadd(STREAM, fields_of(a_checkout(), accepted_at=await now(redis)))
        await redis.xadd(STREAM, fields_of(a_checkout("user_bob", names=names(key=key)), accepted_at=await now(redis)))
        await record_batch(engine, await in_stream(redis), "consumer-1")
        assert await check_names(engine, redis, settings) is None
        assert await bearer(redis, key) is None
        newest = (await in_stream(redis))[-1].entry_id
        # an older append-only file: the marker of then, the stream of then
        await redis.delete(STREAM)
        await redis.xadd(STREAM, {"event_id": "x"}, id=kept)
        if accepts_again:
            await redis.xadd(STREAM, {"event_id": "y"})
        assert await check_names(engine, redis, settings)
        assert await bearer(redis, key) is not None
        assert await check_names(engine, redis, settings) is None, "once is enough"
        next_id = (await redis.xadd(STREAM, {"event_id": "z"}, id="*")).decode()
        assert tuple(map(int, next_id.split("-"))) > tuple(map(int, newest.split("-")))


async def test_all_of_redis_lost_is_noticed(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    await archive(engine, a_checkout(names=names(key=uuid4())), await now(redis))
    async with engine.begin() as connection:
        await connection.execute(text("UPDATE events SET entry_id = '99999999999999-0'"))
    await redis.delete(NAMES_LOADED)
    await ensure_group(redis)
    assert await check_names(engine, redis, settings) == 1
    assert (await redis.xadd(STREAM, {"a": "b"})) == b"99999999999999-1", "no entry id is given twice"
