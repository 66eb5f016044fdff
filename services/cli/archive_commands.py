"""`tillroll archive`: the doors to the payloads that lie outside Postgres."""

import asyncio
import json
from dataclasses import asdict
from datetime import timedelta
from typing import Annotated

import typer
from pydantic import TypeAdapter, ValidationError
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why

app = typer.Typer(name="archive", help="Payloads of old events, outside Postgres.", no_args_is_help=True)

To = Annotated[
    str | None, typer.Option("--to", help="file:///FOLDER or s3://BUCKET/PREFIX, instead of TILLROLL_ARCHIVE_URL.")
]


@app.command()
def move(
    older_than: Annotated[str, typer.Option("--older-than", help="Since when nothing has happened to an order: 90d.")],
    to: To = None,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Move payloads of old events into compressed JSON lines; their rows stay, and everything reads them back."""
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable, shown_progress
    from services.cli.trail import on_trail
    from services.orders.archive import connect_operator
    from services.orders.move_payloads import Moved, Progress, move_payloads, require_age
    from services.orders.segments import SegmentStore

    settings = settings_of_running(data_dir)
    age, store = _age(older_than), SegmentStore(to or settings.archive_place)
    require_age(age, settings.identity_horizon)

    async def run(tell: Progress) -> Moved:
        chosen = {"older_than_days": age / timedelta(days=1), "to": store.url}
        async with on_trail(settings, why, "archive move", chosen, is_needed=not dry_run) as outcome:
            engine = connect_operator(settings, "archive")
            try:
                moved = await move_payloads(engine, store, age, dry_run=dry_run, tell=tell)
            finally:
                await engine.dispose()
            outcome.result = {"events": moved.events, "segments": [segment.name for segment in moved.segments]}
            return moved

    with reachable(), shown_progress("events") as tell:
        moved = asyncio.run(run(tell))
    if as_json:
        print(json.dumps({**moved.public(), "is_dry_run": dry_run}, indent=2, default=str))
        return
    for segment in moved.segments:
        print(f"{segment.place}  {segment.events} events, {segment.bytes} bytes")
    print(f"{moved.events} payloads of {moved.bytes} bytes {'would go to' if dry_run else 'are in'} {store.url}")


@app.command("list")
def list_(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show the segments, oldest first."""
    from services.cli.operate import operate, print_json, print_rows
    from services.orders.archive import find_segments
    from services.orders.segments import Segment

    async def read(engine: AsyncEngine, _redis: Redis) -> dict[str, Segment]:
        async with engine.connect() as connection:
            return await find_segments(connection)

    rows = [{**asdict(segment), "place": segment.place} for segment in operate(data_dir, read).values()]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, "name", "events", "bytes", "first_accepted_at", "last_accepted_at", "place")


@app.command()
def verify(to: To = None, data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Read every segment whole; exit 1 when one is missing, truncated or altered."""
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable, shown_progress
    from services.orders.archive import connect_operator
    from services.orders.verify_segments import Progress, Verified, verify_segments

    settings = settings_of_running(data_dir)

    async def run(tell: Progress) -> Verified:
        engine = connect_operator(settings, "archive")
        try:
            return await verify_segments(engine, to or settings.archive_place, tell)
        finally:
            await engine.dispose()

    with reachable(), shown_progress("segments") as tell:
        verified = asyncio.run(run(tell))
    if as_json:
        print(json.dumps(verified.public(), indent=2))
    else:
        for finding in verified.findings:
            print(finding)
        for name in verified.left_over:
            print(f"{name}: left over from a move that was killed; no event is in it")
        print(f"{verified.segments} segments with {verified.events} events, {len(verified.findings)} findings")
    if verified.findings:
        raise typer.Exit(1)


def _age(given: str) -> timedelta:
    try:
        return TypeAdapter(timedelta).validate_python(given)
    except ValidationError as fault:
        raise typer.BadParameter(f"{given!r} is no age; 90d is one", param_hint="--older-than") from fault
