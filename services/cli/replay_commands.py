"""`tillroll replay`: the doors to replays, their previews and the shadow."""

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir, Why
from services.cli.range_options import Event, From, Kind, Last, Order, Product, Since, To, User, chosen_range
from services.orders.replay import DEFAULT_RATE
from services.orders.replay_source import Source

app = typer.Typer(name="replay", help="Deliver recorded events again.", no_args_is_help=True)

FromSource = Annotated[Source, typer.Option("--source", help="The archive also has what the stream was trimmed of.")]
RunId = Annotated[UUID, typer.Argument(help="The id that `replay run` printed.")]
_SHOWN = 500


@app.command()
def run(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    source: FromSource = Source.STREAM,
    first: From = None,
    last: Last = None,
    since: Since = None,
    until: To = None,
    user: User = None,
    order: Order = None,
    event: Event = None,
    product: Product = None,
    kind: Kind = None,
    rate: Annotated[int, typer.Option(help="Events a second at most; the default spares shoppers.")] = DEFAULT_RATE,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of each event.")] = False,
    each: Annotated[bool, typer.Option("--each", help="A line for each event.")] = False,
    why: Why = "",
    as_json: AsJson = False,
) -> None:
    """Preview a range, then deliver it again; exit 1 when something would be (or was) in conflict or rejected."""
    from services.cli.operate import at_terminal, operate
    from services.cli.progress import shown_progress
    from services.orders.replay import make_plan, plan_replay, run_replay, start_replay
    from services.orders.replay_runs import Run

    chosen = chosen_range(first, last, since, until, user, order, event, product, kind)
    operator = at_terminal(why or "a preview" if dry_run else why)

    with shown_progress("events") as tell:

        async def work(engine: AsyncEngine, redis: Redis) -> Run:
            opened = await plan_replay(engine, redis, source, chosen, rate, operator)
            typer.echo(f"replay {opened.run_id}", err=True)
            planned = await make_plan(engine, redis, opened.run_id, _told(tell))
            if dry_run:
                return planned
            await start_replay(engine, planned.run_id, operator)
            return await run_replay(engine, redis, planned.run_id, operator, _told(tell))

        finished = operate(data_dir, work)
    _render(data_dir, finished, each, as_json)


@app.command()
def resume(run_id: RunId, data_dir: DataDir = DEFAULT_DATA_DIR, why: Why = "", as_json: AsJson = False) -> None:
    """Run a preview, or go on with a replay that was paused or whose process died."""
    from services.cli.operate import at_terminal, operate
    from services.cli.progress import shown_progress
    from services.orders.replay import make_plan, run_replay, start_replay
    from services.orders.replay_runs import Run

    operator = at_terminal(why)
    with shown_progress("events") as tell:

        async def work(engine: AsyncEngine, redis: Redis) -> Run:
            await make_plan(engine, redis, run_id, _told(tell))
            await start_replay(engine, run_id, operator)
            return await run_replay(engine, redis, run_id, operator, _told(tell))

        finished = operate(data_dir, work)
    _render(data_dir, finished, False, as_json)


@app.command()
def pause(run_id: RunId, data_dir: DataDir = DEFAULT_DATA_DIR, why: Why = "") -> None:
    """Stop a running replay after its present page."""
    from services.cli.operate import at_terminal, operate
    from services.orders.replay import pause_replay

    operator = at_terminal(why)
    paused = operate(data_dir, lambda engine, _redis: pause_replay(engine, run_id, operator))
    print(f"{paused.run_id} is paused after {paused.sent} events; `tillroll replay resume {paused.run_id}` goes on")


@app.command()
def show(
    run_id: RunId,
    data_dir: DataDir = DEFAULT_DATA_DIR,
    each: Annotated[bool, typer.Option("--each", help="A line for each event.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show how far a replay is and what came of it."""
    from services.cli.operate import operate
    from services.orders.replay_runs import read_run

    _render(data_dir, operate(data_dir, lambda engine, _redis: read_run(engine, run_id)), each, as_json)


@app.command("list")
def list_(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    limit: Annotated[int, typer.Option(min=1, max=1000)] = 20,
    as_json: AsJson = False,
) -> None:
    """Show replays and previews, newest first."""
    from services.cli.operate import operate, print_json, print_rows
    from services.orders.replay_runs import list_runs

    rows = [run.public() for run in operate(data_dir, lambda engine, _redis: list_runs(engine, limit))]
    if as_json:
        print_json(rows)
    else:
        print_rows(rows, "run_id", "status", "source", "filter", "sent", "planned", "result", "who", "why")


@app.command()
def shadow(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    source: FromSource = Source.ARCHIVE,
    first: From = None,
    last: Last = None,
    since: Since = None,
    until: To = None,
    user: User = None,
    order: Order = None,
    event: Event = None,
    product: Product = None,
    kind: Kind = None,
    as_json: AsJson = False,
) -> None:
    """Run a range through the present code beside the live tables; exit 1 when its orders differ."""
    from services.cli.operate import operate, print_counts, print_json
    from services.orders.shadow_replay import shadow_replay

    chosen = chosen_range(first, last, since, until, user, order, event, product, kind)
    report = operate(data_dir, lambda engine, redis: shadow_replay(engine, redis, source, chosen))
    if as_json:
        print_json(report.public())
    else:
        for found in report.differences:
            print(f"{found['order_id']}  {found['kind']}  {found.get('columns', '')}")
        print_counts("events", report.events)
        print(f"{report.compared} orders compared, {report.differing} differ")
        if report.statuses_not_compared:
            print(f"{report.statuses_not_compared} statuses not compared: the range leaves moves of those orders out")
    if report.differing:
        raise typer.Exit(1)


def _told(tell: Any) -> Any:
    return lambda _what, done, total: tell(done, total)


def _render(data_dir: Path, found: Any, each: bool, as_json: bool) -> None:
    from services.cli.operate import print_counts, print_json

    if as_json:
        print_json({**found.public(), **({"events": list(_events(data_dir, found.run_id))} if each else {})})
    else:
        if each:
            for row in _events(data_dir, found.run_id):
                outcome = row["outcome"] or row["planned"]
                print(f"{outcome:<15}{row['event_id'] or '-'}  {row['source_id']}  {row['detail']}")
        print_counts("planned", found.planned)
        if found.result:
            print_counts("result", found.result)
        print(f"{found.run_id} is {found.status}, {found.sent} events sent")
    counts = found.result or found.planned or {}
    is_off = found.result is not None and found.result != found.planned
    if is_off or counts.get("conflict") or counts.get("reject") or counts.get("unsettled"):
        raise typer.Exit(1)


def _events(data_dir: Path, run_id: UUID) -> Any:
    from services.cli.operate import operate
    from services.orders.replay_runs import list_run_events

    first = 0
    while True:
        page = operate(data_dir, lambda engine, _redis, first=first: list_run_events(engine, run_id, first, _SHOWN))  # type: ignore[misc]
        yield from page
        if len(page) < _SHOWN:
            return
        first = page[-1]["number"] + 1
