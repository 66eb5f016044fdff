"""What the platform asks the consumer: is it alive, is it ready, what do its metrics say."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from faststream.asgi import AsgiResponse, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.intake import OUTAGE, Intake
from services.orders.look_at_stream import Group, look_at_stream
from shared.observability import CONSUMER, CONSUMER_READY
from shared.settings import Settings
from shared.streams import GROUP, NAMES_LOADED

_HELD_TOO_LONG = 10.0  # seconds
_OK = "ok"


@dataclass(frozen=True)
class Health:
    """What the answers are made from."""

    engine: AsyncEngine
    redis: "Redis"
    intake: Intake
    settings: Settings
    is_alive: Callable[[], bool]
    is_begun: Callable[[], bool]
    since: float = field(default_factory=time.monotonic)

    async def is_ready(self) -> bool:
        """Whether nothing is wrong."""
        return set((await look_at_state(self)).values()) == {_OK}


def health_routes(health: Health) -> list[tuple[str, Any]]:
    """/health, /ready and /metrics as routes of a FastStream ASGI app."""

    @get(include_in_schema=False)
    async def alive(scope: Any) -> AsgiResponse:
        is_alive = health.is_alive()
        return _json({"status": "alive" if is_alive else "nobody reads the stream"}, is_alive)

    @get(include_in_schema=False)
    async def ready(scope: Any) -> AsgiResponse:
        state = await look_at_state(health)
        return _json(state, set(state.values()) == {_OK})

    @get(include_in_schema=False)
    async def metrics(scope: Any) -> AsgiResponse:
        CONSUMER_READY.set(await health.is_ready())
        page = generate_latest() + generate_latest(CONSUMER)
        return AsgiResponse(page, 200, {"Content-Type": CONTENT_TYPE_LATEST})

    return [("/health", alive), ("/ready", ready), ("/metrics", metrics)]


async def look_at_state(health: Health) -> dict[str, str]:
    """One word for each thing that intake needs: `ok`, or what is wrong."""
    held = health.intake.held_seconds
    state = {
        "reading": (_OK if health.is_begun() else "starting") if health.is_alive() else "nobody reads the stream",
        "batch": _OK if held < _HELD_TOO_LONG else f"held for {held:.0f} s",
        "intake": "paused" if health.intake.is_paused else _OK,
    }
    try:
        state["names"] = _OK if await health.redis.exists(NAMES_LOADED) else "not loaded"
        look = await look_at_stream(health.redis)
        group = next((group for group in look.groups if group.name == GROUP), None)
        state["group"] = _OK if group else "gone"
        state["waiting"] = _judge_waiting(health, group)
        state["redis"] = _OK
    except OUTAGE as fault:
        state["redis"] = type(fault).__name__
    try:
        async with health.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        state["postgres"] = _OK
    except OUTAGE as fault:
        state["postgres"] = type(fault).__name__
    return state


def _judge_waiting(health: Health, group: Group | None) -> str:
    """By the oldest entry that is not acked. What waited before this process began is not held against it."""
    oldest = group.oldest_pending.age_seconds if group and group.oldest_pending else 0.0
    undelivered = (group.lag_seconds if group else None) or 0.0
    seconds = min(max(oldest, undelivered), time.monotonic() - health.since)
    return _OK if seconds < health.settings.max_lag_age else f"an entry has waited for {seconds:.0f} s"


def _json(body: dict[str, str], is_good: bool) -> AsgiResponse:
    return AsgiResponse(json.dumps(body).encode(), 200 if is_good else 503, {"Content-Type": "application/json"})
