"""What one connection is sent: the state of its user's orders, then every move, as Server-Sent Events.

An event's id is an entry id: whoever shows the last one it has seen is sent everything after it, once. Its data is the
order as it is when it is sent (services/orders/change_status.py decides that), never what an entry claims.
"""

import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pydantic_core
from fastapi.sse import format_sse_event
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.change_status import look_up
from services.orders.entries import id_parts
from services.orders.follow_stream import Follower
from services.orders.listeners import Listener, ListenerEnded, Moved
from services.orders.queries import list_page
from shared.errors import Unavailable
from shared.settings import Settings

HEARTBEAT = timedelta(seconds=15)
STREAM_LIFE = timedelta(minutes=5)  # then the browser comes back by itself and shows its token again
SHOWN = 100  # orders in the first event, the newest
COME_BACK_WITHIN = (1000, 5000)  # ms; not all at once after a restart


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a stream begins: `position` has been seen; `missed` has not; `state`, if any, replaces what was."""

    position: str
    missed: Sequence[Moved] = ()
    state: list[dict[str, Any]] | None = None


async def open_stream(
    redis: Redis, engine: AsyncEngine, follower: Follower, listener: Listener, last_seen: str | None
) -> Opening:
    """What `listener` missed since `last_seen`, or the present state when that cannot be told; raises Unavailable."""
    position = follower.position  # first: what is accepted from here on is told, too, and at worst twice
    if last_seen is not None:
        missed = await follower.missed(listener.user_id, last_seen, position)
        if missed is not None:
            return Opening(last_seen, missed)
    own = await list_page(redis, engine, listener.user_id, SHOWN, None)
    if own.is_partial:
        raise Unavailable("Live order status is unavailable right now")
    return Opening(position, state=[order.public() for order in own.orders])


async def tell_orders(
    redis: Redis, engine: AsyncEngine, settings: Settings, follower: Follower, listener: Listener, opening: Opening
) -> AsyncIterator[bytes]:
    """The bytes of the stream. Ends by itself, each time with the wish to see the browser again."""
    seen, ends_at = opening.position, time.monotonic() + STREAM_LIFE.total_seconds()
    yield _come_back()
    if opening.state is not None:
        yield _event("orders", opening.state, seen)
    missed = list(reversed(opening.missed))
    try:
        while (left := ends_at - time.monotonic()) > 0:
            move = missed.pop() if missed else await listener.next_move(min(HEARTBEAT.total_seconds(), left))
            if move is None:
                if listener.is_idle:
                    seen = max(seen, follower.position, key=id_parts)
                yield format_sse_event(comment="alive", id=seen)
            elif id_parts(move.entry_id) > id_parts(seen):
                order = await look_up(redis, engine, settings, move.user_id, move.order_id)
                seen = move.entry_id
                if order is not None:
                    yield _event("order", order.public(), seen)
    except (ListenerEnded, Unavailable):
        pass
    yield _come_back()


def _event(name: str, data: Any, position: str) -> bytes:
    return format_sse_event(event=name, data_str=pydantic_core.to_json(data).decode(), id=position)


def _come_back() -> bytes:
    return format_sse_event(retry=random.randint(*COME_BACK_WITHIN))  # noqa: S311  spreads load, guards nothing
