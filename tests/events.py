"""A reader of Server-Sent Events, line by line as the standard says, for tests: events, ids, retry and comments."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx

from tests.waiting import DEADLINE


@dataclass(frozen=True)
class Told:
    """One event."""

    name: str
    data: Any
    id: str


class _Source:
    """What a browser keeps of a stream: the last id, and how long to wait before it comes back."""

    def __init__(self, response: httpx.Response) -> None:
        assert response.status_code == 200, response.status_code
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        self.response = response
        self.last_id = ""
        self.retry = 0
        self.comments: set[str] = set()
        self._fields: dict[str, str] = {}

    def _take(self, line: str) -> Told | None:
        if line.startswith(":"):
            self.comments.add(line)
        elif line:
            name, _, value = line.partition(":")
            self._fields[name] = value.removeprefix(" ")
        else:
            fields, self._fields = self._fields, {}
            self.last_id = fields.get("id", self.last_id)
            self.retry = int(fields.get("retry", self.retry))
            if "data" in fields:
                return Told(fields.get("event", "message"), json.loads(fields["data"]), self.last_id)
        return None


class LineSource(_Source):
    """An open stream of an httpx.Client."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self._events = self._read()
        self._ends_at = 0.0

    def next(self) -> Told:
        """The next event; fails when the stream ends instead."""
        told = self.next_or_end()
        assert told is not None, "the stream ended"
        return told

    def next_or_end(self) -> Told | None:
        """The next event, None at the end of the stream."""
        self._ends_at = time.monotonic() + DEADLINE
        return next(self._events, None)

    def _read(self) -> Iterator[Told]:
        for line in self.response.iter_lines():
            assert time.monotonic() < self._ends_at, f"no event within {DEADLINE} s"  # a heartbeat wakes us
            told = self._take(line)
            if told is not None:
                yield told


class EventSource(_Source):
    """An open stream of an httpx.AsyncClient."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__(response)
        self._lines = response.aiter_lines()

    async def next(self) -> Told:
        """The next event; fails when the stream ends instead."""
        told = await self.next_or_end()
        assert told is not None, "the stream ended"
        return told

    async def next_or_end(self) -> Told | None:
        """The next event, None at the end of the stream."""
        async with asyncio.timeout(DEADLINE):
            async for told in self._read():
                return told
        return None

    async def read_until(self, fact: Callable[[], bool]) -> None:
        """Reads on, over messages without data too, until `fact` is true."""
        async with asyncio.timeout(DEADLINE):
            async for line in self._lines:
                self._take(line)
                if fact():
                    return
        raise AssertionError("the stream ended")

    async def close(self) -> None:
        """As when the tab is closed."""
        await self.response.aclose()

    async def _read(self) -> AsyncIterator[Told]:
        async for line in self._lines:
            told = self._take(line)
            if told is not None:
                yield told
