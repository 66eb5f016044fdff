"""`tillroll stream`: the doors to the trimming of the stream and to the position of its consumer group."""

import asyncio
import json
from dataclasses import asdict
from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why

app = typer.Typer(name="stream", help="The stream and its consumer group.", no_args_is_help=True)


@app.command()
def trim(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Count what would go.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Take away what is acked, archived and older than the retention; exit 1 when an acked entry is in no table."""
    from services.cli.connect import connect
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable
    from services.cli.trail import on_trail
    from services.orders.trim_stream import TrimResult, run_once

    settings = settings_of_running(data_dir)

    async def run() -> TrimResult:
        async with on_trail(settings, why, "stream trim", {}, is_needed=not dry_run) as outcome:
            async with connect(settings) as (redis, engine):
                result = await run_once(engine, redis, settings, dry_run=dry_run)
            outcome.result = {"trimmed": result.trimmed, "unarchived": result.unarchived}
            return result

    with reachable():
        result = asyncio.run(run())
    if as_json:
        print(json.dumps({"trimmed": result.trimmed, "unarchived": result.unarchived, "is_dry_run": dry_run}))
    else:
        print(f"{result.trimmed} entries {'would go' if dry_run else 'are gone'}")
        if result.unarchived:
            print(f"entry {result.unarchived} is acked and in no table: `tillroll reconcile --fix` records it")
    if result.unarchived:
        raise typer.Exit(1)


@app.command()
def reposition(
    to: Annotated[str, typer.Option("--to", help="An entry id (the last one delivered), 0, or an ISO time.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    yes: Annotated[bool, typer.Option("--yes", help="Move; without it, only the preview.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Move the consumer group; never over an entry that is not recorded."""
    from services.cli.connect import connect
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable
    from services.cli.trail import on_trail
    from services.orders.reposition_group import Move
    from services.orders.reposition_group import reposition as move

    settings = settings_of_running(data_dir)

    async def run() -> Move:
        async with on_trail(settings, why, "stream reposition", {"to": to}, is_needed=yes) as outcome:
            async with connect(settings) as (redis, engine):
                result = await move(redis, engine, to, dry_run=not yes)
            outcome.result = asdict(result)
            return result

    with reachable():
        moved = asyncio.run(run())
    if as_json:
        print(json.dumps({**asdict(moved), "is_moved": yes}))
        return
    before, after = ("was", "is now") if yes else ("is", "would be")
    print(f"the group {before} at {moved.before} and {after} at {moved.after}")
    print(f"{moved.again} entries {'come' if yes else 'would come'} again; {moved.passed} recorded ones no longer")
    if not yes:
        print("nothing was moved: --yes does it")
