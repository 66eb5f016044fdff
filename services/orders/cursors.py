"""Positions in lists of orders as clients carry them: opaque text, the same in every list. Reads nothing."""

import base64
import binascii
from datetime import datetime
from typing import Annotated
from uuid import UUID

import pydantic_core
from pydantic import Field, TypeAdapter

from services.orders.entries import moment

Position = tuple[int, UUID, int]
"""Microseconds since 1970, order id and line of the last one of a page; the line is 0 in lists of orders."""

_POSITION: TypeAdapter[Position] = TypeAdapter(
    tuple[Annotated[int, Field(ge=0, le=2**57)], UUID, Annotated[int, Field(ge=0, le=32_767)]]
)


def cursor_at(at: datetime, order_id: UUID, line: int = 0) -> str:
    """The cursor of the page after this place."""
    since = at - moment(0)
    microseconds = (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds
    return base64.urlsafe_b64encode(pydantic_core.to_json((microseconds, order_id, line))).decode().rstrip("=")


def position_of(cursor: str) -> Position:
    """The place that a cursor means; raises ValueError for anything that is none of ours."""
    try:
        return _POSITION.validate_json(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
    except (binascii.Error, ValueError) as fault:
        raise ValueError("not a cursor of ours") from fault
