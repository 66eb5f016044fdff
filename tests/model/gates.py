"""Stops consumers and clients before everything they ask of Redis and Postgres, and lets one of them go on at a time.

A gate is before each command or pipeline, each statement and each commit. Whoever dies is stopped there for good.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import await_only

from tests.waiting import DEADLINE

REST = "rest"
_A_MOMENT = 0.003  # seconds after which Postgres is asked whether a lock is in the way
_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"

_present: ContextVar["Actor | None"] = ContextVar("actor", default=None)


class Died(BaseException):
    """kill -9: nothing that the dead one would still do reaches a server."""


class Actor:
    """One process of the play. `done` says what it has asked so far; the last one may be on its way still."""

    def __init__(self, name: str, work: Coroutine[Any, Any, Any]) -> None:
        self.name = name
        self.done: list[str] = []
        self._wants = ""
        self._is_dead = False
        self._stands = asyncio.Event()
        self._may_go = asyncio.Event()
        self._task = asyncio.create_task(self._run(work))

    @property
    def has_ended(self) -> bool:
        """Whether it will do nothing more."""
        return self._task.done()

    @property
    def is_at_a_gate(self) -> bool:
        """Whether it waits to be let through."""
        return self._stands.is_set()

    def let_through(self) -> None:
        """It does what it stands before."""
        self.done.append(self._wants)
        self._stands.clear()
        self._may_go.set()

    async def die(self) -> None:
        """What it holds in Postgres is rolled back, as when its connection breaks."""
        self._is_dead = True
        self._may_go.set()
        with contextlib.suppress(Died):
            await self._task

    async def stand(self) -> None:
        """Returns when it is at a gate or has ended; raises what it raised."""
        arrival = asyncio.create_task(self._stands.wait())
        await asyncio.wait({arrival, self._task}, return_when=asyncio.FIRST_COMPLETED)
        arrival.cancel()
        if self._task.done():
            self._task.result()

    async def gate(self, what: str) -> None:
        """Called by what it uses."""
        if not self._is_dead:
            self._wants = what
            self._stands.set()
            await self._may_go.wait()
            self._may_go.clear()
        if self._is_dead:
            raise Died

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        _present.set(self)
        await self.gate("begin")
        await work


class GatedRedis(Redis):
    """A client that stops at a gate when an actor uses it."""

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        if (actor := _present.get()) is not None:
            await actor.gate(str(args[0]))
        return await super().execute_command(*args, **options)  # type: ignore[no-untyped-call]

    def pipeline(self, transaction: bool = True, shard_hint: str | None = None) -> Pipeline:
        return _GatedPipeline(self.connection_pool, self.response_callbacks, transaction, shard_hint)


class _GatedPipeline(Pipeline):
    async def execute(self, raise_on_error: bool = True) -> list[Any]:
        if (actor := _present.get()) is not None and self.command_stack:
            await actor.gate("pipeline of " + " ".join(str(command[0][0]) for command in self.command_stack[:2]))
        return await super().execute(raise_on_error)


def put_gates(engine: AsyncEngine) -> None:
    """Before every statement and commit on `engine`."""

    def before_statement(_connection: Any, _cursor: Any, statement: str, *_more: Any) -> None:
        if (actor := _present.get()) is not None:
            await_only(actor.gate(" ".join(statement.split()[:3])))

    def before_commit(_connection: Any) -> None:
        if (actor := _present.get()) is not None:
            await_only(actor.gate("COMMIT"))

    event.listen(engine.sync_engine, "before_cursor_execute", before_statement)
    event.listen(engine.sync_engine, "commit", before_commit)


async def rest(why: str = REST) -> None:
    """An actor's turn ends here: it waits for what others do."""
    actor = _present.get()
    assert actor is not None
    await actor.gate(why)


class Turn(NamedTuple):
    """So many steps of an actor, or until it rests; None = to its end, or until it rests or waits for another's lock.
    `dies`: after them."""

    actor: int
    steps: int | None = None
    dies: bool = False


class Play:
    """Actors that take turns. `asks`: a connection of the play's own to Postgres; `after` is called after each step
    that begins with one of the words of `looks`."""

    def __init__(
        self,
        actors: Sequence[Actor],
        asks: Any,
        after: Callable[[], Awaitable[None]] | None = None,
        looks: tuple[str, ...] = (),
    ) -> None:
        self.actors = list(actors)
        self._asks, self._after, self._looks = asks, after, looks

    async def take(self, turns: Sequence[Turn], *, is_all: bool = True) -> None:
        """These turns; then, if it is all, everybody, one after the other, to the end."""
        for actor in self.actors:
            await actor.stand()
        for turn in turns:
            await self._take(turn)
        while is_all and not all(actor.has_ended for actor in self.actors):
            for number in range(len(self.actors)):
                await self._take(Turn(number))

    async def _take(self, turn: Turn) -> None:
        actor, steps = self.actors[turn.actor], 0
        while not actor.has_ended and (turn.steps is None or steps < turn.steps):
            if not await self._settles(actor):
                return  # it takes its turn later, when the other has committed
            if not actor.has_ended:
                actor.let_through()
                steps += 1
                if self._after and actor.done[-1].startswith(self._looks) and await self._settles(actor):
                    await self._after()
                if actor.done[-1] == REST:
                    return
        if not actor.has_ended and await self._settles(actor) and turn.dies:
            await actor.die()

    async def _settles(self, actor: Actor) -> bool:
        """Returns when it is at a gate or has ended; False when it waits for another one's lock."""
        async with asyncio.timeout(DEADLINE):
            while True:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(actor.stand(), _A_MOMENT)
                    return True
                if await self._is_blocked(actor):
                    return False

    async def _is_blocked(self, actor: Actor) -> bool:
        blocked = sum(not (other.has_ended or other.is_at_a_gate) for other in self.actors)
        return not actor.is_at_a_gate and int(await self._asks.fetchval(_BLOCKED)) >= blocked > 0
