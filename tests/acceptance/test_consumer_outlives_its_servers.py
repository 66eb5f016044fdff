"""A consumer whose Postgres or Redis is away, refuses or has forgotten everything says so, lives, and goes on."""

from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.streams import GROUP, NAMES_LOADED, STREAM, name_key
from tests.acceptance.consumer_process import RunConsumer, accept, drained, orders_are, pending
from tests.servers import Servers, wait_until
from tests.tables import count
from tests.waiting import until


async def test_without_postgres_the_batch_is_held_and_the_process_says_so_and_lives(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    servers.postgres.kill()
    await accept(redis, 25)
    wait_until(lambda: "held for" in consumer.body("/ready"), "it says how long it holds", 25)
    assert consumer.get("/ready") == 503
    assert consumer.get("/health") == 200
    assert await pending(redis) > 0
    servers.postgres.start()
    await orders_are(engine, 25)
    await drained(redis)
    wait_until(consumer.is_ready, "ready again")
    assert not consumer.is_dead()
    assert await count(engine, "dead_letters") == 0


async def test_it_starts_without_its_servers_and_takes_up_work_when_they_come(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    await accept(redis, 5)
    servers.redis.kill()
    servers.postgres.kill()
    consumer = run_consumer()
    wait_until(lambda: consumer.get("/health") == 200, "alive")
    assert consumer.get("/ready") == 503
    servers.redis.start()
    servers.postgres.start()
    await orders_are(engine, 5)
    wait_until(consumer.is_ready, "ready")


async def test_a_redis_that_dies_and_comes_back_is_read_on(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 5, "before")
    await drained(redis)
    servers.redis.kill()
    wait_until(lambda: consumer.get("/ready") == 503, "not ready")
    assert consumer.get("/health") == 200
    servers.redis.start()
    await accept(redis, 5, "after")
    await orders_are(engine, 10)
    wait_until(consumer.is_ready, "ready again")


async def test_a_read_only_redis_is_waited_out_without_a_hot_loop(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")

    async def reads() -> int:
        stats = await redis.info("commandstats")
        return int(stats.get("cmdstat_xreadgroup", {}).get("calls", 0)) + int(
            stats.get("cmdstat_xreadgroup", {}).get("rejected_calls", 0)
        )

    await redis.config_set("min-replicas-to-write", 1)  # every write is refused: NOREPLICAS
    try:
        before = await reads()

        async def has_tried() -> bool:
            return await reads() > before + 3

        await until(has_tried)
        seconds = 3
        start, deadline = await reads(), (await redis.time())[0] + seconds

        async def is_later() -> bool:
            return (await redis.time())[0] >= deadline

        await until(is_later)
        assert await reads() - start < 20 * seconds
    finally:
        await redis.config_set("min-replicas-to-write", 0)
    await accept(redis, 5)
    await orders_are(engine, 5)
    assert consumer.get("/health") == 200


async def test_the_loss_of_the_group_skips_nothing_and_needs_nobody(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 5, "before")
    await drained(redis)
    for round_number in range(2):
        await redis.xgroup_destroy(STREAM, GROUP)
        await accept(redis, 5, f"after_{round_number}")
        await orders_are(engine, 10 + 5 * round_number)
        wait_until(consumer.is_ready, "ready again")
    assert consumer.get("/health") == 200
    assert await count(engine, "dead_letters") == 0


async def test_the_loss_of_all_of_redis_brings_the_names_back(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    names_before = await accept(redis, 5)
    await drained(redis)
    await redis.delete(*[key async for key in redis.scan_iter("*")])
    await until(lambda: redis.exists(NAMES_LOADED))
    assert [await redis.get(name_key(name)) for name in names_before] == [str(name).encode() for name in names_before]
    wait_until(consumer.is_ready, "ready again")
    await accept(redis, 3, "after")
    await orders_are(engine, 8)
