"""Open streams cost what they may: one read a process, a share a user, and none for who takes nothing."""

from datetime import timedelta
from typing import Any

import pytest
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders import event_routes, listeners, live_orders
from shared.settings import Settings
from tests.integration.live_stage import Door, open_door, seen
from tests.integration.orders_stage import a_checkout, accept
from tests.waiting import until


async def test_all_streams_of_a_process_share_one_blocking_read(door: Door, redis: Redis) -> None:
    for number in range(12):
        await (await door.listen(f"user-{number}")).next()
    clients: Any = await redis.client_list()
    blocked = [client for client in clients if client["name"] == "tillroll-orders" and client["cmd"] == "xread"]
    assert len(blocked) == 1
    assert len(door.follower._listeners) == 12
    await door.streams.aclose()
    await until(lambda: door.follower._reader is None)


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
    await until(lambda: slow._has_ended)
    with pytest.raises(listeners.ListenerEnded):
        await slow.next_move(1)
    follower.leave(slow)
    monkeypatch.setattr(listeners, "WAITING", 100)
    resumed = await door.listen(last_seen=last_seen)
    assert [seen(await resumed.next())[1] for _ in range(5)] == [str(order) for order in orders]


async def test_a_client_that_takes_nothing_is_let_go(door: Door, redis: Redis, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_routes, "SEND_WITHIN", timedelta(milliseconds=300))
    monkeypatch.setattr(live_orders, "HEARTBEAT", timedelta(milliseconds=1))
    monkeypatch.setattr(live_orders, "format_sse_event", lambda **_: b": " + b"x" * 1_000_000 + b"\n\n")
    await door.listen()  # and reads nothing
    await until(lambda: not door.follower._listeners)


async def test_the_signed_out_are_refused(door: Door) -> None:
    answer = await door.http.get("/api/orders/events", headers={"Last-Event-ID": "0-0"})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})
