"""Sets the stage for the consumer's intake: what accepting leaves, what a reader was given, and a step that waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from services.orders.entries import Entry, entries_of
from shared.events import Event
from shared.settings import Settings
from shared.streams import GROUP, STREAM, overlay_key
from tests.builders import fields_of

ADA = "user_ada"


async def accept(redis: Redis, event: Event, event_id: UUID | None = None, **odd: Any) -> str:
    """Leaves an event in stream and overlay as accepting does; returns the entry id."""
    fields = fields_of(event, event_id) | odd
    await redis.hset(overlay_key(event.user_id), str(fields["event_id"]), b'{"accepted_at":1,"event":{}}')
    return (await redis.xadd(STREAM, fields)).decode()


async def poison(redis: Redis, how_many: int = 1) -> None:
    for _ in range(how_many):
        await redis.xadd(STREAM, {"payload": b"\xff"})


async def read_new(redis: Redis, consumer: str, how_many: int = 500) -> list[Entry]:
    answer = await redis.xreadgroup(GROUP, consumer, {STREAM: ">"}, count=how_many)
    return entries_of(answer[0][1]) if answer else []


async def deliver_often(redis: Redis, settings: Settings, times: int) -> None:
    """What `times` starts that ended in a crash leave behind."""
    await read_new(redis, settings.consumer)
    for _ in range(times - 1):
        await redis.xreadgroup(GROUP, settings.consumer, {STREAM: "0"})


async def pending(redis: Redis) -> int:
    return int((await redis.xpending(STREAM, GROUP))["pending"])


@asynccontextmanager
async def running(work: Any) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(work)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def consumer(settings: Settings, name: str = "consumer-1", **more: Any) -> Settings:
    return settings.model_copy(update={"consumer": name, **more})
