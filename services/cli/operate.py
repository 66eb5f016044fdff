"""What the operators' commands share: the servers of the running system, who is acting, and how rows are printed."""

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from redis.asyncio import Redis
from rich.console import Console
from rich.table import Table
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.connect import connect
from services.cli.locate import settings_of_running
from services.cli.progress import reachable
from services.cli.trail import acting_user
from services.orders.audit import Operator
from shared.tracing import configure_tracing, end_tracing

T = TypeVar("T")


def at_terminal(why: str) -> Operator:
    """Who sits at this terminal; raises ApiError without a reason."""
    return Operator(acting_user(), "terminal", why)


def operate(data_dir: Path, work: Callable[[AsyncEngine, Redis], Awaitable[T]]) -> T:
    """What `work` returns on the running system's servers; raises CannotStart in one sentence when one is away."""
    settings = settings_of_running(data_dir)

    async def run() -> T:
        async with connect(settings, is_raw=False) as (redis, engine):
            return await work(engine, redis)

    configure_tracing("terminal")
    try:
        with reachable():
            return asyncio.run(run())
    finally:
        end_tracing()


def print_json(value: Any) -> None:
    """JSON on standard output; what is no JSON (times, ids) as its text."""
    print(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def print_rows(rows: Sequence[Mapping[str, Any]], *columns: str) -> None:
    """The columns of `rows` as a table; what is None is unknown or absent."""
    table = Table(*(column.replace("_", " ") for column in columns), box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("-" if row[column] is None else str(row[column]) for column in columns))
    Console(width=None if Console().is_terminal else 240, highlight=False).print(table)


def print_counts(what: str, counts: Mapping[str, Any] | None) -> None:
    """One line of counts."""
    print(f"{what}: " + ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in (counts or {}).items()))
