"""One checkout, submitted by everybody at once, through nginx and over several checkout processes."""

import asyncio
from pathlib import Path

import asyncpg
import httpx
import pytest

from tests.contract.place import open_nginx
from tests.servers import Servers
from tests.waiting import until

SUBMITS = 200
ORDER = {"total": 258, "items": [{"id": "1", "quantity": 2}]}


@pytest.mark.parametrize("names", [{"Idempotency-Key": "till-roll-200"}, {}], ids=["with a key", "bare"])
async def test_two_hundred_equal_submits_over_four_processes_are_one_row_and_one_201(
    servers: Servers, tmp_path: Path, names: dict[str, str]
) -> None:
    servers.clean()
    with open_nginx(servers, tmp_path, checkouts=4) as place:
        headers = {"Authorization": f"Bearer {place.issue('ada', False)}", **names}
        limits = httpx.Limits(max_connections=SUBMITS)
        async with httpx.AsyncClient(base_url=place.url, limits=limits, timeout=30, trust_env=False) as http:
            answers = await asyncio.gather(
                *(http.post("/api/orders", json=ORDER, headers=headers) for _ in range(SUBMITS))
            )
        assert sorted(answer.status_code for answer in answers) == [200] * (SUBMITS - 1) + [201]
        assert len({answer.content for answer in answers}) == 1
        order_id = answers[0].json()["data"]["id"]
        connection = await asyncpg.connect(servers.database_url)
        try:
            await until(lambda: connection.fetchval("SELECT count(*) > 0 FROM orders"))
            assert [str(row[0]) for row in await connection.fetch("SELECT id FROM orders")] == [order_id]
        finally:
            await connection.close()
