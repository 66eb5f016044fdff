"""Spans say what kind of thing failed and never with which words; what nobody keeps costs next to nothing."""

import time
from collections.abc import Iterator

import pytest

from services.orders.trace_batch import trace_batch
from shared import tracing
from shared.streams import TRACEPARENT
from tests.builders import a_checkout, fields_of, raw_entry
from tests.otlp import Collector, collecting

KEPT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
NOT_KEPT = "00-a3ce929d0e0e47364bf92f3577b34da6-00f067aa0ba902b7-00"


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    """Keeps what a parent keeps and nothing else."""
    with collecting() as collector:
        for name, value in collector.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
        tracing.configure_tracing("test")
        yield collector
        tracing.end_tracing()


def test_a_failed_span_tells_the_class_of_the_error_and_nothing_of_its_words(collector: Collector) -> None:
    with (
        pytest.raises(ValueError, match="zelda"),
        tracing.span("work", parent=tracing.context_in(KEPT.encode())),
    ):
        raise ValueError("zelda@mail.example is no number")
    tracing.end_tracing()
    [span] = collector.find("work")
    assert "ValueError" in span.told
    assert "zelda" not in span.told


def test_a_batch_is_kept_when_one_of_its_entries_is(collector: Collector) -> None:
    plain = fields_of(a_checkout())
    entries = [raw_entry(plain), raw_entry(plain | {TRACEPARENT: "zelda"}), raw_entry(plain | {TRACEPARENT: KEPT})]
    with trace_batch(entries):
        pass
    with trace_batch(entries[:2]):
        pass
    tracing.end_tracing()
    [batch] = collector.find("record batch")
    assert batch.links == ((KEPT.split("-")[1], KEPT.split("-")[2]),)
    assert "zelda" not in batch.told


def test_only_a_trace_that_is_kept_goes_into_an_entry(collector: Collector) -> None:
    for header, is_kept in ((KEPT, True), (NOT_KEPT, False), ("nonsense", False)):
        with tracing.span("request", parent=tracing.context_in(header.encode())):
            assert bool(tracing.traceparent()) == is_kept
            assert tracing.traceparent().split("-")[1:2] == (header.split("-")[1:2] if is_kept else [])


@pytest.mark.parametrize("name", ["OTEL_SDK_DISABLED", "OTEL_TRACES_EXPORTER", None])
def test_without_a_collector_or_when_it_is_told_so_nothing_is_traced(
    monkeypatch: pytest.MonkeyPatch, name: str | None
) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    if name is not None:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
        monkeypatch.setenv(name, {"OTEL_SDK_DISABLED": "true"}.get(name, "none"))
    tracing.configure_tracing("test")
    assert not tracing.is_on()
    with tracing.span("request") as span:
        assert (span.is_recording(), tracing.traceparent()) == (False, "")


def test_a_collector_that_is_away_does_not_hold_a_process_that_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    tracing.configure_tracing("test")
    for _ in range(600):
        with tracing.span("request"):
            pass
    begun = time.monotonic()
    tracing.end_tracing()
    assert time.monotonic() - begun < 10
