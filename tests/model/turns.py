"""Lets clients take turns at Redis, one trip at a time, and goes through every order of their turns.

A trip is one command and its answer. What a client does between two trips nobody else can see.
"""

from collections.abc import Callable, Coroutine, Generator, Sequence
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from tests.model.calls import Call
from tests.model.intents import Intent, View
from tests.model.linearize import Op
from tests.model.real_driver import RealDriver


class Door(Redis):
    """A Redis client whose every command waits for its turn: it is handed to whoever runs the coroutine."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await _Trip(args, options)


class _Trip:
    def __init__(self, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        self.args = args
        self.options = options

    def __await__(self) -> Generator["_Trip", Any, Any]:
        return (yield self)


class Client:
    """A program of intents, run through a door and stopped at every trip."""

    def __init__(self, name: str, driver: RealDriver, view: View, program: Sequence[Intent]) -> None:
        self.ops: list[Op] = []
        self.view = view
        self.trips = 0
        self._name = name
        self._driver = driver
        self._run: Coroutine[_Trip, Any, None] = self._play(program)
        self._pending: _Trip | None = self._advance(self._run.send, None)

    @property
    def is_waiting(self) -> bool:
        """Whether it wants another turn."""
        return self._pending is not None

    async def take_turn(self, redis: Redis, number: int) -> None:
        """Its pending trip is made; `number` counts the turns of all clients."""
        assert self._pending is not None
        op, trip = self.ops[-1], self._pending
        op.began, op.ended = op.began or number, number
        self.trips += 1
        try:
            answer = await redis.execute_command(*trip.args, **trip.options)  # type: ignore[no-untyped-call]
        except RedisError as fault:
            self._pending = self._advance(self._run.throw, fault)
        else:
            self._pending = self._advance(self._run.send, answer)

    def vanish(self) -> None:
        """It takes no further turn and is told nothing more."""
        self._pending = None
        self._run.close()

    async def _play(self, program: Sequence[Intent]) -> None:
        for intent in program:
            if (call := intent(self.view)) is not None:
                await self._make(call)

    async def _make(self, call: Call) -> None:
        op = Op(self._name, call)
        self.ops.append(op)
        op.answer = await self._driver.make(call)
        op.is_lost = False
        self.view = self.view.after(op.answer)

    def _advance(self, resume: Callable[[Any], _Trip], value: Any) -> _Trip | None:
        try:
            return resume(value)
        except StopIteration:
            return None


class Choices:
    """Goes through a tree of choices, one path after the other, without knowing the tree."""

    def __init__(self) -> None:
        self._path: list[list[int]] = []  # [taken, how many there were]
        self._at = 0

    def among(self, count: int) -> int:
        """One of `count`: as on the path before up to the last fork with something left, then the first."""
        if self._at == len(self._path):
            self._path.append([0, count])
        taken, known = self._path[self._at]
        assert known == count, "the same choices lead to the same place"
        self._at += 1
        return taken

    def go_on(self) -> bool:
        """Begins the next path; False when there is none."""
        self._at = 0
        while self._path and self._path[-1][0] == self._path[-1][1] - 1:
            self._path.pop()
        if self._path:
            self._path[-1][0] += 1
        return bool(self._path)

    def __str__(self) -> str:
        return "".join(str(taken) for taken, count in self._path if count > 1)


async def take_turns(redis: Redis, clients: Sequence[Client], choices: Choices, vanish: tuple[int, int] | None) -> bool:
    """All clients to their ends; (client, trips): that one vanishes after so many. Answers whether it did.

    Vanishing before a trip is vanishing after the one before it; after the last trip of a call, the client may have
    been told or not, and having been told is the stricter case.
    """
    number = 0
    has_vanished = False
    while True:
        if vanish is not None and clients[vanish[0]].is_waiting and clients[vanish[0]].trips == vanish[1]:
            clients[vanish[0]].vanish()
            has_vanished = True
        waiting = [client for client in clients if client.is_waiting]
        if not waiting:
            return has_vanished
        number += 1
        await waiting[choices.among(len(waiting))].take_turn(redis, number)
