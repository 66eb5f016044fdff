"""What can never be recorded is kept whole with its reason, in the same transaction as the rest of its batch."""

import asyncio
import base64
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.dead_letters import fields_hash
from services.orders.entries import Entry
from services.orders.record_events import is_refusal, record_batch
from tests.builders import MORNING, a_checkout, an_entry, fields_of, raw_entry
from tests.tables import rows
from tests.waiting import until

ME = "consumer-1"
KNOWN = uuid4()

SOUND = fields_of(a_checkout(), KNOWN)
PAYLOAD: bytes = SOUND["payload"]


def without(name: str) -> dict[str, Any]:
    return {key: value for key, value in SOUND.items() if key != name}


POISON = {
    "no event id": (without("event_id"), "missing_event_id", None),
    "an event id that is no UUID": (SOUND | {"event_id": "order 66"}, "invalid_event_id", None),
    "an event id with a newline": (SOUND | {"event_id": f"{KNOWN}\n"}, "invalid_event_id", None),
    "an event id in braces": (SOUND | {"event_id": f"{{{KNOWN}}}"}, "invalid_event_id", None),
    "an event id of other bytes": (SOUND | {"event_id": b"\xff\x00"}, "invalid_event_id", None),
    "no acceptance time": (without("accepted_at"), "missing_accepted_at", KNOWN),
    "a date for a time": (SOUND | {"accepted_at": "2026-03-14"}, "invalid_accepted_at", KNOWN),
    "a time beyond the calendar": (SOUND | {"accepted_at": "9" * 15}, "invalid_accepted_at", KNOWN),
    "a time of many digits": (SOUND | {"accepted_at": "9" * 5000}, "invalid_accepted_at", KNOWN),
    "a negative time": (SOUND | {"accepted_at": "-1"}, "invalid_accepted_at", KNOWN),
    "an Arabic-Indic time": (SOUND | {"accepted_at": "١٢٣"}, "invalid_accepted_at", KNOWN),
    "no payload": (without("payload"), "missing_payload", KNOWN),
    "an empty payload": (SOUND | {"payload": b""}, "undecodable", KNOWN),
    "bytes that are no UTF-8": (SOUND | {"payload": b"\xff\xfe"}, "undecodable", KNOWN),
    "no JSON": (SOUND | {"payload": b"{"}, "undecodable", KNOWN),
    "JSON that is no event": (SOUND | {"payload": b"[1]"}, "undecodable", KNOWN),
    "a later version": (SOUND | {"payload": PAYLOAD.replace(b'"version":1', b'"version":2')}, "undecodable", KNOWN),
    "an unknown member": (SOUND | {"payload": PAYLOAD[:-1] + b',"tip":5}'}, "undecodable", KNOWN),
    "a lone surrogate": (SOUND | {"payload": PAYLOAD.replace(b"user_ada", b"\\ud800")}, "undecodable", KNOWN),
    "a NUL in a title": (SOUND | {"payload": PAYLOAD.replace(b"Wireless", b"\\u0000")}, "undecodable", KNOWN),
    "a user of 10 KB": (SOUND | {"payload": PAYLOAD.replace(b"user_ada", b"u" * 10_240)}, "undecodable", KNOWN),
    "an infinite total": (SOUND | {"payload": PAYLOAD.replace(b'"427.00"', b"Infinity")}, "undecodable", KNOWN),
    "deep nesting": (SOUND | {"payload": b"[" * 20_000}, "undecodable", KNOWN),
    "the framework's envelope": ({"__data__": b"\x89BIN\r\n\x1a\n\x00\x01"}, "missing_event_id", None),
    "an envelope named data": ({"data": PAYLOAD, "headers": "{}"}, "missing_event_id", None),
    "a deleted entry": ({}, "deleted", None),
}  # fmt: skip


@pytest.mark.parametrize("kind", POISON)
async def test_poison_is_buried_and_its_neighbours_are_recorded(engine: AsyncEngine, kind: str) -> None:
    fields, reason, event_id = POISON[kind]
    poison = raw_entry(fields)
    before, after = an_entry(a_checkout("user_before")), an_entry(a_checkout("user_after"))
    result = await record_batch(engine, [before, poison, after], ME)
    assert len(result.recorded) == 2
    assert await rows(engine, "SELECT user_id FROM orders ORDER BY 1") == [("user_after",), ("user_before",)]
    assert await rows(
        engine, "SELECT stream, entry_id, fields_hash, reason, event_id, consumer, attempts FROM dead_letters"
    ) == [(poison.stream, poison.entry_id, fields_hash(poison), reason, event_id, ME, 1)]


