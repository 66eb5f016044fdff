"""The reconciliation that operators start over HTTP: one at a time, told in Redis, so that any process knows of it.

Compares and fixes nothing by itself (reconcile_run.py does). A run whose process died is interrupted; start another.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Act, Operator, audited
from services.orders.reconcile import CannotReconcile, Reconciled
from services.orders.reconcile_run import reconcile
from services.orders.segments import SegmentUnreadable
from shared.errors import ApiError
from shared.settings import Settings
from shared.streams import PARTITION

MOST_TOLD = 500  # discrepancies kept for readers; all are counted
_RUN, _LOCK = f"till:{PARTITION}:reconcile-run", f"till:{PARTITION}:reconcile-lock"
_KEEP = timedelta(days=1)
_ALIVE_FOR = timedelta(seconds=20)  # without a sign of life
_BEAT = timedelta(seconds=0.5)

Run = dict[str, Any]


async def open_run(redis: "Redis", operator: Operator, *, fix: bool) -> Run:
    """A new run; raises ApiError(409) while there is one, and what Redis raises."""
    run: Run = {
        "run_id": str(uuid4()),
        "status": "running",
        "fix": fix,
        "who": operator.who,
        "why": operator.why,
        "started_at": datetime.now(UTC).isoformat(),
        "finished_at": None,
        "done": 0,
        "total": None,
        "fault": None,
        "result": None,
    }
    if not await redis.set(_LOCK, run["run_id"], nx=True, px=_ALIVE_FOR):
        raise ApiError(409, "A reconciliation is running already")
    await _keep(redis, run)
    return run


async def read_run(redis: "Redis") -> Run | None:
    """The newest run of the last day; raises what Redis raises."""
    kept: Any = await redis.get(_RUN)
    if kept is None:
        return None
    run: Run = json.loads(kept)
    if run["status"] == "running" and await redis.get(_LOCK) is None:
        run["status"] = "interrupted"
    return run


async def carry_out(settings: Settings, engine: AsyncEngine, redis: "Redis", run: Run, operator: Operator) -> None:
    """Runs it to its end and keeps what it found; its fault is kept as well, and never raised."""

    def tell(done: int, total: int) -> None:
        run.update(done=done, total=total)

    beat = asyncio.create_task(_show_life(redis, run))
    try:
        result = await _compare(settings, engine, operator, run["fix"], tell)
        run |= {"status": "finished", "result": _told(result)}
    except (CannotReconcile, SegmentUnreadable) as fault:
        run |= {"status": "failed", "fault": str(fault)}
    except (RedisError, SQLAlchemyError, OSError, TimeoutError) as fault:
        run |= {"status": "failed", "fault": f"Redis or Postgres went away ({type(fault).__name__})"}
    finally:
        beat.cancel()
        with suppress(asyncio.CancelledError):
            await beat
        run["finished_at"] = datetime.now(UTC).isoformat()
        with suppress(RedisError, OSError):  # then it is interrupted, as far as anybody can know
            await _keep(redis, run)
            await redis.delete(_LOCK)


async def _compare(settings: Settings, engine: AsyncEngine, operator: Operator, fix: bool, tell: Any) -> Reconciled:
    if not fix:
        return await reconcile(settings, fix=False, tell=tell)
    async with audited(engine, operator, Act("reconcile", {"fix": True})) as outcome:
        result = await reconcile(settings, fix=True, tell=tell)
        outcome.result = {"counts": dict(result.counts), "fixed": result.fixed}
        return result


def _told(result: Reconciled) -> Mapping[str, Any]:
    told = result.public()
    return told | {"discrepancies": told["discrepancies"][:MOST_TOLD]}


async def _show_life(redis: "Redis", run: Run) -> None:
    while True:
        with suppress(RedisError, OSError):
            await _keep(redis, run)
            await redis.pexpire(_LOCK, _ALIVE_FOR)
        await asyncio.sleep(_BEAT.total_seconds())


async def _keep(redis: "Redis", run: Run) -> None:
    await redis.set(_RUN, json.dumps(run, default=str), px=_KEEP)
