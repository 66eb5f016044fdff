"""Traces: every order's way from its request over the stream to its row, as OpenTelemetry spans.

Off, and next to free, unless the standard OTEL_ variables name a collector; they choose the sampling too. A span holds
ids and kinds, never what somebody sent: no path, no query, no message of an error.
"""

import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    Tracer,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

Value = str | int

_HEADER = "traceparent"  # W3C's; tracestate and baggage are not kept: they may say anything about anybody
_END_WITHIN = 3  # seconds; the exporter's own patience is half a minute
_OFF = nullcontext(INVALID_SPAN)
_propagator = TraceContextTextMapPropagator()
_tracer: Tracer | None = None
_provider: "TracerProvider | None" = None


def configure_tracing(process: str) -> None:
    """Exports this process' spans over OTLP/HTTP where a collector is named. Call once, at the start of a process."""
    global _tracer, _provider
    if _tracer is not None or not _is_wanted():
        return
    # imported here: a process that traces nothing starts a tenth of a second earlier
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import SERVICE_NAME, Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    name = os.environ.get("OTEL_SERVICE_NAME") or f"tillroll-{process}"
    _provider = TracerProvider(resource=Resource.create({SERVICE_NAME: name}), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    _tracer = _provider.get_tracer("tillroll")


def _is_wanted() -> bool:
    env = os.environ
    has_collector = env.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") or env.get("OTEL_EXPORTER_OTLP_ENDPOINT")
    is_off = env.get("OTEL_SDK_DISABLED", "").lower() == "true" or env.get("OTEL_TRACES_EXPORTER") == "none"
    return bool(has_collector) and not is_off


def end_tracing() -> None:
    """Sends what is left within _END_WITHIN seconds: a collector that is away must not hold a process that ends."""
    global _tracer, _provider
    provider, _provider, _tracer = _provider, None, None
    if provider is not None:
        end = threading.Thread(target=provider.shutdown, daemon=True)
        end.start()
        end.join(_END_WITHIN)


def is_on() -> bool:
    """Whether this process exports anything."""
    return _tracer is not None


def is_traced() -> bool:
    """Whether what happens now is part of a trace that is kept."""
    return _tracer is not None and get_current_span().is_recording()


def span(
    name: str,
    kind: SpanKind = SpanKind.INTERNAL,
    *,
    parent: SpanContext | None = None,
    links: Sequence[Link] = (),
    attributes: Mapping[str, Value] | None = None,
) -> AbstractContextManager[Span]:
    """A span around a block, below `parent` or else the present one; an error leaves its class, never its message."""
    if _tracer is None:
        return _OFF
    return _open(_tracer, name, kind, parent, links, attributes)


@contextmanager
def _open(
    tracer: Tracer,
    name: str,
    kind: SpanKind,
    parent: SpanContext | None,
    links: Sequence[Link],
    attributes: Mapping[str, Value] | None,
) -> Iterator[Span]:
    context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
    with tracer.start_as_current_span(
        name, context, kind, attributes, links, record_exception=False, set_status_on_exception=False
    ) as opened:
        try:
            yield opened
        except BaseException as fault:
            fail(opened, fault)
            raise


def child_span(
    name: str, kind: SpanKind = SpanKind.INTERNAL, attributes: Mapping[str, Value] | None = None
) -> AbstractContextManager[Span]:
    """A span around a block within a trace; nothing outside one."""
    if _tracer is None or not get_current_span().is_recording():
        return _OFF
    return _open(_tracer, name, kind, None, (), attributes)


def begin(name: str, kind: SpanKind, attributes: Mapping[str, Value] | None = None) -> Span:
    """A span below the present one that its caller ends; nothing outside a trace."""
    return _tracer.start_span(name, kind=kind, attributes=attributes) if _tracer and is_traced() else INVALID_SPAN


def add_span(
    name: str,
    parent: SpanContext,
    since: int,
    until: int,
    links: Sequence[Link] = (),
    attributes: Mapping[str, Value] | None = None,
) -> None:
    """A span below `parent` for what has happened already; times in nanoseconds since 1970."""
    if _tracer is not None:
        context = set_span_in_context(NonRecordingSpan(parent))
        _tracer.start_span(name, context, SpanKind.CONSUMER, attributes, links, since).end(until)


def add_event(name: str, fault: BaseException) -> None:
    """Notes on the present span what happened in its course, by the class of `fault`."""
    get_current_span().add_event(name, {"fault": type(fault).__name__})


def fail(failed: Span, fault: BaseException) -> None:
    """Marks a span as failed by the class of `fault`."""
    failed.set_status(Status(StatusCode.ERROR, type(fault).__name__))


def traceparent() -> str:
    """The present span as W3C's header says it; '' outside a trace that is kept."""
    if not is_traced():
        return ""
    carrier: dict[str, str] = {}
    _propagator.inject(carrier)
    return carrier[_HEADER]


def context_in(header: bytes | None) -> SpanContext | None:
    """The span that a header or a field of an entry names; None where it names none, or nobody traces here."""
    if _tracer is None or not header:
        return None
    context = _propagator.extract({_HEADER: header.decode("latin-1")})
    found = get_current_span(context).get_span_context()
    return found if found.is_valid else None
