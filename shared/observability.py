"""Logs and metrics: one JSON line an event on standard error, every metric name in one place."""

import logging
import math
import sys

import structlog
from opentelemetry.trace import format_trace_id, get_current_span
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

HTTP_SECONDS = Histogram(
    "tillroll_http_seconds",
    "Seconds from a request to the beginning of its answer, by route.",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
ACCEPTED = Counter("tillroll_accepted", "Checkouts accepted: the answer was 201.")
DUPLICATES = Counter("tillroll_duplicates", "Submissions answered with an order that was known.", ["known_by"])
PAYMENTS = Counter("tillroll_payments", "Signed webhooks of Stripe, by what came of them.", ["outcome"])
SHED = Counter("tillroll_shed", "Requests refused at once for too much load, or for too little memory.", ["why"])
EVENT_STREAMS = Gauge("tillroll_event_streams", "Open streams of live order status.")
RECORDED = Counter("tillroll_recorded", "Events committed to the archive for the first time.", ["type"])
REDELIVERED = Counter("tillroll_redelivered", "Entries whose event was in the archive already.", ["why"])
BURIED = Counter("tillroll_buried", "Entries that became dead letters.", ["reason"])
BATCH_SECONDS = Histogram("tillroll_batch_seconds", "Seconds from the read of a batch to its commit.")
ACCEPT_TO_RECORD_SECONDS = Histogram(
    "tillroll_accept_to_record_seconds",
    "Seconds from acceptance to commit, by Redis' clock and the consumer's.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60, 600),
)

CONSUMER = CollectorRegistry()
"""What the consumer alone knows. The pages of other processes do not show it: their 0 would be taken for a fact.

NaN = unknown: its source could not be asked, or has not been asked yet.
"""


def _known_to_consumer(name: str, meaning: str, *labels: str) -> Gauge:
    gauge = Gauge(name, meaning, labels, registry=CONSUMER)
    if not labels:
        gauge.set(math.nan)
    return gauge


CONSUMER_READY = _known_to_consumer("tillroll_consumer_ready", "1 while /ready answers 200, as of this very scrape.")
LAG_ENTRIES = _known_to_consumer("tillroll_lag_entries", "Entries that the group has not been given yet.")
LAG_SECONDS = _known_to_consumer("tillroll_lag_seconds", "Age of the oldest of them; 0 = there is none.")
PENDING_ENTRIES = _known_to_consumer("tillroll_pending_entries", "Entries given to a consumer and not acked.")
OLDEST_PENDING_SECONDS = _known_to_consumer(
    "tillroll_oldest_pending_seconds", "Age of the oldest of them; 0 = there is none."
)
STREAM_ENTRIES = _known_to_consumer("tillroll_stream_entries", "Entries in the stream, recorded ones too.")
OVERLAY_EVENTS = _known_to_consumer(
    "tillroll_overlay_events", "Accepted events that reads fold over the rows, as of the last walk through the keys."
)
OUTAGE_SECONDS = _known_to_consumer("tillroll_outage_seconds", "Seconds that the consumer has been holding its batch.")
INTAKE_PAUSED_GAUGE = _known_to_consumer("tillroll_intake_paused", "1 while the dead-letter limit has paused intake.")
DEAD_LETTERS = _known_to_consumer("tillroll_dead_letters", "Dead letters that wait for an operator.", "reason")
REPLAYS = _known_to_consumer("tillroll_replays", "Replays and previews that are not finished.", "status")
REPLAY_PLANNED_EVENTS = _known_to_consumer(
    "tillroll_replay_planned_events", "Events of the replays that run, wait for the consumer or are paused."
)
REPLAY_SENT_EVENTS = _known_to_consumer("tillroll_replay_sent_events", "Those of them that were sent again.")
REDIS_AOF_ENABLED = _known_to_consumer("tillroll_redis_aof_enabled", "1 while Redis keeps its append-only file.")
REDIS_AOF_WRITE_OK = _known_to_consumer(
    "tillroll_redis_aof_write_ok", "1 while its last write to the append-only file succeeded."
)
REDIS_AOF_PENDING_FSYNCS = _known_to_consumer("tillroll_redis_aof_pending_fsyncs", "Syncs of the file under way.")
REDIS_AOF_DELAYED_FSYNCS = _known_to_consumer(
    "tillroll_redis_aof_delayed_fsyncs", "Syncs of the file that the disk delayed since Redis started."
)
REDIS_MEMORY_BYTES = _known_to_consumer("tillroll_redis_memory_bytes", "Memory that Redis uses.")
REDIS_MEMORY_LIMIT_BYTES = _known_to_consumer(
    "tillroll_redis_memory_limit_bytes", "Memory at which Redis refuses what is new; 0 = no limit."
)
REDIS_NOEVICTION = _known_to_consumer(
    "tillroll_redis_noeviction", "1 while Redis refuses instead of forgetting (maxmemory-policy noeviction)."
)
REDIS_EVICTED_KEYS = _known_to_consumer(
    "tillroll_redis_evicted_keys", "Keys that Redis forgot for want of memory since it started."
)


def configure_logging(process: str) -> None:
    """Sends the logs of every library through one JSON renderer. Call once, at the start of a process."""
    shared: list[structlog.types.Processor] = [
        structlog.contextvars.merge_contextvars,
        _add_trace,
        structlog.stdlib.add_log_level,
        structlog.stdlib.ExtraAdder(),
        _drop_color,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                lambda _logger, _name, line: {"process": process, **line},
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):  # uvicorn has given them plain handlers of their own
        own = logging.getLogger(name)
        own.handlers.clear()
        own.propagate = True
    # uvicorn's line of a request has the path, which may be the capability to a cart: RequestWatch has one without
    for chatty in ("uvicorn.access", "httpx", "alembic.runtime.migration"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _drop_color(_logger: object, _name: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    line.pop("color_message", None)  # uvicorn's second spelling, for terminals
    return line


def _add_trace(_logger: object, _name: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
    context = get_current_span().get_span_context()
    return {"trace_id": format_trace_id(context.trace_id), **line} if context.is_valid else line
