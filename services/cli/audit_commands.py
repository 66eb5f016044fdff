"""`tillroll audit`: the doors to the trail of every writing operation."""

from typing import Annotated

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir

app = typer.Typer(name="audit", help="Who did what, and why.", no_args_is_help=True)


@app.command("list")
def list_(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
    before: Annotated[int | None, typer.Option(help="Only operations with a smaller number: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show operations, newest first; one whose phase is `begun` still runs, or its process died."""
    from services.cli.operate import operate, print_json, print_rows
    from services.orders.audit import list_trail

    rows = operate(data_dir, lambda engine, _redis: list_trail(engine, limit, before))
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, "seq", "at", "who", "door", "action", "phase", "why", "filter", "result")


@app.command()
def verify(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Find rows that were changed, removed or moved; exit 1 when there is one."""
    from services.cli.operate import operate, print_json
    from services.orders.audit import verify_trail

    verdict = operate(data_dir, lambda engine, _redis: verify_trail(engine))
    if as_json:
        print_json({"rows": verdict.rows, "head": verdict.head, "findings": list(verdict.findings)})
    else:
        for finding in verdict.findings:
            print(finding)
        print(f"{verdict.rows} rows, {len(verdict.findings)} findings; the newest hash is {verdict.head}")
    if verdict.findings:
        raise typer.Exit(1)
