"""Whether a server of ours does its work right now. Each answer is one attempt; waiting is the caller's."""

import asyncpg
import httpx
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT = 2  # seconds an attempt


async def redis_answers(url: str) -> bool:
    """Whether Redis has loaded its data and takes commands."""
    client = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0))
    try:
        return bool(await client.ping())
    except (RedisError, OSError):
        return False
    finally:
        await client.aclose()


async def postgres_answers(url: str) -> bool:
    """Whether Postgres lets us in."""
    try:
        connection = await asyncpg.connect(url, timeout=TIMEOUT)
    except (asyncpg.PostgresError, OSError, TimeoutError):
        return False
    await connection.close()
    return True


async def http_answers(url: str) -> bool:
    """Whether `url` answers 200."""
    async with httpx.AsyncClient(timeout=TIMEOUT, trust_env=False) as client:
        try:
            return (await client.get(url)).status_code == 200
        except httpx.HTTPError:
            return False
