"""The pause that the dead-letter limit puts on intake, as operators see and lift it. Never pauses anything."""

from typing import Any

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Act, Operator, audited
from shared.streams import INTAKE_PAUSED


async def read_pause(redis: "Redis") -> str | None:
    """The reason for which intake is paused; None = it is not. Raises what Redis raises."""
    reason: Any = await redis.get(INTAKE_PAUSED)
    return None if reason is None else reason.decode(errors="replace")


async def lift_pause(engine: AsyncEngine, redis: "Redis", operator: Operator) -> str | None:
    """Lets the consumer take in entries again; the reason of the pause that is lifted, None when there was none."""
    found = await read_pause(redis)
    if found is None:
        return None
    async with audited(engine, operator, Act("resume", {"pause": found})) as outcome:
        reason: Any = await redis.getdel(INTAKE_PAUSED)
        outcome.result = {"lifted": reason is not None}
    return None if reason is None else reason.decode(errors="replace")
