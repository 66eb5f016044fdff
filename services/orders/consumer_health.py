"""What the platform asks the consumer: is it alive, is it ready, what do its metrics say."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from faststream.asgi import AsgiResponse, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.intake import OUTAGE, Intake
from shared.streams import NAMES_LOADED

_HELD_TOO_LONG = 10.0  # seconds


@dataclass(frozen=True)
class Health:
    """What the answers are made from."""

    engine: AsyncEngine
    redis: "Redis"
    intake: Intake
    is_alive: Callable[[], bool]
    is_begun: Callable[[], bool]


def health_routes(health: Health) -> list[tuple[str, Any]]:
    """/health, /ready and /metrics as routes of a FastStream ASGI app."""

    @get(include_in_schema=False)
    async def alive(scope: Any) -> AsgiResponse:
        is_alive = health.is_alive()
        return _json({"status": "alive" if is_alive else "nobody reads the stream"}, is_alive)

    @get(include_in_schema=False)
    async def ready(scope: Any) -> AsgiResponse:
        state = await _state(health)
        return _json(state, set(state.values()) == {"ok"})

    @get(include_in_schema=False)
    async def metrics(scope: Any) -> AsgiResponse:
        return AsgiResponse(generate_latest(), 200, {"Content-Type": CONTENT_TYPE_LATEST})

    return [("/health", alive), ("/ready", ready), ("/metrics", metrics)]


async def _state(health: Health) -> dict[str, str]:
    """One word for each thing that intake needs: `ok`, or what is wrong."""
    held = health.intake.held_seconds
    state = {
        "reading": "ok" if health.is_begun() else "starting",
        "batch": "ok" if held < _HELD_TOO_LONG else f"held for {held:.0f} s",
        "intake": "paused" if health.intake.is_paused else "ok",
    }
    try:
        state["names"] = "ok" if await health.redis.exists(NAMES_LOADED) else "not loaded"
        state["redis"] = "ok"
    except OUTAGE as fault:
        state["redis"] = type(fault).__name__
    try:
        async with health.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        state["postgres"] = "ok"
    except OUTAGE as fault:
        state["postgres"] = type(fault).__name__
    return state


def _json(body: dict[str, str], is_good: bool) -> AsgiResponse:
    return AsgiResponse(json.dumps(body).encode(), 200 if is_good else 503, {"Content-Type": "application/json"})
