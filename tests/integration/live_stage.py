"""The orders service on a port, with a real Redis and Postgres, and shoppers who listen to their orders' moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
import uvicorn

from services.cli.system import free_port
from services.orders import follow_stream
from services.orders.app import build
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.events import EventSource, Told
from tests.waiting import until


class Door:
    """The orders service on a port, and shoppers who listen at it."""

    def __init__(self, settings: Settings, port: int, app: Any) -> None:
        self.settings = settings
        self.follower: follow_stream.Follower = app.state.follower
        self.app = app
        self.http = httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, trust_env=False)
        self.streams = AsyncExitStack()
        self.sources: list[EventSource] = []  # one that nobody holds any more is closed

    def bearer(self, user: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {issue_development_token(self.settings, user)}"}

    async def listen(self, user: str = "anna", last_seen: str | None = None) -> EventSource:
        """A stream that is open."""
        headers = self.bearer(user) | ({} if last_seen is None else {"Last-Event-ID": last_seen})
        stream = self.http.stream("GET", "/api/orders/events", headers=headers)
        self.sources.append(EventSource(await self.streams.enter_async_context(stream)))
        return self.sources[-1]

    async def refused(self, user: str = "anna") -> httpx.Response:
        """The answer to one stream too many."""
        return await self.http.get("/api/orders/events", headers=self.bearer(user))


@asynccontextmanager
async def open_door(settings: Settings) -> AsyncIterator[Door]:
    """Closed at the end, whatever is still open."""
    app, port = build(settings), free_port()
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_config=None))
    serving = asyncio.create_task(server.serve())
    await until(lambda: server.started)
    door = Door(settings, port, app)
    try:
        yield door
    finally:
        await door.streams.aclose()
        await door.http.aclose()
        server.should_exit = True
        await serving


def seen(told: Told) -> tuple[str, Any, Any]:
    return told.name, told.data["id"], told.data["status"]
