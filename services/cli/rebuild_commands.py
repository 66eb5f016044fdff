"""`tillroll rebuild`: the door to the making anew of the tables."""

import asyncio
import dataclasses
import json
from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why

app = typer.Typer()


@app.command()
def rebuild(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Build and compare, then throw away.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Make orders, line items and statuses anew from the archive; exit 1 when a dry run finds a difference."""
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable, shown_progress
    from services.cli.trail import on_trail
    from services.orders.rebuild_tables import Progress, Rebuilt
    from services.orders.rebuild_tables import rebuild as make_anew

    settings = settings_of_running(data_dir)

    async def run(tell: Progress) -> Rebuilt:
        async with on_trail(settings, why, "rebuild", {}, is_needed=not dry_run) as outcome:
            result = await make_anew(settings, dry_run=dry_run, tell=tell)
            outcome.result = dataclasses.asdict(result)
            return result

    with reachable(), shown_progress("events") as tell:
        rebuilt = asyncio.run(run(tell))
    is_equal = rebuilt.before == rebuilt.after
    if as_json:
        print(json.dumps({**dataclasses.asdict(rebuilt), "is_equal": is_equal}, indent=2))
    else:
        print(f"events    {rebuilt.events}")
        for name, checksum in (("before", rebuilt.before), ("after", rebuilt.after)):
            rows = "a table is missing" if checksum is None else f"{checksum.text}  {checksum.rows}"
            print(f"{name:<10}{rows}")
        told = "the tables were swapped" if rebuilt.is_swapped else "dry run: nothing was changed"
        print(f"{told}; they are {'equal' if is_equal else 'DIFFERENT: `tillroll reconcile` names the rows'}")
    if dry_run and not is_equal:
        raise typer.Exit(1)
