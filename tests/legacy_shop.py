"""The old shop's Redis as it was left behind: users with their orders, sound and damaged."""

import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

_DAMAGES = (
    b"{truncat",
    b"\x00\xff not even text",
    b'"a string"',
    b"null",
    b'[{"id": "3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f", "total": 1, "items": []}]',
    b'[{"total": 5, "items": [{"id": "1", "quantity": 1}]}]',
    b'[{"id": "A-1", "total": NaN, "items": [{"id": "1", "quantity": 1}]}]',
    b'[{"id": "A-1", "total": 10.005, "items": [{"id": "1", "quantity": 1}]}]',
    b'[{"id": "A-1", "total": 10, "date": "yesterday", "items": [{"id": "1", "quantity": 1}]}]',
    b'[{"id": "A-1", "total": 10, "status": "teleported", "items": [{"id": "1", "quantity": 1}]}]',
    b'[{"id": "A-1", "total": 10, "items": [{"id": "1", "quantity": 100}]}]',
    b'[{"id": "A-1", "userId": "mallory", "total": 10, "items": [{"id": "1", "quantity": 1}]}]',
)
"""Each is one finding."""


def an_order(**more: Any) -> dict[str, Any]:
    """Two key boards of an old customer, unless told otherwise."""
    order = {
        "id": "0b0e9a52-4a3f-4d7e-8b39-0d9a1c6f2e11",
        "userId": "user_old",
        "date": "2024-05-06T07:08:09.123Z",
        "status": "paid",
        "total": 298,
        "items": [{"id": "2", "quantity": 2}],
    }
    return {name: value for name, value in (order | more).items() if value is not ...}


async def leave(redis: Redis, user: str, orders: Any) -> str:
    """Puts `orders` (JSON, or bytes as they are) where the old shop kept a user's; answers the key."""
    key = f"orders:user:{user}"
    await redis.set(key, orders if isinstance(orders, bytes) else json.dumps(orders))
    return key


async def fill(redis: Redis, users: int, orders: int, damaged: int) -> None:
    """Generates `users` with `orders` between them, in the shapes that the old shop had, and `damaged` users more."""
    dice = random.Random(users)
    start = datetime(2023, 1, 1, tzinfo=UTC)
    held: dict[str, list[dict[str, Any]]] = {f"user_{n:05d}": [] for n in range(users)}
    names = list(held)
    for number in range(orders):
        user = names[number % users]
        moment = start + timedelta(minutes=number)
        cents = dice.randrange(100, 100_000)
        order = an_order(
            id=str(UUID(int=dice.getrandbits(128), version=4)) if number % 9 else f"ORD-{number}",
            userId=user,
            date=moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if number % 11 else ...,
            status=("processing", "paid", "cancelled")[number % 3] if number % 7 else ...,
            total=cents / 100 if number % 5 else str(cents / 100),
            items=[{"id": str(dice.randrange(1, 9)), "quantity": dice.randrange(1, 9)} for _ in range(1 + number % 3)],
        )
        held[user].insert(0, order)
        if number % 50 == 0:  # the same order twice, its first copy not paid yet
            held[user].append(order | {"status": "processing"})
    async with redis.pipeline(transaction=False) as pipeline:
        for user, list_ in held.items():
            pipeline.set(f"orders:user:{user}", json.dumps(list_))
        for number in range(damaged):
            pipeline.set(f"orders:user:lost_{number:04d}", _DAMAGES[number % len(_DAMAGES)])
        pipeline.set("orders:users", json.dumps([*names, *(f"lost_{number:04d}" for number in range(damaged))]))
        await pipeline.execute()
