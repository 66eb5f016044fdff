"""What the filters of operators' lists have alike: a span of time, and columns that must equal what is given."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from pydantic import AfterValidator


def _in_utc(moment: datetime) -> datetime:
    """A moment without an offset is meant in UTC."""
    if not 1970 <= moment.year <= 9000:
        raise ValueError("the year must be between 1970 and 9000")
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


def conditions_of(
    equal: Mapping[sa.Column[Any], Any], moment: sa.Column[Any], since: datetime | None, until: datetime | None
) -> list[sa.ColumnElement[bool]]:
    """Every column equals its value where that is given; `moment` is from `since` on (included) until `until` (not)."""
    conditions: list[sa.ColumnElement[bool]] = [column == value for column, value in equal.items() if value is not None]
    if since is not None:
        conditions.append(moment >= since)
    if until is not None:
        conditions.append(moment < until)
    return conditions
