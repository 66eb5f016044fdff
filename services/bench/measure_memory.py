"""What an order and a cart take in Redis and on the disk: real checkouts through gateway and consumer, then the keys.

Bytes alone: no figure here depends on how busy the machine is. Changes nothing but its own servers.
"""

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any
from uuid import uuid4

from redis.asyncio import Redis

from services.bench.contenders import CONTENDERS
from services.bench.environment import describe_environment
from services.bench.figures import ACCEPT, COMPARED_AT
from services.bench.measure_accept import measure
from services.bench.report import markdown
from services.bench.shoppers import prepare_shoppers
from services.bench.world import Lent, open_world
from services.bench.wrk import require_wrk
from services.cart.catalog import load_catalog
from services.cart.model import CartItem
from services.cart.store import put_cart
from services.certify.roll import open_redis
from services.certify.world import DoesNotRun
from shared.settings import Settings
from shared.streams import STREAM

_ORDERS = 10_000  # at least
_CARTS = 2000
_CONTENDER = "tillroll-1"
_SECONDS = 10.0  # a load
_SAMPLED = 500  # keys of each kind

Say = Callable[[str], None]


@dataclass(frozen=True)
class Memory:
    """Bytes an order (or a cart): `of_order` and `of_cart` in Redis as a whole, `keys` by kind, `written` to disks."""

    environment: dict[str, Any]
    orders: int
    of_order: float
    of_cart: float
    empty: int
    keys: dict[str, tuple[int, float]]
    """Kind -> keys of that kind, mean bytes of one."""
    stream: float
    written: dict[str, float]


async def measure_memory(folder: Path, lent: Lent, say: Say) -> Memory:
    """Raises TillrollError when something cannot be started."""
    require_wrk()
    shoppers = prepare_shoppers(folder, load_catalog(Settings()))
    world = await open_world(folder, lent, shoppers)
    try:
        await world.start([_CONTENDER])
        environment = await describe_environment(world)
        async with open_redis(world.redis_url) as redis:
            empty = await _used(redis)
            orders = 0
            written: dict[str, list[float]] = {"aof": [], "wal": []}
            while orders < _ORDERS:
                figure, answers = await measure(world, CONTENDERS[_CONTENDER], ACCEPT, COMPARED_AT, _SECONDS)
                orders += len(answers.order_ids)
                for name, values in written.items():
                    values += [figure.values[name]] * (name in figure.values)
                say(f"memory     {orders:>9} orders are recorded")
                if not answers.order_ids:
                    raise DoesNotRun(f"no checkout is accepted: {answers.last_refusal}")
            filled = await _used(redis)
            stream = float(await redis.memory_usage(STREAM, samples=0) or 0)
            keys = await _keys(redis)
            for _ in range(_CARTS):
                items = [CartItem(id=str(number), quantity=1 + secrets.randbelow(3)) for number in (1, 2, 3)]
                await put_cart(redis, str(uuid4()), items, Settings().window)
            with_carts = await _used(redis)
    finally:
        await world.stop_processes()
        await world.stop()
    told = {name: mean(values) for name, values in written.items() if values}
    return Memory(
        environment,
        orders,
        (filled - empty) / orders,
        (with_carts - filled) / _CARTS,
        empty,
        keys,
        stream / orders,
        told,
    )


async def _used(redis: Redis) -> int:
    return int((await redis.info("memory"))["used_memory_dataset"])


async def _keys(redis: Redis) -> dict[str, tuple[int, float]]:
    counts: dict[str, int] = {}
    sizes: dict[str, list[int]] = {}
    async for key in redis.scan_iter(count=1000):
        kind = key.decode().split(":")[2]
        counts[kind] = counts.get(kind, 0) + 1
        own = sizes.setdefault(kind, [])
        if len(own) < _SAMPLED:
            own.append(await redis.memory_usage(key, samples=0) or 0)
    return {kind: (count, mean(sizes[kind])) for kind, count in sorted(counts.items())}


def render_memory(memory: Memory) -> str:
    """For a terminal, and as Markdown all the same."""
    env = memory.environment
    rows = [(kind, str(count), f"{size:.0f}") for kind, (count, size) in memory.keys.items()]
    written = ", ".join(f"{name.upper()} {value:.0f} B" for name, value in memory.written.items())
    return (
        f"Commit {env['commit']}, {env['at']}, Redis {env['redis']['version']}; {memory.orders} orders of three lines,"
        " each with an idempotency key, accepted and recorded.\n\n"
        f"- Redis, an order: **{memory.of_order:.0f} B** of data, {memory.stream:.0f} B of them in the stream\n"
        f"- Redis, a cart of three lines: **{memory.of_cart:.0f} B**\n"
        f"- written to disk an order: {written}\n\n" + markdown(("keys", "how many", "bytes of one"), rows)
    )
