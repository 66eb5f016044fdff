"""A batch of entries becomes rows once, whatever is in it, in whatever order it comes."""

import asyncio
from dataclasses import replace
from decimal import Decimal
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry, moment
from services.orders.record_events import BatchResult, record, record_batch
from shared.events import Line, Status
from tests.builders import HEADPHONES, MORNING, a_change, a_checkout, a_joined_key, an_entry
from tests.tables import rows

ME = "consumer-1"
LAST_MOMENT = 253_370_764_799_999  # ms; the end of 9998, the last that an entry may bear


def counts(result: BatchResult) -> tuple[int, int, list[str]]:
    return len(result.recorded), len(result.duplicates), [str(letter.reason) for letter in result.buried]


async def test_an_order_keeps_product_title_and_unit_price_as_bought(engine: AsyncEngine) -> None:
    order_id = uuid4()
    legacy = Line(product_id="gone-9", title="Tape Deck", unit_price=None, quantity=3)
    event = a_checkout("user_ada", HEADPHONES, legacy, total=Decimal("129.99"), payment_session_id="cs_test_12345678")
    result = await record_batch(engine, [an_entry(event, order_id, "1719-0", MORNING + 7)], ME)
    assert counts(result) == (1, 0, [])
    assert await rows(
        engine,
        "SELECT id, user_id, total, status, extract(epoch FROM created_at) * 1000, payment_session_id FROM orders",
    ) == [(order_id, "user_ada", Decimal("129.99"), "processing", MORNING + 7, "cs_test_12345678")]
    assert await rows(engine, "SELECT line, product_id, title, unit_price, quantity FROM order_items ORDER BY 1") == [
        (1, "1", "Wireless Headphones", Decimal("129.00"), 1),
        (2, "gone-9", "Tape Deck", None, 3),
    ]
    assert await rows(engine, "SELECT event_id, type, order_id, stream, entry_id FROM events") == [
        (order_id, "checkout.completed", order_id, "till:{0}:events", "1719-0")
    ]


async def test_the_moment_of_an_acceptance_and_the_amounts_are_exact_however_far_or_large(engine: AsyncEngine) -> None:
    moments = [0, 1, 999, MORNING + 7, LAST_MOMENT]
    dear = Line(product_id="1", title="Prototype", unit_price=Decimal("999999.99"), quantity=1)
    batch = [an_entry(a_checkout(f"user_{at}", dear), at=at) for at in moments]
    assert counts(await record_batch(engine, batch, ME)) == (5, 0, [])
    for column in ("accepted_at FROM events", "changed_at FROM order_statuses", "created_at FROM orders"):
        assert await rows(engine, f"SELECT {column} ORDER BY 1") == [(moment(at),) for at in moments]
    assert await rows(engine, "SELECT DISTINCT total, unit_price FROM orders, order_items") == [(dear.unit_price,) * 2]


async def test_the_archive_holds_the_payload_byte_for_byte(engine: AsyncEngine) -> None:
    entry = an_entry(a_checkout("user_grüße"))
    await record_batch(engine, [entry], ME)
    [(payload,)] = await rows(engine, "SELECT payload::text FROM events")
    assert payload.encode() == entry.field("payload")


async def test_no_order_reads_a_table_that_was_analyzed_while_it_was_small(engine: AsyncEngine) -> None:
    scans = "SELECT coalesce(sum(seq_scan), 0) FROM pg_stat_xact_user_tables"
    async with engine.begin() as connection:
        await connection.execute(text("ANALYZE"))
    async with engine.begin() as connection:
        await record(connection, [an_entry(a_checkout(f"user_{number}")) for number in range(20)], ME)
        assert (await connection.execute(text(scans))).scalar_one() == 0


async def test_a_redelivered_batch_changes_nothing(engine: AsyncEngine) -> None:
    order_id = uuid4()
    batch = [an_entry(a_checkout(), order_id), an_entry(a_change(order_id)), an_entry(a_joined_key(order_id, uuid4()))]
    assert counts(await record_batch(engine, batch, ME)) == (3, 0, [])
    tables = "SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM orders), (SELECT count(*) FROM order_items)"
    assert await rows(engine, tables) == [(3, 1, 2)]
    assert counts(await record_batch(engine, batch, ME)) == (0, 3, [])
    assert counts(await record_batch(engine, batch[::-1], "consumer-2")) == (0, 3, [])
    assert await rows(engine, tables) == [(3, 1, 2)]
    assert await rows(engine, "SELECT status FROM orders") == [("paid",)]


async def test_the_same_event_twice_in_one_batch_is_one_order(engine: AsyncEngine) -> None:
    order_id = uuid4()
    batch = [an_entry(a_checkout(), order_id), an_entry(a_checkout("user_bob")), an_entry(a_checkout(), order_id)]
    assert counts(await record_batch(engine, batch, ME)) == (2, 1, [])
    assert await rows(engine, "SELECT count(*) FROM orders") == [(2,)]


