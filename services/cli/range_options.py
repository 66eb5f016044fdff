"""The options that choose a range of events, so that looking and replaying mean the same by them."""

from typing import Annotated, Any, TypeVar
from uuid import UUID

import typer
from pydantic import BaseModel, ValidationError

from services.orders.replay_source import ReplayRange
from shared.errors import ApiError

Shape = TypeVar("Shape", bound=BaseModel)

From = Annotated[str | None, typer.Option("--first", help="From this entry id on.")]
Last = Annotated[str | None, typer.Option("--last", help="Up to and with this entry id.")]
Since = Annotated[str | None, typer.Option("--from", help="Accepted at or after this ISO time.")]
To = Annotated[str | None, typer.Option("--to", help="Accepted before this ISO time.")]
User = Annotated[str | None, typer.Option(help="Of this user.")]
Order = Annotated[UUID | None, typer.Option(help="All events of this order.")]
Event = Annotated[UUID | None, typer.Option(help="The event of this id.")]
Product = Annotated[str | None, typer.Option(help="Checkouts that bought this product.")]
Kind = Annotated[str | None, typer.Option("--type", help="Events of this type, e.g. checkout.completed.")]


def chosen_range(
    first: str | None,
    last: str | None,
    since: str | None,
    until: str | None,
    user: str | None,
    order: UUID | None,
    event: UUID | None,
    product: str | None,
    kind: str | None,
) -> ReplayRange:
    """The range; raises ApiError that names the option at fault."""
    given: dict[str, Any] = {"first": first, "last": last, "from": since, "to": until, "user": user, "order": order}
    given |= {"event": event, "product": product, "type": kind}
    return parse(ReplayRange, given)


def parse(shape: type[Shape], given: dict[str, Any]) -> Shape:
    """`shape` of what is given; raises ApiError that names the option at fault."""
    try:
        return shape.model_validate({name: value for name, value in given.items() if value is not None})
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        raise ApiError(400, f"--{first['loc'][0]}: {first['msg']}") from fault
