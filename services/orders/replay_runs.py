"""The rows that a replay leaves: what was chosen, how far it is, what was planned for and became of each event."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Operator
from services.orders.replay_preview import CONFLICTS, Judgement, Outcome, count_outcomes
from services.orders.replay_source import Original, ReplayRange, Source
from shared.errors import ApiError
from shared.streams import STREAM


class Status(StrEnum):
    """The life of a replay. `planned` is a preview, until it is run; `sent` waits for the consumer."""

    PLANNING = "planning"
    PLANNED = "planned"
    RUNNING = "running"
    PAUSED = "paused"
    SENT = "sent"
    FINISHED = "finished"


@dataclass(frozen=True, slots=True)
class Run:
    """A replay. `planned` and `result` count outcomes; `position` is where the next page starts."""

    run_id: UUID
    source: Source
    chosen: ReplayRange
    bound: str
    rate: int
    status: Status
    planned: dict[str, int] | None
    position: str
    sent: int
    result: dict[str, int] | None
    who: str
    why: str
    audit_seq: int | None
    created_at: datetime
    updated_at: datetime
    finished_at: datetime | None

    def public(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "run_id": str(self.run_id),
            "status": self.status,
            "source": self.source,
            "filter": self.chosen.told(),
            "rate": self.rate,
            "planned": self.planned,
            "sent": self.sent,
            "result": self.result,
            "is_as_planned": self.result == self.planned if self.result else None,
            "who": self.who,
            "why": self.why,
            "created_at": self.created_at.isoformat(),
            "updated_at": self.updated_at.isoformat(),
            "finished_at": self.finished_at and self.finished_at.isoformat(),
        }


_CREATE = text("""
INSERT INTO replays (run_id, source, filter, bound, rate, status, who, why)
VALUES (:run_id, :source, CAST(:filter AS json), :bound, :rate, 'planning', :who, :why)
""")


async def create_run(
    engine: AsyncEngine, source: Source, chosen: ReplayRange, bound: str, rate: int, operator: Operator
) -> Run:
    """A new run that is being planned."""
    row = {"run_id": uuid4(), "source": source, "bound": bound, "rate": rate, "who": operator.who, "why": operator.why}
    filters = chosen.model_dump_json(by_alias=True, exclude_none=True)
    async with engine.begin() as connection:
        await connection.execute(_CREATE, row | {"filter": filters})
    return await read_run(engine, row["run_id"])  # type: ignore[arg-type]


_RUNS = "SELECT * FROM replays"


async def read_run(engine: AsyncEngine, run_id: UUID) -> Run:
    """The run of that id; raises ApiError(404)."""
    async with engine.connect() as connection:
        row = (await connection.execute(text(f"{_RUNS} WHERE run_id = :run_id"), {"run_id": run_id})).first()
    if row is None:
        raise ApiError(404, f"There is no replay {run_id}")
    return _run_of(row)


async def list_runs(engine: AsyncEngine, limit: int = 50) -> list[Run]:
    """Runs and previews, newest first."""
    statement = text(f"{_RUNS} ORDER BY created_at DESC, run_id LIMIT :limit")
    async with engine.connect() as connection:
        return [_run_of(row) for row in await connection.execute(statement, {"limit": limit})]


def _run_of(row: Any) -> Run:
    columns = dict(row._mapping)
    chosen = ReplayRange.model_validate(columns.pop("filter"))
    source, status = Source(columns.pop("source")), Status(columns.pop("status"))
    return Run(source=source, chosen=chosen, status=status, **columns)


_PLAN = text("""
INSERT INTO replayed_events (run_id, source_id, number, event_id, planned, detail)
SELECT :run_id, source_id, number, event_id, planned, detail
FROM unnest(CAST(:source_ids AS text[]), CAST(:numbers AS bigint[]), CAST(:event_ids AS uuid[]),
            CAST(:planned AS text[]), CAST(:details AS text[]))
     AS event (source_id, number, event_id, planned, detail)
