"""GET /api/orders/events over real HTTP: the orders service on a real Redis and Postgres, its bounds and its ends."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import uvicorn
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.cli.system import ROOT, free_port
from services.orders import event_routes, follow_stream, listeners, live_orders
from services.orders.app import build
from services.orders.change_status import change_status
from shared.events import Status
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import STREAM
from tests.builders import a_joined_key
from tests.events import EventSource, Told
from tests.integration.orders_stage import a_checkout, accept, record
from tests.servers import Servers
from tests.waiting import until


class Door:
    """The orders service on a port, and shoppers who listen at it."""

    def __init__(self, settings: Settings, port: int, app: Any) -> None:
        self.settings = settings
        self.follower: follow_stream.Follower = app.state.follower
        self.app = app
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self.streams = AsyncExitStack()
        self.sources: list[EventSource] = []  # one that nobody holds any more is closed

    def bearer(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue_development_token(self.settings, user)}"}

    async def listen(self, user: str = "anna", last_seen: str | None = None) -> EventSource:
        """A stream that is open."""
        headers = self.bearer(user) | ({} if last_seen is None else {"Last-Event-ID": last_seen})
        stream = self.http.stream("GET", "/api/orders/events", headers=headers)
        self.sources.append(EventSource(await self.streams.enter_async_context(stream)))
        return self.sources[-1]

    async def refused(self, user: str = "anna") -> httpx.Response:
        """The answer to one stream too many."""
        return await self.http.get("/api/orders/events", headers=self.bearer(user))


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """Closed at the end, whatever is still open."""
    app, port = build(settings), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: asyncio.sleep(0, server.started))
    door = Door(settings, port, app)
    try:
        yield door
    finally:
        await door.streams.aclose()
        await door.http.aclose()
        server.should_exit = True
        await serving


@pytest.fixture
async def door(settings: Settings) -> AsyncIterator[Door]:
    async with open_door(settings) as door:
        yield door


async def pay(redis: Redis, engine: AsyncEngine, settings: Settings, order_id: UUID, user: str = "anna") -> None:
    await change_status(redis, engine, settings, user, order_id, Status.PAID)


def seen(told: Told) -> tuple[str, Any, Any]:
    return told.name, told.data["id"], told.data["status"]


async def test_the_present_state_comes_first_and_then_every_move_of_own_orders_alone(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    recorded = await record(engine, a_checkout())
    before = await accept(redis, a_checkout())
    anna, bob = await door.listen(), await door.listen("bob")
    state = await anna.next()
    assert (state.name, {order["id"] for order in state.data}) == ("orders", {str(recorded), str(before)})
    assert (await bob.next()).data == []

    await pay(redis, engine, settings, before)
    bobs = await accept(redis, a_checkout("bob"))
    await redis.xadd(STREAM, {"event_id": "nonsense"})
    await accept(redis, a_joined_key(before, uuid4(), "anna"))
    after = await accept(redis, a_checkout())
    assert seen(await anna.next()) == ("order", str(before), "paid")
    made = await anna.next()
    assert seen(made) == ("order", str(after), "processing")
    listed = (await door.http.get("/api/orders", headers=door.bearer("anna"))).json()["data"]
    assert made.data in listed
    assert seen(await bob.next()) == ("order", str(bobs), "processing")


async def test_the_last_event_id_resumes_without_a_gap_and_without_a_repeat(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    first = await door.listen()
    await first.next()
    orders = [await accept(redis, a_checkout()) for _ in range(20)]
    told = [await first.next() for _ in range(7)]
    await first.close()
    later = [await accept(redis, a_checkout()) for _ in range(20)]
    await accept(redis, a_checkout("bob"))
    second = await door.listen(last_seen=told[-1].id)
    latest = await accept(redis, a_checkout())
    told += [await second.next() for _ in range(34)]
    assert [seen(event) for event in told] == [
        ("order", str(order), "processing") for order in (*orders, *later, latest)
    ]
    assert len({event.id for event in told}) == 41


async def test_what_cannot_be_resumed_begins_with_the_present_state(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = await accept(redis, a_checkout())
    trimmed = (await redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    gone = await accept(redis, a_checkout())
    kept = await accept(redis, a_checkout())
    await redis.xtrim(STREAM, maxlen=1, approximate=False)
    of_no_stream = ["18446744073709551615-1", "99999999999999999999-0", "0-1", "x", "1-0-0", "1"]
    for last_seen in (trimmed, *of_no_stream):
        source = await door.listen(last_seen=last_seen)
        state = await source.next()
        assert state.name == "orders", last_seen
        assert {order["id"] for order in state.data} == {str(first), str(gone), str(kept)}
        await source.close()

    monkeypatch.setattr(follow_stream, "WAITING", 2)
    for _ in range(3):
        await accept(redis, a_checkout())
    assert (await (await door.listen(last_seen=state.id)).next()).name == "orders"


async def test_a_stream_trimmed_to_nothing_has_no_gap(door: Door, redis: Redis) -> None:
    await accept(redis, a_checkout())
    first = await door.listen()
    last_seen = (await first.next()).id
    await redis.xtrim(STREAM, maxlen=0, approximate=False)
    second = await door.listen(last_seen=last_seen)
    order = await accept(redis, a_checkout())
    assert seen(await second.next()) == ("order", str(order), "processing")


async def test_a_heartbeat_moves_the_browsers_last_event_id_along(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_orders, "HEARTBEAT", timedelta(milliseconds=50))
    anna = await door.listen()
    await anna.next()
    await accept(redis, a_checkout("bob"))
    tail = (await redis.xinfo_stream(STREAM))["last-generated-id"].decode()
    await anna.read_until(lambda: anna.last_id == tail)
    assert ": alive" in anna.comments
    assert 1000 <= anna.retry <= 5000


async def test_a_stream_ends_after_its_life_and_can_be_resumed(
    door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_orders, "STREAM_LIFE", timedelta(milliseconds=200))
    await accept(redis, a_checkout())
    first = await door.listen()
    await first.next()
    assert await first.next_or_end() is None
    order = await accept(redis, a_checkout())
    second = await door.listen(last_seen=first.last_id)
    assert seen(await second.next()) == ("order", str(order), "processing")


async def test_all_streams_of_a_process_share_one_blocking_read(door: Door, redis: Redis) -> None:
    for number in range(12):
        await (await door.listen(f"user-{number}")).next()
    clients: Any = await redis.client_list()
    blocked = [client for client in clients if client["name"] == "tillroll-orders" and client["cmd"] == "xread"]
    assert len(blocked) == 1
    assert len(door.follower._listeners) == 12
    await door.streams.aclose()
    await until(lambda: asyncio.sleep(0, door.follower._reader is None))


async def test_a_user_has_a_share_of_streams_and_a_process_a_bound(settings: Settings) -> None:
    async with open_door(settings.model_copy(update={"max_streams": 9, "max_in_flight": 1})) as door:
        open_ones = [await door.listen() for _ in range(8)]
        answer = await door.refused()
        assert (answer.status_code, answer.json()) == (429, {"error": "Too many open streams of yours, please retry"})
        assert int(answer.headers["Retry-After"]) > 0
        await door.listen("bob")
        answer = await door.refused("carl")
        assert (answer.status_code, answer.json()) == (503, {"error": "Too many open streams right now, please retry"})
        assert int(answer.headers["Retry-After"]) > 0
        listed = await door.http.get("/api/orders", headers=door.bearer("anna"))
        assert listed.status_code == 200, "nine idle streams take no place of the one request in flight"
        await open_ones[0].close()
        await until(lambda: _opens(door))


async def _opens(door: Door) -> bool:
    async with door.http.stream("GET", "/api/orders/events", headers=door.bearer("anna")) as response:
        return response.status_code == 200


async def test_who_reads_too_slowly_is_ended_and_resumes(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listeners, "WAITING", 3)
    await accept(redis, a_checkout())
    follower = door.follower
    slow = await follower.join("anna")
    last_seen = follower.position
    orders = [await accept(redis, a_checkout()) for _ in range(5)]
    await until(lambda: asyncio.sleep(0, slow._has_ended))
    with pytest.raises(listeners.ListenerEnded):
        await slow.next_move(1)
    follower.leave(slow)
    monkeypatch.setattr(listeners, "WAITING", 100)
    resumed = await door.listen(last_seen=last_seen)
    assert [seen(await resumed.next())[1] for _ in range(5)] == [str(order) for order in orders]


async def test_what_was_seen_is_not_told_again_by_a_reader_that_is_behind(
    door: Door, redis: Redis, engine: AsyncEngine, settings: Settings
) -> None:
    listener = listeners.Listener("anna")
    orders = [await accept(redis, a_checkout()) for _ in range(3)]
    entries: Any = await redis.xrange(STREAM)
    for (entry_id, _), order in zip(entries, orders, strict=True):
        listener.tell(listeners.Moved(entry_id.decode(), "anna", order))
    opening = live_orders.Opening(entries[1][0].decode())
    told = live_orders.tell_orders(redis, engine, settings, door.follower, listener, opening)
    sent = [await anext(told), await anext(told)]
    assert sent[0].startswith(b"retry: ")
    assert str(orders[2]).encode() in sent[1]


async def test_a_client_that_takes_nothing_is_let_go(door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "SEND_WITHIN", timedelta(milliseconds=300))
    monkeypatch.setattr(live_orders, "HEARTBEAT", timedelta(milliseconds=1))
    monkeypatch.setattr(live_orders, "format_sse_event", lambda **_: b": " + b"x" * 1_000_000 + b"\n\n")
    await door.listen()  # and reads nothing
    await until(lambda: asyncio.sleep(0, not door.follower._listeners))


async def test_without_redis_streams_end_and_are_refused_until_it_is_back(
    door: Door, redis: Redis, servers: Servers
) -> None:
    await accept(redis, a_checkout())
    anna = await door.listen()
    await anna.next()
    last_seen = anna.last_id
    servers.redis.stop()
    assert await anna.next_or_end() is None
    assert 1000 <= anna.retry <= 5000
    answer = await door.refused()
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    servers.redis.start()
    order = await accept(redis, a_checkout())
    resumed = await door.listen(last_seen=last_seen)
    assert seen(await resumed.next()) == ("order", str(order), "processing")


async def test_without_postgres_a_resumed_stream_goes_on_and_a_new_one_is_refused(
    door: Door, redis: Redis, servers: Servers, engine: AsyncEngine, settings: Settings
) -> None:
    order = await accept(redis, a_checkout())
    anna = await door.listen()
    await anna.next()
    servers.postgres.stop()
    assert (await door.refused()).status_code == 503
    resumed = await door.listen(last_seen=anna.last_id)
    await pay(redis, engine, settings, order)
    assert seen(await anna.next()) == ("order", str(order), "paid")
    assert seen(await resumed.next()) == ("order", str(order), "paid")


async def test_a_stopped_process_ends_its_streams_and_goes(settings: Settings, tmp_path: Path) -> None:
    port = free_port()
    env = {
        "PATH": os.environ["PATH"],
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TILLROLL_DATA_DIR": str(settings.data_dir),
    }
    argv = [sys.executable, "-m", "uvicorn", "services.orders.app:create_app", "--factory", "--port", str(port)]
    with (tmp_path / "orders.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(*argv, env=env, stdout=log, stderr=log, cwd=ROOT)
    headers = {"Authorization": f"Bearer {issue_development_token(settings, 'anna')}"}
    try:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as http:
            await until(lambda: _is_ready(http))
            async with http.stream("GET", "/api/orders/events", headers=headers) as response:
                anna = EventSource(response)
                await anna.next()
                process.terminate()
                assert await anna.next_or_end() is None, "the stream ends as a whole, not as a broken connection"
            async with asyncio.timeout(10):
                await process.wait()
    finally:
        if process.returncode is None:
            process.kill()
    assert "Finished server process" in (tmp_path / "orders.log").read_text()


async def _is_ready(http: httpx.AsyncClient) -> bool:
    try:
        return (await http.get("/ready")).status_code == 200
    except httpx.TransportError:
        return False


async def test_the_signed_out_are_refused(door: Door) -> None:
    answer = await door.http.get("/api/orders/events", headers={"Last-Event-ID": "0-0"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
