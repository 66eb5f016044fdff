"""A shopper's list of orders in pages: together they are the whole list, and a page that means nothing is refused."""

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.events import Status
from shared.settings import Settings
from tests.builders import a_change
from tests.integration.orders_stage import MINUTE, MORNING, a_checkout, accept, read_all, record, serving, signed_in


async def test_pages_together_are_the_whole_list_whether_orders_are_recorded_or_not(
    redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    for number in range(17):
        at = MORNING + number // 3 * MINUTE  # three in one millisecond
        if number % 4 == 1:
            await accept(redis, a_checkout(), accepted_at=at)
        else:
            order_id = await record(engine, a_checkout(), accepted_at=at)
            if number % 4 == 2:  # recorded, and still in the overlay
                await accept(redis, a_checkout(), order_id, accepted_at=at)
            if number % 4 == 3:
                await accept(redis, a_change(order_id, Status.CANCELLED, "anna"), accepted_at=at)
    async with serving(settings) as http:
        headers = signed_in(settings)
        whole = (await http.get("/api/orders", headers=headers)).json()
        assert len(whole["data"]) == 17
        assert set(whole) == {"data"}
        for limit in (1, 2, 5, 16, 17, 200):
            assert await read_all(http, headers, "/api/orders", limit=limit) == whole["data"]


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ({"limit": "0"}, "Invalid limit"),
        ({"limit": "201"}, "Invalid limit"),
        ({"limit": "٣"}, "Invalid limit"),
        ({"limit": ""}, "Invalid limit"),
        ({"limit": "5", "cursor": ""}, "Invalid cursor"),
        ({"cursor": "\x00"}, "Invalid cursor"),
        ({"cursor": "bm90IG91cnM"}, "Invalid cursor"),
    ],
)
async def test_a_page_that_means_nothing_is_refused(settings: Settings, query: dict[str, str], text: str) -> None:
    async with serving(settings) as http:
        answer = await http.get("/api/orders", params=query, headers=signed_in(settings))
    assert (answer.status_code, answer.json()) == (400, {"error": text})
