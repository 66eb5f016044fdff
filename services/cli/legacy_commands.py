"""`tillroll legacy import`: the door to the cut-over from the old shop's Redis."""

import asyncio
import json
from pathlib import Path
from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why

_SHOWN = 20  # damages on the terminal; --json and --report tell them all

app = typer.Typer(name="legacy", help="The cut-over from the old shop's Redis.", no_args_is_help=True)


@app.callback()
def legacy() -> None:
    """Keeps `import` a subcommand of its own."""


@app.command("import")
def import_(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    run: Annotated[bool, typer.Option("--run", help="Publish; without it, nothing is written.")] = False,
    with_deletion: Annotated[
        bool, typer.Option("--delete-keys", help="Delete what is imported, if reconciling finds nothing.")
    ] = False,
    source: Annotated[str | None, typer.Option("--from", help="URL of the old shop's Redis, if not ours.")] = None,
    report: Annotated[Path | None, typer.Option(help="A file for the whole result as JSON.")] = None,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Publish the orders of the old shop and take over its carts; exit 1 when something could not be read."""
    from services.cli.legacy_cutover import CutOver, Progress, cut_over
    from services.cli.locate import settings_of_running
    from services.cli.progress import reachable, shown_progress
    from services.cli.trail import on_trail

    settings = settings_of_running(data_dir)
    chosen = {"delete_keys": with_deletion}

    async def work(tell: Progress) -> CutOver:
        async with on_trail(settings, why, "legacy import", chosen, is_needed=run) as outcome:
            result = await cut_over(settings, source, dry_run=not run, with_deletion=with_deletion, tell=tell)
            outcome.result = result.counts()
            return result

    with reachable(), shown_progress("users") as tell:
        result = asyncio.run(work(tell))
    whole = json.dumps(result.public(), indent=2, default=str)
    if report is not None:
        report.write_text(whole)
    if as_json:
        print(whole)
    else:
        orders, carts = result.orders, result.carts
        would = "" if run else "would be "
        print(f"users    {orders.users}")
        print(f"orders   {orders.orders}: {orders.published} {would}published, {orders.known} imported before")
        print(f"carts    {carts.carts}: {carts.stored} {would}stored, {carts.known} there already or empty")
        damages = [*orders.damages, *carts.damages]
        print(f"damaged  {len(damages)} (kept, never deleted)")
        for damage in damages[:_SHOWN]:
            place = "" if damage.position is None else f" [{damage.position}] {damage.order_id or ''}"
            print(f"  {damage.key}{place}: {damage.reason}")
        if len(damages) > _SHOWN:
            print(f"  ... and {len(damages) - _SHOWN} more: --report FILE tells all")
        if result.deletion is not None:
            print(f"keys     {len(result.deletion.deleted)} {would}deleted, {len(result.deletion.kept)} kept")
        elif with_deletion:
            print("keys     none deleted: `tillroll reconcile` finds something wrong")
    if not result.is_clean:
        raise typer.Exit(1)
