"""Whether a process of the system under test does its work right now. Each answer is one attempt."""

import asyncpg
from redis.exceptions import RedisError

from services.certify.http_client import Door, NoAnswer
from services.certify.roll import open_redis


async def is_ready(port: int) -> bool:
    """Whether the process says that it does its work."""
    door = Door("", port)
    try:
        return (await door.send("GET", "/ready", {}, seconds=5)).status == 200
    except NoAnswer:
        return False
    finally:
        door.close()


async def redis_answers(url: str) -> bool:
    """Whether Redis has loaded its data."""
    try:
        async with open_redis(url) as redis:
            return bool(await redis.ping())
    except (RedisError, OSError):
        return False


async def postgres_answers(url: str) -> bool:
    """Whether Postgres lets us in."""
    try:
        connection = await asyncpg.connect(url, timeout=2)
    except (asyncpg.PostgresError, OSError, TimeoutError):
        return False
    await connection.close()
    return True
