"""A status only moves forward, whatever the order of arrival and however many consumers record at once."""

import asyncio
import itertools
import random
from collections.abc import Sequence
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from services.orders.record_events import record, record_batch
from shared.events import Status
from tests.builders import MORNING, a_change, a_checkout, an_entry
from tests.tables import blocked, reasons, rows

ADA, MALLORY = "user_ada", "user_mallory"
DEADLINE = 10  # seconds


async def status_of(engine: AsyncEngine, order_id: UUID) -> str:
    """The order's status, which both tables tell alike."""
    query = (
        f"SELECT o.status, s.status FROM orders o JOIN order_statuses s ON s.order_id = o.id WHERE o.id = '{order_id}'"
    )
    [(status, noted)] = await rows(engine, query)
    assert status == noted
    return str(status)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("batches", [1, 3])
async def test_any_order_of_arrival_gives_the_same_rows(
    engine: AsyncEngine, order: Sequence[int], batches: int
) -> None:
    order_id = uuid4()
    entries = [
        an_entry(a_checkout(ADA), order_id, at=MORNING),
        an_entry(a_change(order_id, Status.PAID), at=MORNING + 5),
        an_entry(a_change(order_id, Status.PAID), at=MORNING + 9),  # the payment webhook tells it again
    ]
    arriving = [entries[number] for number in order]
    for batch in [arriving] if batches == 1 else [[entry] for entry in arriving]:
        await record_batch(engine, batch, "consumer-1")
    assert await status_of(engine, order_id) == "paid"
    assert await reasons(engine) == []
    assert await rows(engine, "SELECT count(*) FROM events") == [(3,)]


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        (Status.CANCELLED, Status.PAID, "paid_after_cancel"),
        (Status.PAID, Status.CANCELLED, "cancelled_after_paid"),
    ],
)
@pytest.mark.parametrize(
    "arrival", ["order first", "order last", "order last, one batch", "one batch", "order between"]
)
async def test_a_contradicting_change_never_moves_the_order_and_is_an_alarm(
    engine: AsyncEngine, first: Status, second: Status, reason: str, arrival: str
) -> None:
    order_id = uuid4()
    checkout = an_entry(a_checkout(ADA), order_id, at=MORNING)
    one, two = an_entry(a_change(order_id, first), at=MORNING + 1), an_entry(a_change(order_id, second), at=MORNING + 2)
    batches = {
        "order first": [[checkout], [one], [two]],
        "order last": [[one], [two], [checkout]],
        "order last, one batch": [[two, one, checkout]],
        "one batch": [[checkout, one, two]],
        "order between": [[one], [checkout], [two]],
    }[arrival]
    for batch in batches:
        await record_batch(engine, batch, "consumer-1")
    assert await status_of(engine, order_id) == first
    assert await rows(engine, "SELECT reason, entry_id, user_id FROM dead_letters") == [(reason, two.entry_id, ADA)]
    assert await rows(engine, "SELECT count(*) FROM events") == [(3,)]
    for batch in batches:
        assert not (await record_batch(engine, batch, "consumer-1")).buried, "a redelivery is a duplicate"


@pytest.mark.parametrize("order_first", [True, False])
async def test_nobody_moves_an_order_of_somebody_else(engine: AsyncEngine, order_first: bool) -> None:
    order_id = uuid4()
    checkout = an_entry(a_checkout(ADA), order_id, at=MORNING)
    theft = an_entry(a_change(order_id, Status.CANCELLED, MALLORY), at=MORNING + 1)
    for entry in [checkout, theft] if order_first else [theft, checkout]:
        await record_batch(engine, [entry], "consumer-1")
    assert await status_of(engine, order_id) == "processing"
    assert await reasons(engine) == ["not_owner"]
    await record_batch(engine, [an_entry(a_change(order_id, Status.PAID), at=MORNING + 2)], "consumer-1")
    assert await status_of(engine, order_id) == "paid"


