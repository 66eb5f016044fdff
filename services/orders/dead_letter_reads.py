"""Dead letters as operators see them: found by reason, user, time, event and state, and shown whole. Writes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any
from uuid import UUID

import sqlalchemy as sa
from pydantic import BaseModel, ConfigDict, Field, StringConstraints
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from services.orders.dead_letters import raw_fields
from services.orders.filters import Moment, conditions_of
from services.orders.tables import dead_letters, events
from shared.errors import ApiError
from shared.events import UserId

MAX_PAGE = 500
_LetterId = Annotated[int, Field(ge=1, le=2**62)]


class State(StrEnum):
    """The fate of a dead letter. What is requeued and fails again is buried again."""

    BURIED = "buried"
    REQUEUED = "requeued"
    DISCARDED = "discarded"


class LetterFilters(BaseModel):
    """Which dead letters; every filter that is given must hold. `since` (last failure) is included, `until` is not."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    ids: tuple[_LetterId, ...] | None = None
    reason: Annotated[str, StringConstraints(max_length=100, pattern=r"^[^\x00]+$")] | None = None
    user: UserId | None = None
    event: UUID | None = None
    since: Moment | None = Field(None, alias="from")
    until: Moment | None = Field(None, alias="to")
    state: State | None = None

    def told(self) -> dict[str, Any]:
        """The filters that are given, for the audit trail."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


@dataclass(frozen=True, slots=True)
class Letter:
    """A dead letter. `fields` as they came, `edited` what an operator would put back instead."""

    id: int
    stream: str
    entry_id: str
    fields_hash: str
    state: State
    reason: str
    detail: str
    event_id: UUID | None
    user_id: str | None
    consumer: str
    attempts: int
    first_failed_at: datetime
    last_failed_at: datetime
    stored: list[Any]
    stored_edit: list[Any] | None
    requeued_as: tuple[str, ...]
    settled_by: str | None
    settled_why: str | None
    settled_at: datetime | None
    is_recorded: bool
    """Whether the archive holds an event of this id."""

    @property
    def fields(self) -> tuple[tuple[bytes, bytes], ...]:
        """What a requeue would put back: the edit where there is one."""
        return raw_fields(self.stored if self.stored_edit is None else self.stored_edit)

    def public(self, whole: bool = False) -> dict[str, Any]:
        """JSON of it; the fields only when it is shown `whole`."""
        shown: dict[str, Any] = {
            "id": self.id,
            "state": self.state,
            "reason": self.reason,
            "detail": self.detail,
            "event_id": self.event_id and str(self.event_id),
            "user_id": self.user_id,
            "entry_id": self.entry_id,
            "attempts": self.attempts,
            "first_failed_at": self.first_failed_at.isoformat(),
            "last_failed_at": self.last_failed_at.isoformat(),
            "is_edited": self.stored_edit is not None,
            "is_recorded": self.is_recorded,
        }
        if whole:
            shown |= {
                "stream": self.stream,
                "consumer": self.consumer,
                "requeued_as": list(self.requeued_as),
                "settled_by": self.settled_by,
                "settled_why": self.settled_why,
                "settled_at": self.settled_at and self.settled_at.isoformat(),
                "fields": self.stored,
                "edited_fields": self.stored_edit,
            }
        return shown


async def list_letters(
    engine: AsyncEngine, filters: LetterFilters, limit: int = 50, before: int | None = None
) -> list[Letter]:
    """Dead letters, newest first; `before` is the id of the last one of the page before."""
    statement = _select(filters).order_by(dead_letters.c.id.desc()).limit(limit)
    if before is not None:
        statement = statement.where(dead_letters.c.id < before)
    async with engine.connect() as connection:
        return _letters(await connection.execute(statement))


async def read_letter(engine: AsyncEngine, letter_id: int) -> Letter:
    """The dead letter of that id; raises ApiError(404)."""
    async with engine.connect() as connection:
        found = _letters(await connection.execute(_select(LetterFilters(ids=(letter_id,)))))
    if not found:
        raise unknown_letter(letter_id)
    return found[0]


async def lock_letters(connection: AsyncConnection, filters: LetterFilters) -> list[Letter]:
    """The letters, held until the end of the transaction, in the order in which every writer takes them."""
    keys = (dead_letters.c.stream, dead_letters.c.entry_id, dead_letters.c.fields_hash)
    return _letters(await connection.execute(_select(filters).order_by(*keys).with_for_update(of=dead_letters)))


async def ids_of(engine: AsyncEngine, filters: LetterFilters) -> list[int]:
    """The ids of all letters that `filters` choose, oldest first."""
    statement = sa.select(dead_letters.c.id).where(*_conditions(filters)).order_by(dead_letters.c.id)
    async with engine.connect() as connection:
        return list((await connection.execute(statement)).scalars())


def unknown_letter(letter_id: int) -> ApiError:
    """There is no dead letter of that id."""
    return ApiError(404, f"There is no dead letter {letter_id}")


def _select(filters: LetterFilters) -> sa.Select[Any]:
    is_recorded = sa.exists().where(events.c.event_id == dead_letters.c.event_id).label("is_recorded")
    return sa.select(dead_letters, is_recorded).where(*_conditions(filters))


def _conditions(filters: LetterFilters) -> list[sa.ColumnElement[bool]]:
    equal: dict[sa.Column[Any], Any] = {
        dead_letters.c.reason: filters.reason,
        dead_letters.c.user_id: filters.user,
        dead_letters.c.event_id: filters.event,
        dead_letters.c.state: filters.state,
    }
    conditions = conditions_of(equal, dead_letters.c.last_failed_at, filters.since, filters.until)
    if filters.ids is not None:
        conditions.append(dead_letters.c.id == sa.any_(sa.literal(list(filters.ids), sa.ARRAY(sa.BigInteger))))
    return conditions


def _letters(answer: sa.Result[Any] | Sequence[Any]) -> list[Letter]:
    return [
        Letter(
            id=row.id,
            stream=row.stream,
            entry_id=row.entry_id,
            fields_hash=row.fields_hash,
            state=State(row.state),
            reason=row.reason,
            detail=row.detail,
            event_id=row.event_id,
            user_id=row.user_id,
            consumer=row.consumer,
            attempts=row.attempts,
            first_failed_at=row.first_failed_at,
            last_failed_at=row.last_failed_at,
            stored=row.fields,
            stored_edit=row.edited_fields,
            requeued_as=tuple(row.requeued_as),
            settled_by=row.settled_by,
            settled_why=row.settled_why,
            settled_at=row.settled_at,
            is_recorded=row.is_recorded,
        )
        for row in answer
    ]
