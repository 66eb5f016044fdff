"""The operators' doors to the overview: one answer, or Server-Sent Events while somebody watches. Both only read."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta

import pydantic_core
from fastapi import APIRouter, FastAPI, Request, Response
from fastapi.sse import format_sse_event

from services.orders.event_routes import EventStream
from services.orders.operations_door import REFUSALS, let_viewer_in
from services.orders.overview import Overview, Sample
from services.orders.stopping import when_stopping
from shared.errors import Unavailable
from shared.http import data_response

EVERY = timedelta(seconds=2)
WATCH_FOR = timedelta(seconds=50)  # then the browser comes again and shows its token again
MAX_WATCHERS = 32  # of one process

router = APIRouter(prefix="/api/admin/operations", tags=["operations"], responses=REFUSALS)


class Watch:
    """What the watchers of one process share: one sample in EVERY, however many they are."""

    def __init__(self, app: FastAPI) -> None:
        self.overview = Overview(app.state.redis, app.state.engine)
        self.watchers = 0
        self.is_stopping = asyncio.Event()
        self._one_at_a_time = asyncio.Lock()
        when_stopping(self.is_stopping.set)

    async def sample(self) -> Sample:
        """The present sample."""
        async with self._one_at_a_time:
            samples = self.overview.samples
            if samples and time.time() < samples[-1].at + 0.9 * EVERY.total_seconds():
                return samples[-1]
            return await self.overview.look()


@router.get("/overview")
async def read_overview(request: Request) -> Response:
    """The present sample and those of the last minutes that were taken because somebody watched."""
    await let_viewer_in(request)
    watch = _watch_of(request)
    sample = await watch.sample()
    return data_response({"now": sample.public(), "samples": [one.public() for one in watch.overview.samples]})


@router.get("/overview/live", status_code=200, response_class=EventStream)
async def watch_overview(request: Request) -> Response:
    """Server-Sent Events: `history` once, then a `sample` every two seconds; ends after 50 s, ask again."""
    await let_viewer_in(request)
    watch = _watch_of(request)
    if watch.is_stopping.is_set() or watch.watchers >= MAX_WATCHERS:
        raise Unavailable("Too many watch the overview already, please retry")
    watch.watchers += 1
    return EventStream(_events(watch), lambda: _leave(watch))


async def _events(watch: Watch) -> AsyncIterator[bytes]:
    ends_at = time.monotonic() + WATCH_FOR.total_seconds()
    await watch.sample()
    yield _event("history", [one.public() for one in watch.overview.samples], retry=1000)
    while time.monotonic() < ends_at and not await _is_stopping_within(watch, EVERY):
        yield _event("sample", (await watch.sample()).public())


async def _is_stopping_within(watch: Watch, wait: timedelta) -> bool:
    try:
        async with asyncio.timeout(wait.total_seconds()):
            return await watch.is_stopping.wait()
    except TimeoutError:
        return False


def _leave(watch: Watch) -> None:
    watch.watchers -= 1


def _event(name: str, data: object, retry: int | None = None) -> bytes:
    return format_sse_event(data_str=pydantic_core.to_json(data).decode(), event=name, retry=retry)


def _watch_of(request: Request) -> Watch:
    state = request.app.state
    if not hasattr(state, "watch"):
        state.watch = Watch(request.app)
    watch: Watch = state.watch
    return watch
