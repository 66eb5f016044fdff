"""`tillroll explain`: the door to everything that is known of one order."""

import json
import sys
from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from services.cli.options import DEFAULT_DATA_DIR, AsJson, DataDir

app = typer.Typer()


@app.command()
def explain(
    order: Annotated[UUID, typer.Argument(help="The order id, which is its event id.")],
    data_dir: DataDir = DEFAULT_DATA_DIR,
    as_json: AsJson = False,
) -> None:
    """Tell an order's events, names, suppressed duplicates, dead letters and replays; exit 1 when nobody knows it."""
    from services.cli.operate import operate
    from services.orders.explain_order import explain_order

    found = operate(data_dir, lambda engine, redis: explain_order(redis, engine, order))
    if found is None:
        print(f"neither log nor tables know {order}", file=sys.stderr)
        raise typer.Exit(1)
    timeline = [{"at": at, "what": what} for at, what in found.timeline()]
    if as_json:
        print(json.dumps({**asdict(found), "timeline": timeline}, indent=2))
        return
    print(f"order {found.order_id} of {found.user_id}: {found.total}, {found.status} ({found.state})")
    for moment in timeline:
        print(f"  {moment['at']}  {moment['what']}")
    for event in found.events:
        if event["pending"]:
            print(f"  waits with {event['pending']['consumer']}, delivered {event['pending']['deliveries']} times")
    names = [f"{kind} {name}" for kind, name in found.names.items() if name]
    print(f"names       {', '.join(names) or 'none'}")
    counts = "unknown" if found.duplicates is None else found.duplicates or "none"
    print(f"duplicates  {counts}")
