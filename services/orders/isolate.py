"""Finds the entry that kills its consumer: what was delivered too often is tried alone, and counted while it is.

An outage is never taken for a death: an attempt counts only from a healthy Postgres on, and one that fails without
killing the process is taken back.
"""

import logging
from collections.abc import Mapping, Sequence

from redis.asyncio import Redis
from sqlalchemy import text

from services.orders.dead_letters import DeadLetter, Reason
from services.orders.entries import Entry
from services.orders.intake import Intake
from services.orders.parse_entry import readable_event_id
from services.orders.record_events import BatchResult, bury_alone
from shared.streams import GROUP, LONE_ATTEMPTS, STREAM

ALONE_AFTER = 3  # deliveries; two may be a restart and a claim
LONE_DEATHS = 3  # attempts that ended with the process

log = logging.getLogger(__name__)


async def take_again(intake: Intake, entries: Sequence[Entry]) -> None:
    """Takes entries that were delivered before; raises Stopped."""
    deliveries = await _deliveries(intake.redis, entries)
    together = [entry for entry in entries if deliveries.get(entry.entry_id, 0) < ALONE_AFTER]
    await intake.take(together)
    for entry in entries:
        if deliveries.get(entry.entry_id, 0) >= ALONE_AFTER:
            await intake.carry([entry], _LoneAttempt(intake, entry))


async def _deliveries(redis: "Redis", entries: Sequence[Entry]) -> Mapping[str, int]:
    """How often each entry was delivered; entries that are no longer pending are left out."""
    if not entries:
        return {}
    async with redis.pipeline(transaction=False) as pipeline:
        for entry in entries:
            pipeline.xpending_range(STREAM, GROUP, min=entry.entry_id, max=entry.entry_id, count=1)
        answers = await pipeline.execute()
    return {row["message_id"].decode(): row["times_delivered"] for answer in answers for row in answer}


class _LoneAttempt:
    """Commits one entry alone. Raises what Postgres and Redis raise, and then the attempt has not counted."""

    def __init__(self, intake: Intake, entry: Entry) -> None:
        self.intake = intake
        self.entry = entry
        self.number: int | None = None  # None = not counted, or taken back

    async def __call__(self) -> BatchResult:
        async with self.intake.engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
        if self.number is None:
            self.number = int(await self.intake.redis.hincrby(LONE_ATTEMPTS, self.entry.entry_id, 1))
        log.warning("entry_tried_alone", extra={"entry_id": self.entry.entry_id, "attempt": self.number})
        try:
            result = await self._commit(self.number)
        except BaseException:
            await self.intake.redis.hincrby(LONE_ATTEMPTS, self.entry.entry_id, -1)
            self.number = None
            raise
        await self.intake.redis.hdel(LONE_ATTEMPTS, self.entry.entry_id)
        return result

    async def _commit(self, attempt: int) -> BatchResult:
        if attempt <= LONE_DEATHS:
            return await self.intake.commit([self.entry])
        detail = f"the consumer died {LONE_DEATHS} times while it handled this entry alone"
        letter = DeadLetter(self.entry, Reason.KILLS_CONSUMER, detail, readable_event_id(self.entry))
        return await bury_alone(self.intake.engine, letter, self.intake.settings.consumer)
