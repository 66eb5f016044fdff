"""The one writer of orders as a process: FastStream's batch subscriber on the stream, and what FastStream 0.7 lacks.

Each cure says what it is for. Decides nothing about an entry (record_events.py), waits out nothing (intake.py).
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any
from uuid import UUID

from faststream import AckPolicy
from faststream.asgi import AsgiFastStream
from faststream.redis import RedisBroker, StreamSub
from faststream.specification import AsyncAPI
from pydantic import BaseModel, Field
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialWithJitterBackoff
from redis.exceptions import ResponseError

from services.orders import trim_stream
from services.orders.claims import claim_stranded, ensure_group, take_own
from services.orders.consumer_health import Health, health_routes
from services.orders.entries import Entry, entry_of, keep_raw
from services.orders.gauges import (
    refresh_overlay_gauge,
    refresh_redis_gauges,
    refresh_stream_gauges,
    refresh_table_gauges,
)
from services.orders.intake import OUTAGE, Intake, Stopped
from services.orders.overlay_count import OverlayCount
from services.orders.reload_names import check_names
from shared.events import Event
from shared.observability import OUTAGE_SECONDS, configure_logging
from shared.postgres import connect_postgres
from shared.redis import connect_redis
from shared.serving import serve
from shared.settings import Settings
from shared.streams import GROUP, STREAM
from shared.tracing import configure_tracing, end_tracing

_BLOCK = 2000  # ms a read waits for new entries; below the socket's time-out, or every idle read would be an error
_SOCKET_TIMEOUT = 10.0  # seconds
_REST = 0.05  # seconds; each batch has a price of its own, and what comes meanwhile shares that of the next
_DRAIN = 20.0  # seconds for the batch at hand when the process is asked to end
_NAMES_EVERY, _GAUGES_EVERY, _TRIM_EVERY = 1.0, 5.0, 60.0  # seconds
_OVERLAY_EVERY = 1.0  # seconds; a look walks some thousand keys, half a millisecond of Redis
_BEGIN_AGAIN = 1.0  # seconds

log = logging.getLogger(__name__)


class AcceptedEvent(BaseModel):
    """The fields of an entry, for the AsyncAPI page alone: entries are read raw, so that poison can be kept."""

    event_id: UUID
    payload: Annotated[Event, Field(discriminator="type")]
    accepted_at: Annotated[int, Field(description="Redis TIME in milliseconds")]


def create_app() -> "ConsumerApp":
    """For `uvicorn services.orders.consumer:create_app --factory`."""
    return serve(build)


def build(settings: Settings) -> "ConsumerApp":
    """The consumer as an ASGI app; nothing connects before its lifespan starts."""
    configure_logging("consumer")
    configure_tracing("consumer")
    return ConsumerApp(settings)


class ConsumerApp(AsgiFastStream):
    """FastStream's app, begun only when the stream is ready for it, and begun again instead of left dead."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.engine = connect_postgres(settings, "consumer")
        self.writer = connect_postgres(settings, "consumer", pings=False)  # intake repeats whatever fails
        self.redis = connect_redis(settings, "consumer")
        keep_raw(self.redis)
        self.intake = Intake(self.writer, self.redis, settings)
        OUTAGE_SECONDS.set_function(lambda: self.intake.held_seconds if self.intake.is_waiting else 0.0)
        self._names_lock = asyncio.Lock()
        self.is_begun = False
        self.tasks: list[asyncio.Task[None]] = []
        self.mending: asyncio.Task[None] | None = None
        super().__init__(
            _connect_broker(settings, self.intake),
            logger=log,
            lifespan=self._run_caretakers,
            on_shutdown=[self.intake.stop],  # a batch that is held would keep the process from ending
            asgi_routes=health_routes(
                Health(self.engine, self.redis, self.intake, settings, self._is_alive, self._is_begun)
            ),
            asyncapi_path="/asyncapi",
            specification=AsyncAPI(title="Tillroll orders consumer", version="1"),
        )

    async def _start_broker(self) -> None:
        """Own pending entries before new ones: FastStream creates the group at `$` and never reads its own again."""
        self.is_begun = False
        broker = self.brokers[0]
        while True:
            try:
                if await ensure_group(self.redis):
                    log.warning("consumer_group_created", extra={"group": GROUP, "at": "0"})
                await self._check_names()
                await take_own(self.redis, self.settings, self.intake)
                keep_raw(await broker.connect())
                await broker.start()
            except OUTAGE as fault:
                log.warning("cannot_begin", extra={"fault": f"{type(fault).__name__}: {fault}"[:500]})
                for subscriber in broker.subscribers:
                    await subscriber.stop()
                await asyncio.sleep(_BEGIN_AGAIN)
            except Stopped:
                return
            else:
                self.is_begun = True
                return

    def exit(self) -> None:
        """FastStream calls this when the group is gone; its own version does nothing and leaves a dead process.

        The way back is the way in: group at 0, names, own pending entries, new ones. Dedupe makes it harmless.
        """
        log.error("subscriber_ended", extra={"stream": STREAM, "group": GROUP})
        self.is_begun = False
        self.mending = asyncio.create_task(self._start_broker())

    def _is_alive(self) -> bool:
        """Whether somebody reads the stream, or is on the way to it: a PING of Redis would not tell."""
        readers: Any = self.brokers[0].subscribers
        reads = all(any(not task.done() for task in reader.tasks) for reader in readers)
        begins = not self.is_begun and (self.mending is None or not self.mending.done())
        return (reads or begins) and not any(task.done() for task in self.tasks)

    def _is_begun(self) -> bool:
        return self.is_begun

    @asynccontextmanager
    async def _run_caretakers(self) -> AsyncIterator[None]:
        claim_every = min(15.0, self.settings.claim_after / 4)
        self.tasks = [
            asyncio.create_task(_repeat(self._check_names, _NAMES_EVERY)),
            asyncio.create_task(_repeat(self._claim, claim_every)),
            asyncio.create_task(_repeat(partial(refresh_stream_gauges, self.redis), _GAUGES_EVERY)),
            asyncio.create_task(_repeat(partial(refresh_redis_gauges, self.redis), _GAUGES_EVERY)),
            asyncio.create_task(_repeat(partial(refresh_table_gauges, self.engine), _GAUGES_EVERY)),
            asyncio.create_task(_repeat(partial(refresh_overlay_gauge, self.redis, OverlayCount()), _OVERLAY_EVERY)),
            asyncio.create_task(_repeat(self._trim, _TRIM_EVERY)),
        ]
        yield
        tasks = [*self.tasks, *([self.mending] if self.mending else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.redis.aclose()
        await self.engine.dispose()
        await self.writer.dispose()
        await asyncio.to_thread(end_tracing)

    async def _check_names(self) -> None:
        async with self._names_lock:
            await check_names(self.engine, self.redis, self.settings)

    async def _claim(self) -> None:
        if self.is_begun:
            await claim_stranded(self.redis, self.settings, self.intake)

    async def _trim(self) -> None:
        result = await trim_stream.run_once(self.engine, self.redis, self.settings)
        if result.trimmed:
            log.info("stream_trimmed", extra={"entries": result.trimmed})


async def _repeat(step: Callable[[], Awaitable[None]], seconds: float) -> None:
    """Runs `step` for ever; an outage is logged once and outwaited, a fault of ours ends the task: /health shows it."""
    last = ""
    while True:
        try:
            await step()
            last = ""
        except OUTAGE as fault:
            told = f"{type(fault).__name__}: {fault}"[:500]
            if told != last:
                name = getattr(step, "func", step).__name__
                log.warning("step_failed", extra={"step": name, "fault": told})
            last = told
        except Stopped:
            return
        await asyncio.sleep(seconds)


class _PatientRetry(Retry):
    """Retries also what Redis refuses for a while (READONLY, MISCONF, NOPERM, LOADING, OOM).

    FastStream reads again at once after a ResponseError: a thousand times a second, leaking a task each time.
    """

    async def call_with_retry(
        self, do: Any, fail: Any, is_retryable: Any = None, with_failure_count: bool = False
    ) -> Any:
        def may_pass(fault: Exception) -> bool:
            is_final = isinstance(fault, ResponseError) and str(fault).startswith(("NOGROUP", "BUSYGROUP"))
            return not is_final and (is_retryable is None or is_retryable(fault))

        return await super().call_with_retry(do, fail, may_pass, with_failure_count)


def _connect_broker(settings: Settings, intake: Intake) -> RedisBroker:
    broker = RedisBroker(
        _with_resp2(settings.redis_url.get_secret_value()),
        client_name="tillroll-consumer-reader",
        graceful_timeout=_DRAIN,
        socket_timeout=_SOCKET_TIMEOUT,
        retry=_PatientRetry(ExponentialWithJitterBackoff(base=0.1, cap=2), 8),
        retry_on_error=[ResponseError],
        parser=_raw,
        decoder=_as_is,
        ack_policy=AckPolicy.MANUAL,  # Intake acks, the same way for new, own and claimed entries
        apply_types=False,
        logger=log,
        log_level=logging.DEBUG,  # two lines a batch otherwise
        description="Events of the orders' life, accepted and durable, in the order of their acceptance.",
    )
    stream = StreamSub(
        STREAM,
        group=GROUP,
        consumer=settings.consumer,
        batch=True,
        max_records=settings.batch_size,
        polling_interval=_BLOCK,
    )

    async def take(entries: list[AcceptedEvent]) -> None:
        await _take(intake, entries)

    broker.subscriber(stream=stream, title="orders", description="Records each event once.")(take)
    return broker


def _with_resp2(redis_url: str) -> str:
    """Raw answers are RESP2's; FastStream takes the protocol from the URL alone, and redis-py 8 would choose 3."""
    return f"{redis_url}{'&' if '?' in redis_url else '?'}protocol=2"


async def _take(intake: Intake, entries: Any) -> None:
    """Rests after a batch that was not full. Nobody waits for a row: reads fold the overlay over them."""
    try:
        await intake.take(entries)
    except Stopped:
        log.warning("batch_left_pending", extra={"entries": len(entries)})
    else:
        if len(entries) < intake.settings.batch_size:
            await asyncio.sleep(_REST)


async def _raw(message: Any, original: Callable[[Any], Awaitable[Any]]) -> Any:
    """Entries as they are: FastStream's parser loses fields, and one entry it cannot read stops the whole batch."""
    parsed = await original({**message, "data": []})
    parsed.raw_message = message
    pairs = zip(message["message_ids"], message["data"], strict=True)
    parsed.body = [entry_of(entry_id, flat) for entry_id, flat in pairs]
    return parsed


async def _as_is(message: Any) -> list[Entry]:
    entries: list[Entry] = message.body
    return entries
