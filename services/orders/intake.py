"""Takes entries to the end of their way: committed, out of the overlay, acked; in that order, whatever it waits for.

Holds a batch through every outage and before the dead-letter limit's pause. Reads nothing from the stream.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from itertools import takewhile
from typing import TypeVar

from opentelemetry.trace import format_trace_id
from redis.asyncio import Redis
from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.correct_records import correct_records
from services.orders.dead_letters import Reason, announce
from services.orders.entries import Entry
from services.orders.lost_redis import are_left_behind
from services.orders.parse_entry import Arrival
from services.orders.record_events import BatchResult, IsTooMuch, TooMuch, record_batch
from services.orders.replay_source import REPLAY
from services.orders.trace_batch import trace_batch
from shared.errors import TillrollError
from shared.events import CheckoutCompleted
from shared.observability import (
    ACCEPT_TO_RECORD_SECONDS,
    BATCH_SECONDS,
    INTAKE_PAUSED_GAUGE,
    RECORDED,
    REDELIVERED,
)
from shared.redis import Script
from shared.settings import Settings
from shared.streams import GROUP, INTAKE_PAUSED, STREAM, TRACEPARENT, overlay_key
from shared.tracing import add_event, child_span, context_in

OUTAGE = (RedisError, SQLAlchemyError, OSError, TimeoutError)
"""What an outage of Redis or Postgres looks like from here."""

_SETTLE = Script(__package__, "settle_batch.lua")
_FIRST_WAIT, _LONGEST_WAIT = 0.1, 3.0  # seconds between attempts during an outage
_LOOK_AT_PAUSE_EVERY = 0.5  # seconds

T = TypeVar("T")

log = logging.getLogger(__name__)


class Stopped(TillrollError):
    """The process ends while a batch is held: its entries stay pending."""


class Intake:
    """The one way of entries into Postgres, one batch at a time."""

    def __init__(self, engine: AsyncEngine, redis: "Redis", settings: Settings) -> None:
        self.engine = engine
        self.redis = redis
        self.settings = settings
        self.is_paused = False
        self._busy_since: float | None = None
        self._failures = 0
        self._burials_in_row = 0
        self._one_at_a_time = asyncio.Lock()
        self._stopping = asyncio.Event()

    @property
    def held_seconds(self) -> float:
        """How long the present batch has been on its way; 0 = there is none."""
        return 0.0 if self._busy_since is None else time.monotonic() - self._busy_since

    @property
    def is_waiting(self) -> bool:
        """Whether it waits for the end of an outage or of a pause."""
        return self.is_paused or self._failures > 0

    def stop(self) -> None:
        """Ends every wait with Stopped; what is not committed stays pending."""
        self._stopping.set()

    async def take(self, entries: Sequence[Entry]) -> None:
        """Returns when all of `entries` are committed and acked; raises Stopped.

        All of them in one transaction, unless more would be buried in a row than may be: that limit is exact, and
        what lies beyond it is not touched before an operator lifts the pause.
        """
        rest = list(entries)
        while rest:
            rest = rest[await self.carry(rest, lambda rest=rest: self._commit_most(rest)) :]  # type: ignore[misc]

    async def _commit_most(self, entries: Sequence[Entry]) -> BatchResult:
        """As many of the first of `entries` as may be recorded at once."""
        try:
            return await self.commit(entries, self._is_too_much)
        except TooMuch:
            return await self.commit(entries[: self._may_still_be_buried])

    async def commit(self, entries: Sequence[Entry], is_too_much: IsTooMuch | None = None) -> BatchResult:
        """One attempt to record `entries`; raises what Postgres raises, and TooMuch."""
        consumer = self.settings.consumer
        return await record_batch(self.engine, entries, consumer, self._are_left_behind, is_too_much)

    async def _are_left_behind(self, entries: Sequence[Entry]) -> bool:
        return await are_left_behind(self.redis, entries)

    async def carry(self, entries: Sequence[Entry], commit: Callable[[], Awaitable[BatchResult]]) -> int:
        """Repeats `commit` until it succeeds, then forgets and acks what it committed of `entries`.

        Returns how many of the first these were; raises Stopped.
        """
        async with self._one_at_a_time:
            await self._while_paused()
            started = self._busy_since = time.monotonic()
            try:
                with trace_batch(entries) as trace:
                    result = await self._persist(commit)
                    BATCH_SECONDS.observe(time.monotonic() - started)
                    trace.tell(result)
                    with child_span("settle"):
                        await self._persist(lambda: self._settle(result))
            finally:
                self._busy_since = None
            _tell(result, log_each=self.settings.log_each)
            await self._watch_limit(result)
            return len(result.entries)

    async def _persist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Repeats `act` until it succeeds: nothing that can go wrong here is a reason to skip an entry."""
        wait = _FIRST_WAIT
        while True:
            try:
                answer = await act()
            except Exception as fault:  # the edge: also a fault of ours holds the batch instead of losing it
                self._failures += 1
                add_event("held", fault)
                told = {"fault": f"{type(fault).__name__}: {fault}"[:500], "failures": self._failures}
                log.warning("batch_held", exc_info=not isinstance(fault, OUTAGE), extra=told)
            else:
                self._failures = 0
                return answer
            await self._rest(wait)
            wait = min(wait * 2, _LONGEST_WAIT)

    async def _rest(self, seconds: float) -> None:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return
        raise Stopped

    async def _settle(self, result: BatchResult) -> None:
        """Overlay first: an event that left the overlay is in Postgres, and an entry that is acked has left it."""
        known = [arrival.event_id for arrival in result.duplicates if isinstance(arrival.event, CheckoutCompleted)]
        await correct_records(self.engine, self.redis, known)
        archived = result.recorded + result.duplicates
        keys = [overlay_key(arrival.event.user_id) for arrival in archived]
        event_ids = [str(arrival.event_id) for arrival in archived]
        entry_ids = [entry.entry_id for entry in result.entries]
        await _SETTLE.run(self.redis, [*keys, STREAM], [GROUP, *event_ids, *entry_ids])

    @property
    def _may_still_be_buried(self) -> int:
        return max(1, self.settings.dead_letter_limit - self._burials_in_row)

    def _is_too_much(self, result: BatchResult) -> bool:
        """Whether the limit is reached before the last entry."""
        buried, in_row = _buried(result), self._burials_in_row
        if not buried:
            return False
        for entry in result.entries[:-1]:
            in_row = in_row + 1 if entry in buried else 0
            if in_row >= self.settings.dead_letter_limit:
                return True
        return False

    async def _watch_limit(self, result: BatchResult) -> None:
        buried = _buried(result)
        last = len(list(takewhile(buried.__contains__, reversed(result.entries))))
        self._burials_in_row = last if last < len(result.entries) else self._burials_in_row + last
        if self._burials_in_row >= self.settings.dead_letter_limit:
            reason = f"{self._burials_in_row} dead letters in a row; the last: {result.buried[-1].reason}"
            log.error("intake_paused", extra={"reason": reason})
            await self._persist(lambda: self.redis.set(INTAKE_PAUSED, reason, nx=True))
            self._burials_in_row = 0

    async def _while_paused(self) -> None:
        """Returns when no operator has to look at anything first."""
        while await self._persist(lambda: self.redis.exists(INTAKE_PAUSED)):
            self.is_paused = True
            INTAKE_PAUSED_GAUGE.set(1)
            await self._rest(_LOOK_AT_PAUSE_EVERY)
        if self.is_paused:
            log.warning("intake_resumed")
        self.is_paused = False
        INTAKE_PAUSED_GAUGE.set(0)


