"""What was accepted for a user and is not recorded yet. Reads the overlay; scripts and consumer write it."""

import logging
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

from pydantic import Field, TypeAdapter
from redis.asyncio import Redis

from shared.events import Event, wire
from shared.streams import overlay_key

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Accepted:
    """An event that is in the stream; `accepted_at` in ms since 1970."""

    event_id: UUID
    accepted_at: int
    event: Event


@wire
class _Noted:
    """The value of an overlay field."""

    accepted_at: int
    event: Annotated[Event, Field(discriminator="type")]


_NOTED = TypeAdapter(_Noted)


async def read_overlay(redis: Redis, user_id: str) -> list[Accepted]:
    """The user's accepted events in the order of their acceptance; raises what Redis raises.

    A field that cannot be read hides itself alone: its entry is on its way to the dead letters.
    """
    found = []
    fields: dict[bytes, bytes] = await redis.hgetall(overlay_key(user_id))  # type: ignore[assignment]
    for field, value in fields.items():
        try:
            event_id, noted = UUID(field.decode()), _NOTED.validate_json(value)
        except ValueError as fault:
            told = {"overlay": overlay_key(user_id), "fault": type(fault).__name__}  # no content: it may name somebody
            log.warning("overlay_field_unreadable", extra=told)
            continue
        if noted.event.user_id == user_id:
            found.append(Accepted(event_id, noted.accepted_at, noted.event))
    return sorted(found, key=lambda accepted: (accepted.accepted_at, accepted.event_id))
