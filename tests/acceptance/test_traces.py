"""One trace for each order, as the processes export it: request, decision, entry, batch, statements; and its replay."""

from collections.abc import Iterator
from uuid import uuid4

import pytest

from services.orders.parse_entry import parse_entry
from shared.streams import TRACEPARENT
from tests.acceptance.conftest import make_place
from tests.acceptance.system import System
from tests.builders import a_checkout, fields_of, raw_entry
from tests.otlp import Collector, Exported, collecting
from tests.servers import wait_until

BROWSER = "4bf92f3577b34da6a3ce929d0e0e4736"
HEADER = f"00-{BROWSER}-00f067aa0ba902b7-01"


@pytest.fixture(scope="module")
def collector() -> Iterator[Collector]:
    with collecting() as one:
        yield one


@pytest.fixture(scope="module")
def traced(collector: Collector) -> Iterator[System]:
    with make_place() as folder, System(folder / "till", env=collector.environment) as system:
        yield system.start()


def records_of(collector: Collector, event_id: str, outcome: str, count: int = 1) -> list[Exported]:
    """What the consumer told, each time it met the event, in the trace that the event was accepted in."""
    return collector.wait_for("record", count, tillroll_event_id=event_id, tillroll_outcome=outcome)


def batch_of(collector: Collector, record: Exported) -> Exported:
    """The batch that an entry's own span links to."""
    [(_, batch_id)] = record.links
    wait_until(lambda: any(span.span_id == batch_id for span in collector.spans), "the batch was exported")
    return next(span for span in collector.spans if span.span_id == batch_id)


def statements_of(collector: Collector, batch: Exported) -> list[str]:
    return [span.name for span in collector.spans if span.parent_id == batch.span_id]


def test_a_trace_holds_the_whole_path_of_an_order_and_of_its_replay(traced: System, collector: Collector) -> None:
    answer = traced.order("ada", {"2": 1}, 149, traceparent=HEADER, Idempotency_Key="key-of-the-traced")
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["data"]["id"]
    [record] = records_of(collector, order_id, "recorded")
    assert record.trace_id == BROWSER
    wait_until(lambda: collector.find("POST /api/orders", BROWSER), "the gateway, which exports by itself, has done so")
    assert collector.path_to(record) == ["POST /api/orders", "accept order", "record"]
    [request] = collector.find("POST /api/orders", BROWSER, http_response_status_code=201)
    assert (request.parent_id, request.service) == (HEADER.split("-")[2], "tillroll-gateway")
    [accepted] = collector.find("accept order", BROWSER, tillroll_order_id=order_id, tillroll_outcome="accepted")
    [script] = collector.find("accept_order.lua", BROWSER)
    assert script.parent_id == accepted.span_id == record.parent_id
    batch = batch_of(collector, record)
    assert (accepted.trace_id, accepted.span_id) in batch.links
    assert (batch.service, batch.trace_id) == ("tillroll-consumer", BROWSER)
    collector.wait_for("settle", trace_id=batch.trace_id)
    assert {"INSERT events", "INSERT orders", "INSERT order_items", "COMMIT", "settle"} <= set(
        statements_of(collector, batch)
    )

    for number, source in enumerate(("stream", "archive"), 1):
        replay = traced.run("replay", "run", "--source", source, "--event", order_id, "--why", "to see its trace")
        assert replay.returncode == 0, replay.stderr
        again = records_of(collector, order_id, "duplicate", number)[-1]
        assert again.parent_id == accepted.span_id, "what is done again is told in the trace of the order"
        assert (accepted.trace_id, accepted.span_id) in batch_of(collector, again).links
        assert "INSERT event_owners" in statements_of(collector, batch_of(collector, again))
        [page] = collector.wait_for("replay page", tillroll_replay=again.attributes["tillroll.replay"])
        assert page.links == ((accepted.trace_id, accepted.span_id),)


def test_what_shares_a_batch_reaches_it_by_a_link_from_a_trace_of_its_own(traced: System, collector: Collector) -> None:
    traces = [f"{number:032x}" for number in (0xA1, 0xB2, 0xC3)]
    first, second, third = (f"00-{trace}-00f067aa0ba902b7-01" for trace in traces)
    traced.pause("consumer")
    try:
        order_id = traced.order("anna", {"1": 1}, 129, traceparent=first).json()["data"]["id"]
        assert traced.order("boris", {"1": 1}, 129, traceparent=second).status_code == 201
        assert traced.pay("anna", order_id, traceparent=third).status_code == 200
    finally:
        traced.go_on("consumer")
    ordered, moved = (
        collector.wait_for("record", trace_id=trace, tillroll_outcome="recorded")[0] for trace in traces[1:]
    )
    batch = batch_of(collector, moved)
    assert batch == batch_of(collector, ordered), "both waited, so they came together"
    assert batch.trace_id != moved.trace_id
    assert {(record.trace_id, record.parent_id) for record in (ordered, moved)} <= set(batch.links)
    [change] = collector.find("change status", traces[2], tillroll_order_id=order_id, tillroll_outcome="changed")
    assert collector.path_to(moved) == ["PATCH /api/orders", "change status", "record"]
    assert moved.parent_id == change.span_id
    collector.wait_for("settle", trace_id=batch.trace_id)
    assert {"INSERT events", "INSERT orders", "COMMIT"} <= set(statements_of(collector, batch))


def test_a_payload_and_its_hash_are_the_same_with_and_without_a_trace() -> None:
    plain = fields_of(a_checkout(), uuid4())
    traced = parse_entry(raw_entry(plain | {TRACEPARENT: HEADER, "of tomorrow": "x"}))
    untraced = parse_entry(raw_entry(plain))
    assert (traced.payload, traced.content_hash, traced.event) == (
        untraced.payload,
        untraced.content_hash,
        untraced.event,
    )