""")


async def note_plan(
    engine: AsyncEngine, run_id: UUID, first: int, originals: Sequence[Original], judged: Sequence[Judgement]
) -> None:
    """Keeps the judgements of a page whose first event has the number `first`."""
    async with engine.begin() as connection:
        await connection.execute(
            _PLAN,
            {
                "run_id": run_id,
                "source_ids": [original.source_id for original in originals],
                "numbers": list(range(first, first + len(originals))),
                "event_ids": [original.event_id for original in originals],
                "planned": [str(judgement.outcome) for judgement in judged],
                "details": [judgement.detail for judgement in judged],
            },
        )


_REVISE = text(
    "UPDATE replayed_events SET planned = :outcome, detail = :detail WHERE run_id = :run_id AND number = :number"
)
_END_PLAN = text("""
UPDATE replays SET status = 'planned', planned = CAST(:planned AS json), updated_at = clock_timestamp()
WHERE run_id = :run_id
""")
_FORGET_PLAN = text("DELETE FROM replayed_events WHERE run_id = :run_id")


async def forget_plan(engine: AsyncEngine, run_id: UUID) -> None:
    """Before a plan is made anew."""
    async with engine.begin() as connection:
        await connection.execute(_FORGET_PLAN, {"run_id": run_id})


async def end_plan(engine: AsyncEngine, run_id: UUID, planned: str, revisions: Mapping[int, Judgement]) -> None:
    """The preview is complete; `planned` is JSON of its counts, `revisions` what later events made of earlier ones."""
    async with engine.begin() as connection:
        for number, judgement in revisions.items():
            revised = {"number": number, "outcome": judgement.outcome, "detail": judgement.detail}
            await connection.execute(_REVISE, {"run_id": run_id} | revised)
        await connection.execute(_END_PLAN, {"run_id": run_id, "planned": planned})


_MOVE_STATUS = text("""
UPDATE replays SET status = :to, updated_at = clock_timestamp(), audit_seq = coalesce(:audit_seq, audit_seq)
WHERE run_id = :run_id AND status = ANY(CAST(:froms AS text[]))
RETURNING run_id
""")


async def move_status(
    engine: AsyncEngine, run_id: UUID, froms: Sequence[Status], to: Status, audit_seq: int | None = None
) -> bool:
    """Whether the run was in one of `froms` and is in `to` now."""
    row = {"run_id": run_id, "to": to, "froms": [str(status) for status in froms], "audit_seq": audit_seq}
    async with engine.begin() as connection:
        return (await connection.execute(_MOVE_STATUS, row)).first() is not None


_NOTE_ENTRIES = text("""
UPDATE replayed_events SET entry_id = sent.entry_id
FROM unnest(CAST(:source_ids AS text[]), CAST(:entry_ids AS text[])) AS sent (source_id, entry_id)
WHERE run_id = :run_id AND replayed_events.source_id = sent.source_id
""")
_MOVE_POSITION = text("""
UPDATE replays SET position = :position, sent = sent + :count, updated_at = clock_timestamp()
WHERE run_id = :run_id AND position <> :position -- a page that is noted again counts once
""")
_STATUS = text("SELECT status FROM replays WHERE run_id = :run_id")


async def note_sent(
    engine: AsyncEngine, run_id: UUID, position: str, source_ids: Sequence[str], entry_ids: Sequence[str]
) -> Status:
    """Keeps which entry each event became and where the next page starts; returns the status as it is now."""
    async with engine.begin() as connection:
        row = {"run_id": run_id, "source_ids": list(source_ids), "entry_ids": list(entry_ids)}
        await connection.execute(_NOTE_ENTRIES, row)
        moved = {"run_id": run_id, "position": position, "count": len(entry_ids)}
        await connection.execute(_MOVE_POSITION, moved)
        return Status((await connection.execute(_STATUS, {"run_id": run_id})).scalar_one())


_SETTLE = text("""
UPDATE replayed_events sent
SET outcome = CASE
    WHEN letter.reason = ANY(CAST(:conflicts AS text[])) THEN 'conflict'
    WHEN letter.reason IS NOT NULL THEN 'reject'
    WHEN events.stream = :stream AND events.entry_id = sent.entry_id THEN 'insert'
    WHEN events.event_id IS NOT NULL THEN 'already_there'
