"""Accepting an order: a submission is a checkout that is known, or a new one on the stream.

The rules are CONTRACT's "What is one checkout?", as tests/model tells them. plan.py plans, decide.py makes the trips,
and accept_order.lua decides in one atomic step.
"""

from opentelemetry.trace import Span, SpanKind
from redis.asyncio import Redis

from services.checkout.decide import Decision, New
from services.checkout.submission import Accepted, KeyReused, Known, Replayed, Submission
from shared.errors import ApiError
from shared.events import Line, Status, public_order
from shared.settings import Settings
from shared.tracing import child_span


async def accept_order(
    redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
) -> Accepted | Replayed | KeyReused:
    """Decides a submission. `lines` are the priced line items, or why there is nothing that could be bought:
    that is raised only when the submission turns out to be a new checkout.

    Raises Unavailable while the names of past checkouts are not all in Redis; lets RedisError through.
    """
    with child_span("accept order", SpanKind.PRODUCER) as span:
        outcome = await _decide(redis, settings, submission, lines)
        _describe(span, outcome)
        return outcome


async def _decide(
    redis: Redis, settings: Settings, submission: Submission, lines: tuple[Line, ...] | ApiError
) -> Accepted | Replayed | KeyReused:
    match await Decision(redis, settings, submission, lines).run():
        case New(order_id, event, at):
            return Accepted(public_order(order_id, event, at, Status.PROCESSING))
        case Known(order_id, event, at, status, known_by):
            return Replayed(public_order(order_id, event, at, status), known_by)
        case KeyReused() as reused:
            return reused
        case reserved:
            raise AssertionError(reserved)


def _describe(span: Span, outcome: Accepted | Replayed | KeyReused) -> None:
    match outcome:
        case Accepted(order):
            span.set_attributes({"tillroll.outcome": "accepted", "tillroll.order_id": order["id"]})
        case Replayed(order, known_by):
            span.set_attributes({"tillroll.outcome": f"known by {known_by}", "tillroll.order_id": order["id"]})
        case KeyReused(order_id):
            span.set_attributes({"tillroll.outcome": "key reused", "tillroll.order_id": str(order_id)})
