"""Whatever bytes stand in the stream: intake goes on, and each entry is an event row or a dead letter kept whole."""

import asyncio
import os
from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import ensure_group
from services.orders.dead_letters import fields_hash, raw_fields
from services.orders.entries import Entry, entries_of, keep_raw
from services.orders.intake import Intake
from services.orders.parse_entry import parse_entry
from services.orders.rebuild_tables import rebuild
from services.orders.reconcile_run import reconcile
from services.orders.reload_names import reload_names
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from tests.builders import a_checkout, an_entry
from tests.fuzz.shapes import Fields, corpus, entries, huge

EXAMPLES = int(os.environ.get("TILLROLL_FUZZ_EXAMPLES", "0"))  # 0 = few, and the same ones every time
WITHIN = 20  # seconds that intake may take before it counts as stopped

KNOWN_SHAPES = corpus() | huge()


class Line:
    """A stream, a group that reads it, and the intake behind."""

    def __init__(self, redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
        self.redis = redis
        self.engine = engine
        self.intake = Intake(engine, redis, settings.model_copy(update={"dead_letter_limit": 1_000_000}))
        self.consumer = settings.consumer

    async def carry(self, batch: Sequence[Fields]) -> list[Entry]:
        """Writes `batch` with a sound checkout before and after each, and lets intake take all; the odd entries."""
        odd, sound = [], []
        sound.append(await self._add(_neighbour()))
        for fields in batch:
            odd.append(await self._add(fields))
            sound.append(await self._add(_neighbour()))
        taken: list[Entry] = []
        while answer := await self.redis.xreadgroup(GROUP, self.consumer, {STREAM: ">"}, count=500):
            read = entries_of(answer[0][1])
            async with asyncio.timeout(WITHIN):
                await self.intake.take(read)
            taken += read
        assert (await self.redis.xpending(STREAM, GROUP))["pending"] == 0
        by_id = {entry.entry_id: entry for entry in taken}
        assert [by_id[entry_id].fields for entry_id in odd] == list(batch), "the stream gives back what was written"
        assert await self._archived(sound) == len(sound), "sound neighbours are recorded"
        return [by_id[entry_id] for entry_id in odd]

    async def fate(self, entry: Entry) -> str:
        """`recorded`, or the reason of its dead letter; fails when it is neither or not whole."""
        async with self.engine.connect() as connection:
            letter = (
                await connection.execute(
                    text("SELECT reason, fields FROM dead_letters WHERE entry_id = :id AND fields_hash = :hash"),
                    {"id": entry.entry_id, "hash": fields_hash(entry)},
                )
            ).one_or_none()
            if letter is not None:
                assert raw_fields(letter.fields) == entry.fields, "a dead letter is kept byte for byte"
                return str(letter.reason)
            arrival = parse_entry(entry)
            row = (
                await connection.execute(
                    text(
                        "SELECT entry_id, content_hash, CAST(payload AS text) AS payload FROM events"
                        " WHERE event_id = :id"
                    ),
                    {"id": arrival.event_id},
                )
            ).one()
        assert row.content_hash == arrival.content_hash
        if row.entry_id == entry.entry_id:
            assert row.payload == arrival.payload, "the archive holds what was accepted"
        return "recorded"

    async def _add(self, fields: Fields) -> str:
        answer = await self.redis.execute_command("XADD", STREAM, "*", *[part for pair in fields for part in pair])
        return bytes(answer).decode()

    async def _archived(self, entry_ids: Sequence[str]) -> int:
        async with self.engine.connect() as connection:
            query = text("SELECT count(*) FROM events WHERE entry_id = ANY(CAST(:ids AS text[]))")
            return int((await connection.execute(query, {"ids": list(entry_ids)})).scalar_one())


def _neighbour() -> Fields:
    return an_entry(a_checkout("user_good")).fields


@pytest.fixture
async def line(redis: Redis, engine: AsyncEngine, settings: Settings) -> Line:
    keep_raw(redis)
    await ensure_group(redis)
    return Line(redis, engine, settings)


@pytest.mark.parametrize("name", KNOWN_SHAPES)
async def test_a_shape_that_was_found_once_is_recorded_or_kept_whole(line: Line, name: str) -> None:
    [entry] = await line.carry([KNOWN_SHAPES[name]])
    await line.fate(entry)


async def test_all_known_shapes_in_one_batch_harm_neither_each_other_nor_their_neighbours(line: Line) -> None:
    for entry in await line.carry(list(KNOWN_SHAPES.values())):
        await line.fate(entry)


@given(batch=st.lists(entries(), min_size=1, max_size=12))
@hypothesis_settings(
    max_examples=EXAMPLES or 60,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
async def test_invented_entries_neither_stop_intake_nor_vanish(line: Line, batch: list[Fields]) -> None:
    for entry in await line.carry(batch):
        await line.fate(entry)


async def test_an_entry_that_passes_itself_off_as_another_dead_letter_is_kept_too(line: Line) -> None:
    [real] = await line.carry([((b"payload", b"{"),)])
    claim = (b"dead_letter", f"{real.entry_id}/{fields_hash(real)}".encode())
    first, second = await line.carry([((b"payload", b"[1"), claim), (claim, (b"event_id", b"\xff"))])
    for entry in (real, first, second):
        assert await line.fate(entry) != "recorded"


async def test_what_was_recorded_is_read_again_by_all_that_read_the_archive(line: Line, settings: Settings) -> None:
    await line.carry(list(KNOWN_SHAPES.values()))
    remembering = settings.model_copy(update={"identity_days": 365 * 20})
    assert await reload_names(line.engine, line.redis, remembering) > 20
    rebuilt = await rebuild(settings, dry_run=True)
    assert rebuilt.before == rebuilt.after
    assert (await reconcile(settings, fix=False)).discrepancies == []
