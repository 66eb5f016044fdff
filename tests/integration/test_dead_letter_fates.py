"""Operators decide the fate of a dead letter: each of their decisions takes effect exactly once and leaves a trace."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import trim_stream
from services.orders.dead_letter_fates import (
    discard_letters,
    edit_letter,
    preview_requeue,
    requeue_letters,
)
from services.orders.dead_letter_reads import LetterFilters, State, list_letters, read_letter
from services.orders.entries import keep_raw
from services.orders.queries import list_orders
from shared.errors import ApiError
from shared.events import encode
from shared.settings import Settings
from shared.streams import STREAM, order_key
from tests.builders import a_checkout, fields_of
from tests.integration.operators import OLGA, consume
from tests.integration.orders_stage import accept
from tests.tables import rows

ALL = LetterFilters()


async def damaged(redis: Redis, user: str = "user_ada", event_id: UUID | None = None) -> UUID:
    """A checkout that was accepted, and whose payload in the stream lost its last byte."""
    event, event_id = a_checkout(user), event_id or uuid4()
    await accept(redis, event, event_id)
    [(entry_id, fields)] = await redis.xrevrange(STREAM, count=1)
    await redis.xdel(STREAM, entry_id)
    await redis.xadd(STREAM, fields | {b"payload": fields[b"payload"][:-1]})
    return event_id


def counts(**found: int) -> dict[str, int]:
    return {"insert": 0, "already_there": 0, "conflict": 0, "reject": 0, "total": sum(found.values())} | found


async def only_letter(engine: AsyncEngine) -> Any:
    [letter] = await list_letters(engine, ALL)
    return letter


async def test_an_edited_letter_becomes_the_order_that_it_should_have_been(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    order_id = await damaged(redis)
    await consume(engine, redis, settings)
    letter = await only_letter(engine)
    original = letter.fields
    assert (letter.state, letter.reason, letter.attempts) == ("buried", "undecodable", 1)
    assert await preview_requeue(engine, ALL) == counts(reject=1)
    await edit_letter(engine, letter.id, {"payload": encode(a_checkout()).decode()}, OLGA)
    assert await preview_requeue(engine, ALL) == counts(insert=1)
    fates = await requeue_letters(engine, redis, ALL, OLGA)
    assert list(fates.done) == [letter.id]
    await consume(engine, redis, settings)
    assert await rows(engine, "SELECT id, total FROM orders") == [(order_id, a_checkout().total)]
    settled = await read_letter(engine, letter.id)
    assert (settled.state, settled.is_recorded, settled.settled_by) == ("requeued", True, "olga")
    assert settled.public(whole=True)["fields"] == letter.stored, "the original is kept"
    assert original != settled.fields


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"payload": "{"}, "cannot be recorded: undecodable"),
        ({"payload": encode(a_checkout()).decode().replace('"version":1', '"version":9')}, "cannot be recorded"),
        ({"event_id": str(UUID(int=7))}, "readable event id stays"),
        ({"fingerprint": "x"}, "Only event_id, payload, accepted_at"),
        ({}, "Nothing to edit"),
        ({"payload": "\ud800"}, "not text"),
    ],
)
async def test_an_edit_that_no_consumer_could_record_is_refused(
    engine: AsyncEngine, redis: Redis, settings: Settings, changes: dict[str, str], says: str
) -> None:
    await damaged(redis)
    await consume(engine, redis, settings)
    letter = await only_letter(engine)
    with pytest.raises(ApiError, match=says):
        await edit_letter(engine, letter.id, changes, OLGA)
    assert (await only_letter(engine)).stored_edit is None


async def test_a_letter_that_fails_again_is_the_same_letter_with_one_attempt_more(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await damaged(redis)
    await consume(engine, redis, settings)
    for attempts in (2, 3):
        assert len((await requeue_letters(engine, redis, ALL, OLGA)).done) == 1
        assert (await only_letter(engine)).state == "requeued"
        await consume(engine, redis, settings)
        letter = await only_letter(engine)
        assert (letter.state, letter.attempts, len(letter.requeued_as)) == ("buried", attempts, attempts - 1)
    assert letter.last_failed_at > letter.first_failed_at


async def test_a_double_click_puts_a_letter_back_once(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    for number in range(250):
        await redis.xadd(STREAM, {"payload": f"scrap {number}"})
    await consume(engine, redis, settings.model_copy(update={"dead_letter_limit": 1000}))
    clicks = await asyncio.gather(*(requeue_letters(engine, redis, ALL, OLGA) for _ in range(4)))
    assert await redis.xlen(STREAM) == 500
    assert sorted(letter_id for fates in clicks for letter_id in fates.done) == sorted(
        letter.id for letter in await list_letters(engine, ALL, limit=500)
    )


async def test_a_requeue_that_was_cut_off_before_its_commit_puts_nothing_back_twice(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await damaged(redis)
    await consume(engine, redis, settings)
    letter = await only_letter(engine)
    first = await requeue_letters(engine, redis, ALL, OLGA)
    async with engine.begin() as connection:  # what the rows are when the process dies after the script
        await connection.execute(text("UPDATE dead_letters SET state = 'buried', requeued_as = '{}'"))
    second = await requeue_letters(engine, redis, LetterFilters(ids=(letter.id,)), OLGA)
    assert second.done == first.done
    assert await redis.xlen(STREAM) == 2


async def test_a_discarded_checkout_is_no_longer_processing_for_its_owner(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    order_id, other = await damaged(redis, "user_ada"), await damaged(redis, "user_bob")
    await consume(engine, redis, settings)
    assert [order.id for order in (await list_orders(redis, engine, "user_ada")).orders] == [order_id]
    chosen = LetterFilters(event=order_id)
    fates = await discard_letters(engine, redis, chosen, OLGA)
    assert len(fates.done) == 1
    assert (await list_orders(redis, engine, "user_ada")).orders == []
    assert [order.id for order in (await list_orders(redis, engine, "user_bob")).orders] == [other]
    assert await redis.hget(order_key(order_id), "status") == b"cancelled", "its weak names are free again"
    [letter] = await list_letters(engine, chosen)
    assert (letter.state, letter.settled_why) == ("discarded", OLGA.why)
    assert (await requeue_letters(engine, redis, LetterFilters(ids=(letter.id,)), OLGA)).skipped == [letter.id]
    with pytest.raises(ApiError, match="is discarded"):
        await edit_letter(engine, letter.id, {"payload": "{}"}, OLGA)


async def test_every_filter_narrows_the_letters(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    first = await damaged(redis, "user_ada")
    await redis.xadd(STREAM, {"payload": "no name"})
    conflicting = uuid4()
    await accept(redis, a_checkout("user_eve"), conflicting)
    await redis.xadd(STREAM, fields_of(a_checkout("user_mallory", fingerprint="66" * 32), conflicting))
    await consume(engine, redis, settings)
    cases: list[tuple[dict[str, Any], int]] = [
        ({}, 3),
        ({"reason": "missing_event_id"}, 1),
        ({"user": "user_mallory"}, 1),
        ({"event": first}, 1),
        ({"event": conflicting, "reason": "key_reused"}, 1),
        ({"state": State.DISCARDED}, 0),
        ({"from": "2020-01-01", "to": "2021-01-01"}, 0),
        ({"from": "2020-01-01"}, 3),
    ]
    for given, count in cases:
        assert len(await list_letters(engine, LetterFilters(**given))) == count, given


async def test_what_failed_again_does_not_stop_the_trimming(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    await redis.xadd(STREAM, {"payload": "no name"})
    await consume(engine, redis, settings)
    for _ in range(2):
        await requeue_letters(engine, redis, ALL, OLGA)
        await consume(engine, redis, settings)
    raw: Redis = Redis(connection_pool=redis.connection_pool)
    keep_raw(raw)
    result = await trim_stream.run_once(engine, raw, settings.model_copy(update={"stream_retention": 0.0}))
    assert (result.trimmed, result.unarchived) == (3, None)


async def test_every_decision_stands_in_the_trail(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    await damaged(redis)
    await consume(engine, redis, settings)
    letter = await only_letter(engine)
    await edit_letter(engine, letter.id, {"payload": encode(a_checkout()).decode()}, OLGA)
    await requeue_letters(engine, redis, ALL, OLGA)
    await discard_letters(engine, redis, ALL, OLGA)
    told = await rows(engine, "SELECT action, phase, who, why, dry_run IS NOT NULL FROM audit ORDER BY seq")
    assert told == [
        (f"dead-letters.{action}", phase, "olga", OLGA.why, action == "requeue")
        for action in ("edit", "requeue", "discard")
        for phase in ("begun", "done")
    ]
