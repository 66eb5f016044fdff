"""However a consumer ends, what was accepted before, meanwhile and after is recorded once."""

import signal

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.events import Status
from shared.streams import LONE_ATTEMPTS, STREAM
from tests.acceptance.consumer_process import RunConsumer, accept, drained, orders_are, pending
from tests.builders import a_change, fields_of
from tests.servers import Servers, wait_until
from tests.tables import blocked, count
from tests.waiting import until


async def test_a_consumer_records_what_was_accepted_before_its_first_start_and_after(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    before = await accept(redis, 30, "before")
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    await accept(redis, 20, "after")
    await redis.xadd(STREAM, fields_of(a_change(before[0], Status.PAID, "before_0")))
    await drained(redis)
    assert await count(engine, "orders") == 50
    assert await count(engine, "orders WHERE status = 'paid'") == 1
    assert not [key async for key in redis.scan_iter("till:{0}:accepted:*")]
    assert consumer.get("/health") == 200
    assert "tillroll_recorded_total" in consumer.body("/metrics")
    assert "checkout.completed" in consumer.body("/asyncapi")
    assert consumer.end(signal.SIGTERM) in (0, -signal.SIGTERM)


async def test_kill_9_in_the_middle_of_a_batch_loses_and_doubles_nothing(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    expected = 0
    for round_number in range(4):
        async with engine.connect() as connection:
            transaction = await connection.begin()
            await connection.execute(text("LOCK TABLE order_items IN ACCESS EXCLUSIVE MODE"))
            await accept(redis, 150, f"round_{round_number}")
            expected += 150
            await blocked(engine)
            consumer.end(signal.SIGKILL)
            await transaction.rollback()
        consumer.start()
        await orders_are(engine, expected)
    await drained(redis)
    assert await count(engine, "events") == expected
    assert await count(engine, "order_items") == 2 * expected
    assert await count(engine, "dead_letters") == 0
    assert not await redis.exists(LONE_ATTEMPTS)


async def test_another_consumer_finishes_what_a_killed_one_left(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine
) -> None:
    lost = run_consumer("consumer-lost", TILLROLL_CLAIM_AFTER="0.5")
    wait_until(lost.is_ready, "ready")
    async with engine.connect() as connection:
        transaction = await connection.begin()
        await connection.execute(text("LOCK TABLE orders IN ACCESS EXCLUSIVE MODE"))
        await accept(redis, 40)
        await blocked(engine)
        lost.end(signal.SIGKILL)
        await transaction.rollback()
    assert await pending(redis) > 0
    run_consumer("consumer-2", TILLROLL_CLAIM_AFTER="0.5")
    await orders_are(engine, 40)
    await drained(redis)


async def test_sigterm_ends_a_consumer_that_holds_a_batch(
    run_consumer: RunConsumer, redis: Redis, engine: AsyncEngine, servers: Servers
) -> None:
    consumer = run_consumer()
    wait_until(consumer.is_ready, "ready")
    servers.postgres.kill()
    await accept(redis, 5)
    await until(lambda: pending(redis))
    wait_until(lambda: "batch_held" in consumer.log.read_text(), "it holds")
    assert consumer.process is not None
    consumer.process.send_signal(signal.SIGTERM)
    consumer.process.wait(10)
    assert await pending(redis) > 0
    servers.postgres.start()
    consumer.start()
    await orders_are(engine, 5)
    await drained(redis)