def as_bytes(stored: str | dict[str, str]) -> bytes:
    return stored.encode() if isinstance(stored, str) else base64.b64decode(stored["base64"])


async def test_every_raw_byte_of_a_dead_letter_is_kept(engine: AsyncEngine) -> None:
    fields = (
        (b"event_id", b"\x00"),
        (b"\xff\xfe", b"grus \xc3\xbc"),
        (b"payload", b"{"),
        (b"payload", b'{"base64":"eA=="}'),
        (b"", b""),
    )
    await record_batch(engine, [Entry("1719-0", fields)], ME)
    [(stored,)] = await rows(engine, "SELECT fields FROM dead_letters")
    assert tuple(tuple(map(as_bytes, pair)) for pair in stored) == fields
    assert stored[1][1] == "grus ü", "what is text can be read as text"


async def test_a_redelivered_dead_letter_counts_one_attempt_more(engine: AsyncEngine) -> None:
    poison = raw_entry({"payload": "{"})
    await record_batch(engine, [poison, poison], ME)
    await record_batch(engine, [poison], "consumer-2")
    assert await rows(engine, "SELECT attempts, consumer, last_failed_at > first_failed_at FROM dead_letters") == [
        (2, "consumer-2", True)
    ]


async def test_other_fields_under_one_entry_id_are_another_dead_letter(engine: AsyncEngine) -> None:
    """A Redis restored from a backup may give an entry id twice."""
    await record_batch(engine, [raw_entry({"a": "1"}, "1719-0")], ME)
    await record_batch(engine, [raw_entry({"a": "2"}, "1719-0")], ME)
    assert await rows(engine, "SELECT count(*) FROM dead_letters") == [(2,)]


async def test_what_only_postgres_refuses_is_found_and_buried_alone(engine: AsyncEngine) -> None:
    unlucky: UUID = uuid4()
    batch = [an_entry(a_checkout(f"user_{number}"), unlucky if number == 5 else None) for number in range(13)]
    async with engine.begin() as connection:
        await connection.execute(text(f"ALTER TABLE orders ADD CONSTRAINT unlucky CHECK (id <> '{unlucky}')"))
    try:
        result = await record_batch(engine, batch, ME)
    finally:
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE orders DROP CONSTRAINT unlucky"))
    assert len(result.recorded) == 12
    assert await rows(engine, "SELECT count(*) FROM orders") == [(12,)]
    [(reason, detail, event_id, user)] = await rows(
        engine, "SELECT reason, detail, event_id, user_id FROM dead_letters"
    )
    assert (reason, event_id, user) == ("refused_by_postgres", unlucky, "user_5")
    assert "unlucky" in detail


@pytest.mark.parametrize(
    ("query", "value", "is_the_data"),
    [
        ("SELECT CAST(:value AS text)", "a\x00b", True),
        ("SELECT CAST(:value AS smallint)", 99_999, True),
        ("SELECT CAST(:value AS uuid[])", ["order 66"], True),
        ("SELECT CAST(CAST(:value AS text) AS json)", "{", True),
        ("INSERT INTO order_items VALUES (CAST(:value AS uuid), 1, '1', 'Mat', 1, 1, 'ada')", KNOWN, True),
        ("SELECT CAST(:value AS text) FROM no_such_table", "a", False),
        ("SET LOCAL statement_timeout = 1; SELECT pg_sleep(5)", None, False),
    ],
)
async def test_only_errors_of_the_data_are_refusals(
    engine: AsyncEngine, query: str, value: Any, is_the_data: bool
) -> None:
    with pytest.raises(DBAPIError) as caught:  # noqa: PT012
        async with engine.begin() as connection:
            for statement in query.split(";"):
                await connection.execute(text(statement), {"value": value} if ":value" in statement else {})
    assert is_refusal(caught.value) is is_the_data


async def test_an_outage_is_raised_and_buries_nothing(engine: AsyncEngine) -> None:
    cut = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND wait_event_type = 'Lock'"
    )
    async with engine.connect() as other:
        transaction = await other.begin()
        await other.execute(text("LOCK TABLE events IN ACCESS EXCLUSIVE MODE"))
        work = asyncio.create_task(record_batch(engine, [an_entry(a_checkout(), at=MORNING)], ME))
        await until(lambda: rows(engine, cut))
        with pytest.raises(DBAPIError):
            await work
        await transaction.rollback()
    assert await rows(engine, "SELECT count(*) FROM dead_letters") == [(0,)]
    assert await rows(engine, "SELECT count(*) FROM events") == [(0,)]
