"""`tillroll stream info|groups|entries`: the doors to what the stream holds and how far its groups are."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli import stream_commands
from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir
from services.cli.range_options import Event, From, Kind, Last, Order, Product, Since, To, User, chosen_range

app = stream_commands.app


@app.command()
def info(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    trend: Annotated[float, typer.Option(min=0, max=60, help="Seconds between two looks; 0 = one look.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Show length, ends, groups, lag in entries and seconds, oldest pending, and with --trend where the lag goes."""
    _show(data_dir, trend, as_json, with_consumers=False)


@app.command()
def groups(data_dir: DataDir = DEFAULT_DATA_DIR, as_json: AsJson = False) -> None:
    """Show each group with its consumers, what they have pending and how long they have been idle."""
    _show(data_dir, 0, as_json, with_consumers=True)


def _show(data_dir: Path, trend: float, as_json: bool, *, with_consumers: bool) -> None:
    from services.cli.operate import operate, print_json, print_rows
    from services.orders.look_at_stream import StreamLook, lag_trend, look_at_stream

    async def look(_engine: AsyncEngine, redis: Redis) -> tuple[StreamLook, dict[str, float | None]]:
        first = await look_at_stream(redis)
        if not trend:
            return first, {}
        await asyncio.sleep(trend)
        second = await look_at_stream(redis)
        return second, lag_trend(first, second)

    found, trends = operate(data_dir, look)
    if as_json:
        print_json({**found.public(), "lag_trend_per_second": trends})
        return
    print(f"{found.stream}: {found.length} entries, {found.first_id or '-'} to {found.last_id or '-'}")
    for group in found.groups:
        lag = "unknown" if group.lag_entries is None else group.lag_entries
        print(f"group {group.name}: lag {lag} entries, {group.lag_seconds} s; {group.pending} pending")
        if trends:
            change = trends.get(group.name)
            print(f"  trend {'unknown' if change is None else f'{change:+.1f} entries a second'}")
        if oldest := group.oldest_pending:
            print(
                f"  oldest pending {oldest.entry_id}: {oldest.age_seconds} s old, with {oldest.consumer}"
                f" for {oldest.idle_seconds} s, delivered {oldest.deliveries} times"
            )
        if with_consumers:
            rows = [
                {"consumer": one.name, "pending": one.pending, "idle_s": one.idle_seconds} for one in group.consumers
            ]
            print_rows(rows, "consumer", "pending", "idle_s")


@app.command()
def entries(
    data_dir: DataDir = DEFAULT_DATA_DIR,
    first: From = None,
    last: Last = None,
    since: Since = None,
    until: To = None,
    user: User = None,
    order: Order = None,
    event: Event = None,
    product: Product = None,
    kind: Kind = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 20,
    before: Annotated[str | None, typer.Option(help="Only entries older than this one: the next page.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show entries of a range, newest first."""
    from services.cli.operate import operate, print_json
    from services.orders.look_at_stream import EntryPage, list_entries

    chosen = chosen_range(first, last, since, until, user, order, event, product, kind)

    async def look(_engine: AsyncEngine, redis: Redis) -> EntryPage:
        return await list_entries(redis, chosen, limit, before)

    page = operate(data_dir, look)
    if as_json:
        print_json(page.public())
        return
    for entry in page.entries:
        print(entry.entry_id)
        for name, value in entry.fields:
            print(f"  {name.decode(errors='replace')} = {value.decode(errors='backslashreplace')}")
    if page.next:
        print(f"older ones: --before {page.next}")