async def test_other_prices_and_titles_are_still_the_same_checkout(engine: AsyncEngine) -> None:
    order_id = uuid4()
    dearer = a_checkout("user_ada", replace(HEADPHONES, unit_price=Decimal(139), title="New name"))
    result = await record_batch(engine, [an_entry(a_checkout(), order_id), an_entry(dearer, order_id)], ME)
    assert counts(result) == (1, 1, [])


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_a_known_event_id_with_other_content_is_an_alarm_and_never_silent(
    engine: AsyncEngine, in_one_batch: bool
) -> None:
    order_id, change_id = uuid4(), uuid4()
    first = [an_entry(a_checkout(), order_id), an_entry(a_change(order_id), change_id)]
    other = [
        an_entry(a_checkout(fingerprint="0d" * 32), order_id),
        an_entry(a_change(order_id, Status.CANCELLED), change_id),
    ]
    if in_one_batch:
        result = await record_batch(engine, first + other, ME)
    else:
        await record_batch(engine, first, ME)
        result = await record_batch(engine, other, ME)
    assert [str(letter.reason) for letter in result.buried] == ["key_reused", "content_conflict"]
    assert await rows(engine, "SELECT reason, entry_id, event_id, user_id FROM dead_letters ORDER BY reason DESC") == [
        ("key_reused", other[0].entry_id, order_id, "user_ada"),
        ("content_conflict", other[1].entry_id, change_id, "user_ada"),
    ]
    assert await rows(engine, "SELECT status FROM orders") == [("paid",)]


@pytest.mark.parametrize("in_one_batch", [True, False])
async def test_another_users_event_id_is_an_alarm_whatever_partition_either_is_in(
    engine: AsyncEngine, in_one_batch: bool
) -> None:
    users = [f"user_{number}" for number in range(20)]
    ids = {user: (uuid4(), uuid4(), uuid4()) for user in users}
    sound, forged = [], []
    for user, forger in zip(users, users[1:] + users[:1], strict=True):
        order_id, change_id, join_id = ids[user]
        sound += [
            an_entry(a_checkout(user), order_id),
            an_entry(a_change(order_id, user=user), change_id),
            an_entry(a_joined_key(order_id, uuid4(), user), join_id),
        ]
        own_order = ids[forger][0]
        forged += [
            an_entry(a_checkout(forger), order_id),
            an_entry(a_change(own_order, Status.CANCELLED, forger), change_id),
            an_entry(a_joined_key(own_order, uuid4(), forger), join_id),
        ]
    if in_one_batch:
        result = await record_batch(engine, sound + forged, ME)
    else:
        await record_batch(engine, sound, ME)
        result = await record_batch(engine, forged + sound, "consumer-2")
        assert counts(result)[:2] == (0, 60)
    reasons = [str(letter.reason) for letter in result.buried]
    assert reasons == ["key_reused", "content_conflict", "content_conflict"] * 20
    assert await rows(engine, "SELECT count(*), count(DISTINCT event_id) FROM events") == [(60, 60)]
    assert await rows(engine, "SELECT status, count(*) FROM orders GROUP BY 1") == [("paid", 20)]


async def test_of_two_users_who_bring_one_event_id_at_once_exactly_one_gets_it(engine: AsyncEngine) -> None:
    ids = [uuid4() for _ in range(30)]
    batches = [[an_entry(a_checkout(user), event_id) for event_id in ids] for user in ("user_ada", "user_eve")]
    results = await asyncio.gather(*(record_batch(engine, batch, ME) for batch in batches))
    assert sorted(counts(result)[0] for result in results) == [0, 30]
    assert sorted(len(counts(result)[2]) for result in results) == [0, 30]
    assert await rows(engine, "SELECT count(*), count(DISTINCT user_id) FROM events") == [(30, 1)]


async def test_a_batch_mixes_every_outcome_in_one_transaction(engine: AsyncEngine) -> None:
    order_id = uuid4()
    await record_batch(engine, [an_entry(a_checkout(), order_id)], ME)
    batch = [
        an_entry(a_checkout(), order_id),
        Entry("1719-1", ((b"payload", b"\xff"),)),
        an_entry(a_checkout("user_bob")),
    ]
    assert counts(await record_batch(engine, batch, ME)) == (1, 1, ["missing_event_id"])
    written = """SELECT count(DISTINCT writer) FROM (
        SELECT xmin::text AS writer FROM dead_letters UNION ALL
        SELECT xmin::text FROM orders WHERE user_id = 'user_bob') AS both_rows"""
    assert await rows(engine, written) == [(1,)]


async def test_an_empty_batch_is_nothing(engine: AsyncEngine) -> None:
    assert await record_batch(engine, [], ME) == BatchResult()
