"""Commands of one moment share a trip to Redis, and nothing else."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from redis.asyncio import Redis
from redis.exceptions import ConnectionError as BrokenConnectionError
from redis.exceptions import ResponseError

from shared.redis import Script, connect_redis
from shared.settings import Settings


@pytest.fixture
async def shared(settings: Settings, redis: Redis) -> AsyncIterator[Redis]:
    client = connect_redis(settings, "traveller")
    yield client
    await client.aclose()


async def test_a_crowd_of_commands_needs_one_connection_and_each_gets_its_own_answer(
    shared: Redis, redis: Redis
) -> None:
    await redis.mset({f"till:{n}": n for n in range(200)})
    answers = await asyncio.gather(*[shared.get(f"till:{n}") for n in range(200)])
    assert answers == [str(n).encode() for n in range(200)]
    travellers = [client for client in await redis.client_list() if client["name"] == "tillroll-traveller"]
    assert len(travellers) == 1


async def test_a_command_that_redis_refuses_fails_alone(shared: Redis) -> None:
    await shared.set("till:word", "receipt")
    before, fault, after = await asyncio.gather(
        shared.get("till:word"), shared.incr("till:word"), shared.get("till:word"), return_exceptions=True
    )
    assert isinstance(fault, ResponseError)
    assert (before, after) == (b"receipt", b"receipt")


async def test_a_command_whose_caller_gave_up_before_it_left_is_never_sent(shared: Redis, redis: Redis) -> None:
    await shared.ping()
    present = asyncio.ensure_future(shared.set("till:first", 1))
    await asyncio.sleep(0)  # it has left; what comes now waits for its return
    waits = asyncio.ensure_future(shared.incr("till:second"))
    await asyncio.sleep(0)
    waits.cancel()
    await present
    await shared.ping()
    assert await redis.mget("till:first", "till:second") == [b"1", None]


async def test_a_caller_that_gives_up_on_the_way_disturbs_no_other(shared: Redis) -> None:
    await shared.ping()
    callers = [asyncio.ensure_future(shared.echo(f"line {n}")) for n in range(20)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    for caller in callers[::2]:
        caller.cancel()
    answers = await asyncio.gather(*callers, return_exceptions=True)
    assert answers[1::2] == [f"line {n}".encode() for n in range(1, 20, 2)]
    assert await shared.echo("next") == b"next"


@pytest.mark.parametrize("turns", range(1, 12))
async def test_a_caller_that_gives_up_at_any_moment_of_its_write_does_not_wait_on(shared: Redis, turns: int) -> None:
    await shared.ping()
    reader = asyncio.ensure_future(shared.xread({"till:nothing": "$"}, block=300))
    for _ in range(turns):
        await asyncio.sleep(0)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader


async def test_scripts_that_the_server_forgot_are_loaded_again_for_every_caller(shared: Redis, redis: Redis) -> None:
    join = Script("services.checkout", "join_key.lua")
    await redis.script_flush()
    nothing_loaded = [f"till:{{0}}:{n}" for n in range(5)]
    answers = await asyncio.gather(
        *[join.run(shared, nothing_loaded, ["event", b"{}", "key", 1000, "order"]) for _ in range(30)]
    )
    assert answers == [b"raced"] * 30


async def test_a_broken_connection_is_told_to_every_caller_and_the_next_command_has_a_new_one(
    settings: Settings, redis: Redis
) -> None:
    away = settings.model_copy(update={"redis_url": type(settings.redis_url)("redis://127.0.0.1:1/0")})
    nobody = connect_redis(away, "traveller")
    faults = await asyncio.gather(*[nobody.ping() for _ in range(5)], return_exceptions=True)
    assert [type(fault) for fault in faults] == [BrokenConnectionError] * 5
    await nobody.aclose()

    client = connect_redis(settings, "traveller")
    assert await client.ping()
    for entry in await redis.client_list():
        if entry["name"] == "tillroll-traveller":
            await redis.client_kill_filter(_id=entry["id"])
    assert await asyncio.gather(*[client.ping() for _ in range(5)]) == [True] * 5
    await client.aclose()
