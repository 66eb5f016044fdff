"""`tillroll reconcile`: the door to the comparison of log and tables."""

import asyncio
import json
from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why

app = typer.Typer()


@app.command()
def reconcile(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    fix: Annotated[bool, typer.Option("--fix", help="Add the rows that are missing; overwrite none.")] = False,
    moved: Annotated[
        bool,
        typer.Option("--moved", help="Read back the checkouts that were moved out: each page opens many segments."),
    ] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Compare stream, archive and tables, row by row; exit 1 when something is (still) wrong."""
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable, shown_progress
    from services.cli.trail import on_trail
    from services.orders.reconcile import Progress, Reconciled
    from services.orders.reconcile_run import reconcile as compare

    settings = settings_of_running(data_dir)

    async def run(tell: Progress) -> Reconciled:
        async with on_trail(settings, why, "reconcile", {"fix": True}, is_needed=fix) as outcome:
            result = await compare(settings, fix=fix, read_moved=moved, tell=tell)
            outcome.result = {"counts": dict(result.counts), "fixed": result.fixed}
            return result

    with reachable(), shown_progress("compared") as tell:
        result = asyncio.run(run(tell))
    if as_json:
        print(json.dumps(result.public(), indent=2))
    else:
        for found in result.discrepancies:
            columns = f"  expected {found.expected}  found {found.found}" if found.expected and found.found else ""
            print(f"{found.kind:<11}{found.table:<15}{found.key}{columns}{'  fixed' if found.is_fixed else ''}")
        entries = "no group" if result.entries is None else f"{result.entries} entries"
        told = ", ".join(f"{count} {kind}" for kind, count in sorted(result.counts.items())) or "nothing wrong"
        if result.moved:
            print(f"{result.moved} orders, whose checkouts were moved out, were only looked for: --moved compares them")
        print(f"compared {result.orders} orders, {entries}: {told}" + (f", {result.fixed} fixed" if fix else ""))
    if not result.is_clean:
        raise typer.Exit(1)
