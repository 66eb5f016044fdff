"""Entries that were delivered and never acked: our own after a restart, those of others when they stay away."""

from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from services.orders.entries import Entry, entries_of
from services.orders.intake import Intake
from services.orders.isolate import take_again
from shared.settings import Settings
from shared.streams import GROUP, STREAM


async def ensure_group(redis: "Redis") -> bool:
    """Creates the consumer group at 0 (the stream too): nothing is skipped, what is known is a duplicate.

    Returns whether it had to be created.
    """
    try:
        await redis.xgroup_create(STREAM, GROUP, id="0", mkstream=True)
    except ResponseError as fault:
        if "BUSYGROUP" not in str(fault):
            raise
        return False
    return True


async def take_own(redis: "Redis", settings: Settings, intake: Intake) -> int:
    """Takes all that this consumer's name has pending, oldest first; returns how many entries. Raises Stopped."""
    after, taken = "0-0", 0
    while True:
        answer: Any = await redis.xreadgroup(GROUP, settings.consumer, {STREAM: after}, count=settings.batch_size)
        entries = entries_of(answer[0][1]) if answer else []
        if not entries:
            return taken
        await take_again(intake, entries)
        after, taken = entries[-1].entry_id, taken + len(entries)


async def claim_stranded(redis: "Redis", settings: Settings, intake: Intake) -> int:
    """Takes what has been pending too long with any consumer; returns how many entries. Raises Stopped.

    Claims nothing while intake waits: what it holds itself grows old then, and nobody else does better.
    """
    cursor, taken = b"0-0", 0
    idle = int(settings.claim_after * 1000)
    while not intake.is_waiting:
        answer: Any = await redis.execute_command(  # type: ignore[no-untyped-call]
            "XAUTOCLAIM", STREAM, GROUP, settings.consumer, idle, cursor, "COUNT", settings.batch_size
        )
        cursor, claimed, *deleted = answer
        gone = [Entry(entry_id.decode(), ()) for entry_id in (deleted[0] if deleted else ())]  # Redis >= 7 lists them
        entries = entries_of(claimed) + gone
        await take_again(intake, entries)
        taken += len(entries)
        if cursor == b"0-0":
            break
    return taken