def _buried(result: BatchResult) -> set[Entry]:
    """The entries that count against the limit: what was lost with Redis says nothing about the deployment."""
    return {letter.entry for letter in result.buried if letter.reason != Reason.LOST_WITH_REDIS}


def _tell(result: BatchResult, *, log_each: bool) -> None:
    now = time.time()
    for kind, events in Counter(arrival.event.type for arrival in result.recorded).items():
        RECORDED.labels(kind).inc(events)
    for arrival in result.recorded:
        ACCEPT_TO_RECORD_SECONDS.observe(max(0.0, now - arrival.accepted_at / 1000))
    replayed = sum(arrival.entry.field(REPLAY) is not None for arrival in result.duplicates)
    REDELIVERED.labels("replay").inc(replayed)
    REDELIVERED.labels("delivery").inc(len(result.duplicates) - replayed)
    if log_each:
        for arrival in result.recorded:
            log.info("recorded", extra=_ids_of(arrival))
    announce(result.buried)


def _ids_of(arrival: Arrival) -> dict[str, str]:
    ids = {"event_id": str(arrival.event_id), "order_id": str(arrival.order_id), "entry_id": arrival.entry.entry_id}
    context = context_in(arrival.entry.field(TRACEPARENT))
    trace = {"trace_id": format_trace_id(context.trace_id)} if context else {}
    return ids | trace | {"type": arrival.event.type}