@pytest.mark.parametrize("order_first", [True, False])
async def test_an_order_and_its_change_in_two_transactions_at_once_meet(engine: AsyncEngine, order_first: bool) -> None:
    """The pause point: the first has written everything and not committed when the second begins."""
    order_id = uuid4()
    entries = [an_entry(a_checkout(ADA), order_id), an_entry(a_change(order_id, Status.PAID))]
    first, second = entries if order_first else entries[::-1]
    async with engine.connect() as connection:
        async with connection.begin():
            await record(connection, [first], "consumer-1")
            other = asyncio.create_task(record_batch(engine, [second], "consumer-2"))
            await blocked(engine, 1)
        async with asyncio.timeout(DEADLINE):
            await other
    assert await status_of(engine, order_id) == "paid"


@pytest.mark.parametrize("order_first", [True, False])
async def test_they_meet_also_when_both_have_archived_before_either_takes_the_order(
    engine: AsyncEngine, order_first: bool
) -> None:
    """The pause point: a lock on the table of statuses stops both after their first statement, in a known queue."""
    order_id = uuid4()
    entries = [an_entry(a_checkout(ADA), order_id), an_entry(a_change(order_id, Status.CANCELLED))]
    first, second = entries if order_first else entries[::-1]
    async with engine.connect() as connection:
        async with connection.begin():
            await connection.execute(text("LOCK TABLE order_statuses IN SHARE ROW EXCLUSIVE MODE"))
            one = asyncio.create_task(record_batch(engine, [first], "consumer-1"))
            await blocked(engine, 1)
            two = asyncio.create_task(record_batch(engine, [second], "consumer-2"))
            await blocked(engine, 2)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(one, two)
    assert await status_of(engine, order_id) == "cancelled"


@pytest.mark.parametrize("first", [Status.PAID, Status.CANCELLED])
async def test_of_two_contradicting_changes_at_once_exactly_one_moves_the_order(
    engine: AsyncEngine, first: Status
) -> None:
    """The pause point: a lock on the orders stops both after they have taken (or wait for) the order's status."""
    order_id = uuid4()
    await record_batch(engine, [an_entry(a_checkout(ADA), order_id)], "consumer-1")
    second = Status.CANCELLED if first is Status.PAID else Status.PAID
    async with engine.connect() as connection:
        async with connection.begin():
            await connection.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
            one = asyncio.create_task(record_batch(engine, [an_entry(a_change(order_id, first))], "consumer-1"))
            await blocked(engine, 1)
            two = asyncio.create_task(record_batch(engine, [an_entry(a_change(order_id, second))], "consumer-2"))
            await blocked(engine, 2)
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(one, two)
    assert await status_of(engine, order_id) == first
    assert len(await reasons(engine)) == 1


async def test_a_change_that_was_rolled_back_leaves_the_order_as_it_is(engine: AsyncEngine) -> None:
    order_id = uuid4()
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await record(connection, [an_entry(a_change(order_id))], "consumer-1")
        other = asyncio.create_task(record_batch(engine, [an_entry(a_checkout(ADA), order_id)], "consumer-2"))
        await blocked(engine, 1)
        await transaction.rollback()
        async with asyncio.timeout(DEADLINE):
            await other
    assert await status_of(engine, order_id) == "processing"


async def test_two_consumers_with_overlapping_shuffled_batches_never_deadlock_and_agree(engine: AsyncEngine) -> None:
    chance = random.Random(20260314)
    order_ids = [uuid4() for _ in range(40)]
    entries: list[Entry] = []
    for number, order_id in enumerate(order_ids):
        entries.append(an_entry(a_checkout(f"user_{number}"), order_id))
        if number % 2:
            entries.append(an_entry(a_change(order_id, Status.PAID, f"user_{number}")))

    async def consume(name: str) -> None:
        mine = entries.copy()
        chance.shuffle(mine)
        for start in range(0, len(mine), 12):
            await record_batch(engine, mine[start : start + 12], name)

    async with asyncio.timeout(60):
        await asyncio.gather(*(consume(f"consumer-{number}") for number in range(6)))
    assert await rows(engine, "SELECT status, count(*) FROM orders GROUP BY 1 ORDER BY 1") == [
        ("paid", 20),
        ("processing", 20),
    ]
    assert await rows(engine, "SELECT count(*) FROM events") == [(60,)]
    assert await rows(engine, "SELECT count(*) FROM order_items") == [(80,)]
    assert await reasons(engine) == []
