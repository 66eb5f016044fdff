"""Faults of the wires: slow ones, and answers that never arrive."""

import asyncio

from services.certify.proxy import Wire
from services.certify.stage import Stage

REDIS = ("gateway-2 to Redis", "consumer-2 to Redis")
POSTGRES = ("consumer-2 to Postgres",)
CLIENT = ("clients to checkout-1",)


async def slow_redis(stage: Stage, hold: float) -> None:
    """Every chunk to and from Redis takes its time."""
    await _suffer(stage, REDIS, Wire.SLOW, hold)


async def cut_redis(stage: Stage, hold: float) -> None:
    """Commands arrive and are done; their answers are lost."""
    await _suffer(stage, REDIS, Wire.MUTE, hold)


async def cut_postgres(stage: Stage, hold: float) -> None:
    """Commits arrive and are done; their answers are lost."""
    await _suffer(stage, POSTGRES, Wire.MUTE, hold)


async def slow_client(stage: Stage, hold: float) -> None:
    """A bad line."""
    await _suffer(stage, CLIENT, Wire.SLOW, hold)


async def cut_client(stage: Stage, hold: float) -> None:
    """Orders arrive and are accepted; the client never hears of it."""
    await _suffer(stage, CLIENT, Wire.MUTE, hold)


async def _suffer(stage: Stage, names: tuple[str, ...], wire: Wire, hold: float) -> None:
    proxies = [stage.proxies[name] for name in names]
    for proxy in proxies:
        proxy.wire = wire
    try:
        await asyncio.sleep(hold)
    finally:
        for proxy in proxies:
            if wire is Wire.MUTE:
                proxy.cut()
            proxy.wire = Wire.GOOD
