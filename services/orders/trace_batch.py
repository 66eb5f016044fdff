"""The spans of a batch: one around it, linked to every entry's own trace, and one for each entry in that trace.

A batch lies in the trace of its first traced entry, so that it is kept whenever one of its entries is.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from opentelemetry.trace import Link, Span, SpanContext, SpanKind

from services.orders.entries import Entry
from services.orders.parse_entry import readable_uuid
from services.orders.record_events import BatchResult
from services.orders.replay_source import REPLAY
from shared import tracing
from shared.streams import EVENT_ID, STREAM, TRACEPARENT


class BatchTrace:
    """Tells the traces of a batch's entries what became of them; nothing while nobody traces."""

    def __init__(self, span: Span, contexts: dict[Entry, SpanContext]) -> None:
        self._span = span
        self._contexts = contexts
        self._since = time.time_ns()

    def tell(self, result: BatchResult) -> None:
        """After the commit: a span in each entry's own trace, linked to the batch's."""
        if not self._contexts:
            return
        outcomes = {arrival.entry: "recorded" for arrival in result.recorded}
        outcomes |= {arrival.entry: "duplicate" for arrival in result.duplicates}
        outcomes |= {letter.entry: f"buried: {letter.reason}" for letter in result.buried}
        batch, now = Link(self._span.get_span_context()), time.time_ns()
        for entry in result.entries:
            if (context := self._contexts.get(entry)) is None:
                continue
            told = _ids_of(entry) | {"tillroll.outcome": outcomes.get(entry, "unknown")}
            tracing.add_span("record", context, self._since, now, [batch], told)


@contextmanager
def trace_batch(entries: Sequence[Entry]) -> Iterator[BatchTrace]:
    """Around everything that is done for `entries`: their transaction, the overlay, the ack."""
    contexts: dict[Entry, SpanContext] = {}
    if tracing.is_on():
        found = ((entry, tracing.context_in(entry.field(TRACEPARENT))) for entry in entries)
        contexts = {entry: context for entry, context in found if context is not None}
    links = [Link(context, _ids_of(entry)) for entry, context in contexts.items()]
    parent = next(iter(contexts.values()), None)
    told: dict[str, tracing.Value] = {
        "messaging.system": "redis",
        "messaging.destination.name": STREAM,
        "messaging.batch.message_count": len(entries),
    }
    with tracing.span("record batch", SpanKind.CONSUMER, parent=parent, links=links, attributes=told) as span:
        yield BatchTrace(span, contexts)


def _ids_of(entry: Entry) -> dict[str, tracing.Value]:
    """What names an entry, as far as it is an id: an entry may hold anything."""
    ids: dict[str, tracing.Value] = {"messaging.message.id": entry.entry_id}
    for name, field in (("tillroll.event_id", EVENT_ID), ("tillroll.replay", REPLAY)):
        if (found := readable_uuid(entry, field)) is not None:
            ids[name] = str(found)
    return ids
