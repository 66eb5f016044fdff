"""The operators' doors: viewers look, operators act, everybody gives a reason, and every act is the functions' own."""

from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.replay_source import ReplayRange
from shared.auth import Role
from shared.events import encode
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import INTAKE_PAUSED, STREAM
from tests.builders import a_checkout, fields_of
from tests.integration.operators import consume
from tests.integration.orders_stage import accept, serving, signed_in
from tests.tables import rows
from tests.waiting import until

BASE = "/api/admin/operations"
SOME_RUN = uuid4()
READS = [
    "/stream", "/stream/entries", "/dead-letters", "/dead-letters/1", "/replays", f"/replays/{SOME_RUN}",
    f"/replays/{SOME_RUN}/events", "/audit", "/audit/verify",
]  # fmt: skip
WRITES = [
    "/dead-letters/requeue", "/dead-letters/discard", "/dead-letters/1/edit", "/resume", "/replays",
    f"/replays/{SOME_RUN}/run", f"/replays/{SOME_RUN}/pause",
]  # fmt: skip


def as_a(role: Role, settings: Settings) -> dict[str, str]:
    return {"Authorization": f"Bearer {issue_development_token(settings, 'vera', role=role)}"}


async def test_a_viewer_looks_and_never_acts_and_a_shopper_does_neither(settings: Settings) -> None:
    async with serving(settings) as http:
        shopper, viewer = signed_in(settings), as_a(Role.VIEWER, settings)
        for path in READS:
            assert (await http.get(BASE + path)).status_code == 401
            assert (await http.get(BASE + path, headers=shopper)).status_code == 403
            assert (await http.get(BASE + path, headers=viewer)).status_code in (200, 404), path
        for path in WRITES:
            body = {"why": "because", "filter": {}}
            assert (await http.post(BASE + path, json=body)).status_code == 401
            for headers in (shopper, viewer):
                answer = await http.post(BASE + path, json=body, headers=headers)
                assert (answer.status_code, answer.json()) == (403, {"error": "Operator access required"}), path


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/dead-letters/requeue", {"why": " ", "filter": {}}),
        ("/dead-letters/requeue", {"filter": {}}),
        ("/dead-letters/discard", {"why": "spam", "filter": {"reasons": "x"}}),
        ("/dead-letters/seven/edit", {"why": "typo", "fields": {}}),
        ("/resume", {"why": ""}),
        ("/resume", None),
        ("/replays", {"why": "again", "rate": 0}),
        ("/replays", {"why": "again", "filter": {"first": "x"}}),
        ("/replays/none/run", {"why": "again"}),
        ("/shadow", {"source": "moon"}),
    ],
)
async def test_what_is_not_understood_is_refused(settings: Settings, path: str, body: Any) -> None:
    async with serving(settings) as http:
        answer = await http.post(BASE + path, json=body, headers=signed_in(settings, admin=True))
        assert answer.status_code == 400, answer.text


async def ask(http: httpx.AsyncClient, path: str, **body: Any) -> Any:
    answer = await (http.post(BASE + path, json=body) if body else http.get(BASE + path))
    assert answer.status_code in (200, 202), answer.text
    return answer.json()["data"]


async def test_an_operator_mends_a_dead_letter_over_http(engine: AsyncEngine, redis: Redis, settings: Settings) -> None:
    order_id = uuid4()
    broken = fields_of(a_checkout(), order_id)
    await redis.xadd(STREAM, broken | {"payload": broken["payload"][:-1]})
    await consume(engine, redis, settings)
    await redis.set(INTAKE_PAUSED, "too many")
    async with serving(settings) as http:
        http.headers.update(as_a(Role.OPERATOR, settings))
        [letter] = (await ask(http, "/dead-letters?reason=undecodable&state=buried"))["dead_letters"]
        shown = await ask(http, f"/dead-letters/{letter['id']}")
        assert [name for name, _value in shown["fields"]] == ["event_id", "payload", "accepted_at"]
        choice = {"ids": [letter["id"]]}
        dry = await ask(http, "/dead-letters/requeue", why="look", filter=choice, dry_run=True)
        assert dry["dry_run"]["reject"] == 1
        payload = encode(a_checkout()).decode()
        await ask(http, f"/dead-letters/{letter['id']}/edit", why="a lost byte", fields={"payload": payload})
        done = await ask(http, "/dead-letters/requeue", why="mended", filter=choice)
        assert (list(done["done"]), done["dry_run"]["insert"]) == ([str(letter["id"])], 1)
        assert await ask(http, "/resume", why="mended") == {"lifted": "too many"}
        await consume(engine, redis, settings)
        assert await rows(engine, "SELECT id FROM orders") == [(order_id,)]
        look = await ask(http, "/stream")
        assert (look["length"], look["groups"][0]["lag_entries"], look["paused"]) == (2, 0, None)
        [newest, _oldest] = (await ask(http, f"/stream/entries?event={order_id}"))["entries"]
        assert any(field[0] == "dead_letter" for field in newest["fields"])
        trail = await ask(http, "/audit")
        assert [(act["action"], act["who"], act["door"]) for act in trail] == [
            ("resume", "vera", "http"),
            ("dead-letters.requeue", "vera", "http"),
            ("dead-letters.edit", "vera", "http"),
        ]
        assert (await ask(http, "/audit/verify"))["findings"] == []


async def test_a_replay_is_previewed_run_and_followed_over_http(
    engine: AsyncEngine, redis: Redis, settings: Settings
) -> None:
    for number in range(5):
        await accept(redis, a_checkout("anna" if number % 2 else "boris"), UUID(int=number + 1))
    await consume(engine, redis, settings)
    async with serving(settings) as http:
        http.headers.update(signed_in(settings, "olga", admin=True))
        opened = await ask(http, "/replays", why="try", source="archive", filter={"user": "anna"})
        assert (opened["status"], opened["filter"]) == ("planning", {"user": "anna"})
        path = f"/replays/{opened['run_id']}"

        async def has(status: str) -> Any:
            await consume(engine, redis, settings)
            run = await ask(http, path)
            return run if run["status"] == status else None

        planned = await until(lambda: has("planned"))
        assert planned["planned"]["already_there"] == planned["planned"]["total"] == 2
        assert [event["planned"] for event in await ask(http, f"{path}/events")] == ["already_there"] * 2
        await ask(http, f"{path}/run", why="try")
        finished = await until(lambda: has("finished"))
        assert finished["is_as_planned"] is True
        refused = await http.post(f"{BASE}{path}/run", json={"why": "again"})
        assert (refused.status_code, refused.json()["error"]) == (409, f"The replay {opened['run_id']} is finished")
        shadow = await ask(http, "/shadow", filter=ReplayRange(user="boris").told())
        assert (shadow["orders_compared"], shadow["differing"]) == (3, 0)