END
FROM replayed_events event
LEFT JOIN events ON events.event_id = event.event_id
LEFT JOIN LATERAL (
    SELECT reason FROM dead_letters WHERE stream = :stream AND entry_id = event.entry_id LIMIT 1
) letter ON true
WHERE event.run_id = :run_id AND event.number >= :first AND event.number < :end AND event.entry_id IS NOT NULL
  AND sent.run_id = event.run_id AND sent.source_id = event.source_id
""")
_OUTCOMES = text("SELECT outcome, count(*) AS events FROM replayed_events WHERE run_id = :run_id GROUP BY outcome")
_FINISH = text("""
UPDATE replays SET status = 'finished', result = CAST(:result AS json), finished_at = clock_timestamp(),
                   updated_at = clock_timestamp()
WHERE run_id = :run_id AND status = 'sent'
RETURNING run_id
""")


async def settle_events(engine: AsyncEngine, run_id: UUID, first: int, count: int) -> None:
    """Notes what the consumer has made of the entries of `count` events, from the one with the number `first`."""
    conflicts = [str(reason) for reason in CONFLICTS]
    row = {"run_id": run_id, "stream": STREAM, "conflicts": conflicts, "first": first, "end": first + count}
    async with engine.begin() as connection:
        await connection.execute(_SETTLE, row)


async def count_settled(engine: AsyncEngine, run_id: UUID) -> dict[str, int]:
    """How many events had which outcome; `unsettled` counts those of which there is no row."""
    async with engine.connect() as connection:
        rows = await connection.execute(_OUTCOMES, {"run_id": run_id})
        found: dict[str | None, int] = {row.outcome: row.events for row in rows}
    outcomes = [outcome.value for outcome in Outcome for _ in range(found.get(outcome.value, 0))]
    unsettled = found.get(None, 0)
    return count_outcomes(outcomes) | ({"unsettled": unsettled} if unsettled else {})


async def finish_run(engine: AsyncEngine, run_id: UUID, result: str) -> bool:
    """Whether this call has finished the run; `result` is JSON of its counts."""
    async with engine.begin() as connection:
        return (await connection.execute(_FINISH, {"run_id": run_id, "result": result})).first() is not None


_SPAN = text("""
SELECT (SELECT entry_id FROM replayed_events WHERE run_id = :run_id AND entry_id IS NOT NULL
        ORDER BY number LIMIT 1),
       (SELECT entry_id FROM replayed_events WHERE run_id = :run_id AND entry_id IS NOT NULL
        ORDER BY number DESC LIMIT 1)
""")
_EVENTS = text("""
SELECT number, source_id, event_id, planned, detail, entry_id, outcome FROM replayed_events
WHERE run_id = :run_id AND number >= :first ORDER BY number LIMIT :limit
""")


async def list_run_events(engine: AsyncEngine, run_id: UUID, first: int = 0, limit: int = 500) -> list[dict[str, Any]]:
    """What was planned for each event, which entry it became and what came of it, in order."""
    async with engine.connect() as connection:
        rows = await connection.execute(_EVENTS, {"run_id": run_id, "first": first, "limit": limit})
        return [dict(row) for row in rows.mappings()]


async def entry_span(engine: AsyncEngine, run_id: UUID) -> tuple[str, str] | None:
    """The first and the last entry that the run has written; None = it has written nothing."""
    async with engine.connect() as connection:
        first, last = (await connection.execute(_SPAN, {"run_id": run_id})).one()
    return None if first is None else (first, last)
