"""The stream keeps what nobody has read yet, however much that is."""

from redis.asyncio import Redis

from shared.settings import Settings
from shared.streams import STREAM
from tests.shop import open_shop


async def test_accepting_never_shortens_the_stream(settings: Settings, redis: Redis) -> None:
    async with open_shop(settings) as shop:
        ids = []
        for number in range(120):
            response = await shop.order("user_ada", {"1": 1}, idempotency_key=f"rush-hour-{number}")
            assert response.status_code == 201
            ids.append(response.json()["data"]["id"])
    entries = await redis.xrange(STREAM)
    assert [fields[b"event_id"].decode() for _, fields in entries] == ids
