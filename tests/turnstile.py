"""Lets tasks that share a Redis go one command at a time, in an order that a seed chooses."""

import asyncio
from collections.abc import Awaitable, Coroutine
from random import Random
from typing import Any

from redis.asyncio import Redis


class Turnstile:
    """Holds every task of `run` before each command until all of them stand there, then lets one pass."""

    def __init__(self, seed: int) -> None:
        self.passed: list[str] = []
        self._random = Random(seed)
        self._waiting: list[asyncio.Future[None]] = []
        self._running = 0
        self._has_come = asyncio.Event()
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, what: Coroutine[Any, Any, Any]) -> None:
        """One more task. Call it before `run`, or from a task of it."""
        self._running += 1
        task = asyncio.create_task(what)
        self._tasks.add(task)
        task.add_done_callback(self._end)

    async def run(self) -> None:
        """Until every task is over; raises what one of them raised."""
        while self._running:
            while len(self._waiting) < self._running:
                self._has_come.clear()
                await asyncio.wait_for(self._has_come.wait(), 30)
            if self._waiting:
                self._waiting.pop(self._random.randrange(len(self._waiting))).set_result(None)
                await asyncio.sleep(0)
        await asyncio.gather(*self._tasks)

    async def turn(self) -> None:
        """Stands before the turnstile until it lets this task pass."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        self._has_come.set()
        await turn

    def _end(self, _task: "asyncio.Task[Any]") -> None:
        self._running -= 1
        self._has_come.set()


class GatedRedis(Redis):
    """A client whose every command waits for its turn, while there is a turnstile."""

    turnstile: Turnstile | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer of one command, when it is its turn."""
        if self.turnstile is not None:
            await self.turnstile.turn()
        answer: Awaitable[Any] = super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        return await answer
