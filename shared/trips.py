"""The way of commands to Redis: those of one moment travel together. Knows no command's meaning and no time-out."""

import asyncio
from typing import Any

from redis.asyncio import Redis

_BLOCKING = frozenset({"XREAD", "XREADGROUP", "WAIT", "WAITAOF"})  # one that waits would make all others wait

_Command = tuple[tuple[Any, ...], dict[str, Any], "asyncio.Future[Any]"]


class SharedTrips(Redis):
    """A client whose concurrent commands share their trips: those that came during the present one go together next.

    One trip at a time, so that a crowd of requests costs one write, one read and one fsync of Redis, and not one of
    each for every request. Answers and errors stay each caller's own; a command whose caller gave up before it left
    is never sent.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._waiting: list[_Command] = []
        self._driver: asyncio.Task[None] | None = None

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """The answer of one command; raises RedisError."""
        if args[0] in _BLOCKING or self.connection is not None:
            return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append((args, options, answer))
        if self._driver is None:
            self._driver = asyncio.create_task(self._drive())
        return await answer

    async def _drive(self) -> None:
        try:
            while self._waiting:
                wanted, self._waiting = [command for command in self._waiting if not command[2].done()], []
                if wanted:
                    await self._carry(wanted)
        finally:
            self._driver = None

    async def _carry(self, commands: "list[_Command]") -> None:
        pipeline = self.pipeline(transaction=False)
        for args, options, _ in commands:
            pipeline.execute_command(*args, **options)
        answers: list[Any]
        try:
            answers = await pipeline.execute(raise_on_error=False)
        except Exception as fault:  # noqa: BLE001  the edge of this task: every caller has to hear of it
            answers = [fault] * len(commands)
        for (_, _, future), answer in zip(commands, answers, strict=True):
            if future.done():
                continue
            if isinstance(answer, Exception):
                future.set_exception(answer)
            else:
                future.set_result(answer)
