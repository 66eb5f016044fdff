"""The trail of every writing operation: who, why, on what, with what result. Append-only, chained by hash.

An operation leaves two rows, one before it begins and one when it is over: a crash between them leaves the first.
"""

import hashlib
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from shared.errors import ApiError

_LOCK = 7_411_012  # any constant; whoever appends takes it, so that the chain has no forks
_PAGE = 1000  # rows verified at a time
FIRST = "0" * 64
"""What the first row names as the hash before it."""


@dataclass(frozen=True, slots=True)
class Operator:
    """Who acts, through which door and for what reason; raises ApiError(400) without a reason."""

    who: str
    door: str
    why: str

    def __post_init__(self) -> None:
        if not self.why.strip() or len(self.why) > 1000 or "\x00" in self.why + self.who:
            raise ApiError(400, "A reason is required, of at most 1000 characters")


@dataclass(frozen=True, slots=True)
class Act:
    """What is about to be done; `filter` and `dry_run` are JSON objects."""

    action: str
    filter: Mapping[str, Any]
    dry_run: Mapping[str, Any] | None = None


@dataclass(slots=True)
class Outcome:
    """Where an audited operation leaves its result, a JSON object."""

    result: dict[str, Any] = field(default_factory=dict)


@asynccontextmanager
async def audited(engine: AsyncEngine, operator: Operator, act: Act) -> AsyncIterator[Outcome]:
    """Writes `begun`, lets the operation run, and writes `done` with its result, or `failed` with its fault."""
    begun = await begin(engine, operator, act)
    outcome = Outcome()
    try:
        yield outcome
    except Exception as fault:
        await end(engine, operator, act, begun, {"fault": f"{type(fault).__name__}: {fault}"[:500]}, phase="failed")
        raise
    await end(engine, operator, act, begun, outcome.result)


async def begin(engine: AsyncEngine, operator: Operator, act: Act) -> int:
    """Appends the row before an operation; returns its number. Raises what Postgres raises: then nothing may begin."""
    async with engine.begin() as connection:
        return await _append(connection, operator, act, "begun", None, None)


async def end(
    engine: AsyncEngine, operator: Operator, act: Act, begun: int | None, result: Mapping[str, Any], phase: str = "done"
) -> None:
    """Appends the row after the operation that row `begun` announced."""
    async with engine.begin() as connection:
        await _append(connection, operator, act, phase, begun, result)


_HEAD = text("SELECT seq, hash FROM audit_head")
_INSERT = text("""
INSERT INTO audit (seq, at, who, door, action, phase, begun, why, filter, dry_run, result, previous, hash)
VALUES (:seq, :at, :who, :door, :action, :phase, :begun, :why, CAST(:filter AS json), CAST(:dry_run AS json),
        CAST(:result AS json), :previous, :hash)
""")
_MOVE_HEAD = text("""
INSERT INTO audit_head (seq, hash) VALUES (:seq, :hash)
ON CONFLICT (is_head) DO UPDATE SET seq = excluded.seq, hash = excluded.hash
""")


async def _append(
    connection: AsyncConnection,
    operator: Operator,
    act: Act,
    phase: str,
    begun: int | None,
    result: Mapping[str, Any] | None,
) -> int:
    await connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    head = (await connection.execute(_HEAD)).first()
    row: dict[str, Any] = {
        "seq": head.seq + 1 if head else 1,
        "at": datetime.now(UTC),
        "who": operator.who,
        "door": operator.door,
        "action": act.action,
        "phase": phase,
        "begun": begun,
        "why": operator.why,
        "filter": dict(act.filter),
        "dry_run": None if act.dry_run is None else dict(act.dry_run),
        "result": None if result is None else dict(result),
        "previous": head.hash if head else FIRST,
    }
    row["hash"] = _hash_of(row)
    as_json = {name: None if row[name] is None else json.dumps(row[name]) for name in ("filter", "dry_run", "result")}
    await connection.execute(_INSERT, row | as_json)
    await connection.execute(_MOVE_HEAD, {"seq": row["seq"], "hash": row["hash"]})
    return int(row["seq"])


_COVERED = (
    "seq", "at", "who", "door", "action", "phase", "begun", "why", "filter", "dry_run", "result", "previous",
)  # fmt: skip


def _hash_of(row: Mapping[str, Any]) -> str:
    covered = [row[name].astimezone(UTC).isoformat() if name == "at" else row[name] for name in _COVERED]
    return hashlib.sha256(json.dumps(covered, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Verdict:
    """How many rows were checked, the newest hash, and a sentence for each row that is not as it was written."""

    rows: int
    head: str
    findings: tuple[str, ...]


_ROWS = text(f"SELECT {', '.join(_COVERED)}, hash FROM audit WHERE seq > :after ORDER BY seq LIMIT :page")  # noqa: S608


async def verify_trail(engine: AsyncEngine) -> Verdict:
    """Walks the chain from its first row; finds changed, removed, inserted and reordered rows."""
    findings: list[str] = []
    count, after, previous = 0, 0, FIRST
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="REPEATABLE READ")
        while page := (await connection.execute(_ROWS, {"after": after, "page": _PAGE})).mappings().all():
            for row in page:
                findings += _faults(dict(row), after, previous)
                count, after, previous = count + 1, row["seq"], row["hash"]
        head = (await connection.execute(_HEAD)).first()
    newest = (head.seq, head.hash) if head else (0, FIRST)
    if newest != (after, previous):
        findings.append(f"the newest row should be {newest[0]}, but row {after} is the last one: rows were removed")
    return Verdict(count, previous, tuple(findings))


def _faults(row: Mapping[str, Any], after: int, previous: str) -> list[str]:
    faults = []
    if row["seq"] != after + 1:
        faults.append(f"between row {after} and row {row['seq']} rows were removed")
    elif row["previous"] != previous:
        faults.append(f"row {row['seq']} does not follow row {after}: one of them was changed or moved")
    if _hash_of(row) != row["hash"]:
        faults.append(f"row {row['seq']} was changed")
    return faults


_LIST = text("""
SELECT begun.seq, begun.at, begun.who, begun.door, begun.action, begun.why, begun.filter, begun.dry_run,
       coalesce(over.phase, 'begun') AS phase, over.at AS over_at, over.result
FROM audit begun LEFT JOIN audit over ON over.begun = begun.seq
WHERE begun.begun IS NULL AND (CAST(:before AS bigint) IS NULL OR begun.seq < :before)
ORDER BY begun.seq DESC LIMIT :limit
""")


async def list_trail(engine: AsyncEngine, limit: int = 50, before: int | None = None) -> Sequence[dict[str, Any]]:
    """Operations, newest first; one whose phase is `begun` is still running or its process has died."""
    async with engine.connect() as connection:
        rows = await connection.execute(_LIST, {"limit": limit, "before": before})
        return [dict(row) for row in rows.mappings()]
