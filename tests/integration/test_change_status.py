"""One move for an order, decided when it is asked for."""

import asyncio

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.change_status import Changed, Refused, Unchanged, Unknown, change_status, look_up
from shared.errors import Unavailable
from shared.events import Status, StatusChanged, decode
from shared.settings import Settings
from shared.streams import NAMES_LOADED, STREAM, order_key, overlay_key
from tests.builders import HEADPHONES, KEYBOARDS
from tests.integration.orders_stage import (
    MORNING,
    a_checkout,
    accept,
    fields_in_stream,
    forget,
    moves_in_stream,
    record,
)
from tests.servers import Servers


async def test_of_two_racing_moves_exactly_one_is_accepted(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for _round in range(200):
        order_id = await accept(redis, a_checkout())
        outcomes = await asyncio.gather(
            change_status(redis, engine, settings, "anna", order_id, Status.PAID),
            change_status(redis, engine, settings, "anna", order_id, Status.CANCELLED),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Changed", "Refused"]
        assert len({outcome.order.status for outcome in outcomes if not isinstance(outcome, Unknown)}) == 1
    assert len(await moves_in_stream(redis)) == 200


async def test_of_two_racing_moves_of_an_order_that_only_the_archive_knows_exactly_one_is_accepted(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for _round in range(50):
        order_id = await record(engine, a_checkout())
        outcomes = await asyncio.gather(
            change_status(redis, engine, settings, "anna", order_id, Status.CANCELLED),
            change_status(redis, engine, settings, "anna", order_id, Status.PAID),
        )
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Changed", "Refused"]
    assert len(await moves_in_stream(redis)) == 50


async def test_a_hundred_clients_that_pay_at_once_make_one_event(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout())
    outcomes = await asyncio.gather(
        *(change_status(redis, engine, settings, "anna", order_id, Status.PAID) for _client in range(100))
    )
    assert [type(outcome) for outcome in outcomes].count(Changed) == 1
    assert [type(outcome) for outcome in outcomes].count(Unchanged) == 99
    assert {str(outcome) for outcome in outcomes if isinstance(outcome, Unchanged)} == {str(outcomes[-1])}
    assert await moves_in_stream(redis) == ["paid"]


async def test_a_move_is_in_the_stream_in_the_overlay_and_in_the_record_that_lives_for_the_horizon(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout())
    outcome = await change_status(redis, engine, settings, "anna", order_id, Status.PAID)

    assert isinstance(outcome, Changed)
    assert outcome.order.status == "paid"
    assert outcome.order.accepted_at == MORNING
    fields = (await fields_in_stream(redis))[-1]
    event = decode(fields[b"payload"])
    assert event == StatusChanged(user_id="anna", order_id=order_id, status=Status.PAID)
    noted = await redis.hget(overlay_key("anna"), fields[b"event_id"])
    assert noted == b'{"accepted_at":%s,"event":%s}' % (fields[b"accepted_at"], fields[b"payload"])
    seconds, microseconds = await redis.time()
    assert 0 <= seconds * 1000 + microseconds // 1000 - int(fields[b"accepted_at"]) < 60_000
    assert await redis.hget(order_key(order_id), "status") == b"paid"
    horizon = settings.identity_horizon.total_seconds() * 1000
    assert horizon - 60_000 < await redis.pttl(order_key(order_id)) <= horizon


async def test_the_event_id_of_a_move_is_the_same_however_often_it_is_asked_for(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await record(engine, a_checkout())
    for _forgotten in range(2):
        await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
        await redis.delete(order_key(order_id), overlay_key("anna"))
    ids = {fields[b"event_id"] for fields in await fields_in_stream(redis)}
    assert len(ids) == 1


async def test_nobody_moves_or_sees_the_order_of_another(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    accepted = await accept(redis, a_checkout("anna"))
    recorded = await record(engine, a_checkout("anna"))
    for order_id in (accepted, recorded):
        assert await change_status(redis, engine, settings, "boris", order_id, Status.CANCELLED) == Unknown()
        assert await look_up(redis, engine, settings, "boris", order_id) is None
    assert await moves_in_stream(redis) == []


async def test_the_record_of_a_move_hides_the_order_from_others_after_the_checkout_was_forgotten(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await record(engine, a_checkout("anna"))
    assert isinstance(await change_status(redis, engine, settings, "anna", order_id, Status.PAID), Changed)
    assert await change_status(redis, engine, settings, "boris", order_id, Status.PAID) == Unknown()
    again = await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    assert isinstance(again, Unchanged)
    assert again.order.items == [{"id": "1", "quantity": 1}]


async def test_a_recorded_status_is_never_left_for_another(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await record(engine, a_checkout("anna", KEYBOARDS, HEADPHONES), status=Status.PAID)
    refused = await change_status(redis, engine, settings, "anna", order_id, Status.CANCELLED)
    assert isinstance(refused, Refused)
    assert refused.order.status == "paid"
    assert refused.order.items == [{"id": "2", "quantity": 2}, {"id": "1", "quantity": 1}]
    assert await redis.exists(STREAM, order_key(order_id), overlay_key("anna")) == 0


async def test_an_order_whose_record_expired_before_it_was_recorded_still_moves(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout())
    await redis.delete(order_key(order_id))
    assert isinstance(await change_status(redis, engine, settings, "anna", order_id, Status.PAID), Changed)
    assert isinstance(await change_status(redis, engine, settings, "anna", order_id, Status.CANCELLED), Refused)


async def test_looking_up_an_order_changes_nothing(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    order_id = await accept(redis, a_checkout())
    paid = await accept(redis, a_checkout())
    await change_status(redis, engine, settings, "anna", paid, Status.PAID)
    before = await redis.xlen(STREAM)

    found = await look_up(redis, engine, settings, "anna", order_id)
    assert found is not None
    assert found.status == "processing"
    found_paid = await look_up(redis, engine, settings, "anna", paid)
    assert found_paid is not None
    assert found_paid.status == "paid"
    assert await redis.xlen(STREAM) == before


async def test_nothing_moves_before_the_names_are_loaded(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    order_id = await accept(redis, a_checkout())
    await redis.delete(NAMES_LOADED)
    with pytest.raises(Unavailable):
        await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    assert await moves_in_stream(redis) == []


async def test_a_full_redis_refuses_a_move_whole(redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
    order_id = await accept(redis, a_checkout())
    await redis.config_set("maxmemory", 1)
    try:
        with pytest.raises(Unavailable):
            await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    finally:
        await redis.config_set("maxmemory", 0)
    assert await moves_in_stream(redis) == []
    assert await redis.hget(order_key(order_id), "status") == b"processing"
    assert isinstance(await change_status(redis, engine, settings, "anna", order_id, Status.PAID), Changed)


async def test_a_stream_that_takes_no_entry_leaves_the_order_where_it_was(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    order_id = await accept(redis, a_checkout())
    await redis.set(STREAM, "no stream")
    before = await redis.hgetall(overlay_key("anna"))
    with pytest.raises(Unavailable):
        await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    assert await redis.hget(order_key(order_id), "status") == b"processing"
    assert await redis.hgetall(overlay_key("anna")) == before


async def test_a_move_that_redis_knows_enough_for_needs_no_postgres(
    redis: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    accepted = await accept(redis, a_checkout())
    recorded = await record(engine, a_checkout())
    servers.postgres.stop()
    assert isinstance(await change_status(redis, engine, settings, "anna", accepted, Status.CANCELLED), Changed)
    with pytest.raises(Unavailable):
        await change_status(redis, engine, settings, "anna", recorded, Status.CANCELLED)
    assert await moves_in_stream(redis) == ["cancelled"]


async def test_without_redis_a_move_is_refused_in_time_for_the_client(
    redis: Redis, engine: AsyncEngine, settings: Settings, servers: Servers
) -> None:
    order_id = await record(engine, a_checkout())
    servers.redis.stop()
    async with asyncio.timeout(6):
        with pytest.raises(Unavailable):
            await change_status(redis, engine, settings, "anna", order_id, Status.PAID)


async def test_the_answer_is_the_order_as_it_was_accepted(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    checkout = a_checkout("anna", KEYBOARDS, HEADPHONES, payment_session_id="cs_test_anna_1")
    order_id = await accept(redis, checkout)
    from_redis = await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    await record(engine, checkout, order_id)
    await forget(redis, "anna", order_id)
    await redis.hdel(order_key(order_id), "payload", "accepted_at")
    from_postgres = await change_status(redis, engine, settings, "anna", order_id, Status.PAID)
    assert isinstance(from_redis, Changed)
    assert isinstance(from_postgres, Unchanged)
    assert from_redis.order.public() == from_postgres.order.public()
