"""The owner's door to the live status of their orders. Everything that can be refused is refused before it begins."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import timedelta

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

from services.orders.follow_stream import Follower
from services.orders.live_orders import open_stream, tell_orders
from shared.openapi import refusals, takes

SEND_WITHIN = timedelta(seconds=10)  # a client that takes nothing for so long is let go, as nginx does
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}

_ENTRY_ID = re.compile(r"([0-9]{1,20})-([0-9]{1,20})")
_LARGEST = 2**64 - 1  # of each number of an entry id

router = APIRouter(tags=["orders"])


class EventStream(StreamingResponse):
    """A stream of events that ends when the client does not take it; calls `close` at every kind of end."""

    media_type = "text/event-stream"

    def __init__(self, events: AsyncIterator[bytes], close: Callable[[], None]) -> None:
        super().__init__(events, headers=HEADERS)
        self._close = close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: D102  # ASGI's own signature
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._close()

    async def stream_response(self, send: Send) -> None:  # noqa: D102  # Starlette's own
        async def send_in_time(message: Message) -> None:
            async with asyncio.timeout(SEND_WITHIN.total_seconds()):
                await send(message)

        with suppress(TimeoutError):
            await super().stream_response(send_in_time)


@router.get(
    "/api/orders/events",
    status_code=200,
    response_class=EventStream,
    responses={
        200: {"description": "`orders`: own orders, newest first; then an `order` for every move; ids resume"},
        **refusals({401: "Unauthorized", 429: "Too many open streams of one user"}),
    },
    openapi_extra=takes(headers={"Last-Event-ID": "the last event that was seen: everything after it is sent"}),
)
async def follow_own_orders(request: Request) -> Response:
    """The live status of own orders as Server-Sent Events."""
    state = request.app.state
    user = await state.verifier.authenticate(request)
    follower: Follower = state.follower
    listener = await follower.join(user.id)
    try:
        last_seen = _parse_entry_id(request.headers.get("Last-Event-ID", ""))
        opening = await open_stream(state.redis, state.engine, follower, listener, last_seen)
    except BaseException:
        follower.leave(listener)
        raise
    events = tell_orders(state.redis, state.engine, state.settings, follower, listener, opening)
    return EventStream(events, lambda: follower.leave(listener))


def _parse_entry_id(text: str) -> str | None:
    """`text` when it could be an entry's id; what could not is no id, and the present state is the answer."""
    match = _ENTRY_ID.fullmatch(text)
    return text if match and max(int(match[1]), int(match[2])) <= _LARGEST else None
