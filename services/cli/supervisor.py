"""Keeps children running: starts them, restarts them when they end, stops them in reverse order. Knows no server."""

import asyncio
import contextlib
import shutil
import signal
from collections import deque
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from services.cli.children import spawn_options
from services.cli.embedded import Account
from shared.errors import TillrollError

RESTARTS = 10
WITHIN = timedelta(minutes=1)
FIRST_DELAY = timedelta(milliseconds=100)
LONGEST_DELAY = timedelta(seconds=2)  # ten restarts fit into the minute, or giving up would never happen
POLL = timedelta(milliseconds=50)
REPORT_EVERY = timedelta(seconds=10)
LEAST_FREE = 1024 * 1024  # bytes; Redis and PostgreSQL end when they cannot write, and restarts cannot help
LARGEST_LOG = 10 * 1024 * 1024  # bytes; a larger log is set aside at the next start

Ready = Callable[[], Awaitable[bool]]


_MAKE_ROOM = "Make room and start again; everything that was accepted is kept."


class GaveUp(TillrollError):
    """A child ended again and again."""


@dataclass(frozen=True)
class Child:
    """A command that must keep running. `is_ready` says whether the process that runs now does its work."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    log: Path
    is_ready: Ready
    account: Account | None = None
    stop_signal: signal.Signals = signal.SIGTERM
    grace: timedelta = timedelta(seconds=10)


class Supervisor:
    """Children in the order of their start. Use as a context: leaving it stops all of them."""

    def __init__(self, announce: Callable[[str], None], note_start: Callable[[Child, int], None]) -> None:
        """`announce` gets one line for each event; `note_start` the pid of every process, as soon as it exists."""
        self._announce = announce
        self._note_start = note_start
        self._kept: dict[str, tuple[Child, asyncio.Task[None]]] = {}
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._is_stopping = False

    async def __aenter__(self) -> "Supervisor":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stop()

    async def start(self, child: Child) -> None:
        """Returns when `child` is ready. Raises GaveUp when it will not run."""
        if child.log.exists() and child.log.stat().st_size > LARGEST_LOG:
            child.log.replace(child.log.with_suffix(".log.old"))
        keeper = asyncio.create_task(self._keep(child), name=child.name)
        self._kept[child.name] = (child, keeper)
        loop = asyncio.get_running_loop()
        next_report = loop.time() + REPORT_EVERY.total_seconds()
        while not await child.is_ready():
            if keeper.done():
                await keeper
            if loop.time() >= next_report:
                self._announce(f"still waiting for {child.name}; {_last_words(child)}")
                next_report += REPORT_EVERY.total_seconds()
            await asyncio.sleep(POLL.total_seconds())

    async def wait(self) -> None:
        """Never returns. Raises GaveUp as soon as one child is given up."""
        await asyncio.gather(*(keeper for _, keeper in self._kept.values()))

    async def _keep(self, child: Child) -> None:
        loop = asyncio.get_running_loop()
        ends: deque[float] = deque()
        while True:
            code = await self._run_once(child)
            if self._is_stopping:
                return
            if shutil.disk_usage(child.log.parent).free < LEAST_FREE:
                raise GaveUp(f"{child.name} {_describe(code)}: the disk is full. {_MAKE_ROOM}")
            ends.append(loop.time())
            while ends[0] < loop.time() - WITHIN.total_seconds():
                ends.popleft()
            if len(ends) > RESTARTS:
                raise GaveUp(f"{child.name} ended {len(ends)} times in a minute; giving up; {_last_words(child)}")
            delay = min(FIRST_DELAY * 2 ** (len(ends) - 1), LONGEST_DELAY)
            self._announce(f"{child.name} {_describe(code)}; restart {len(ends)} in {delay.total_seconds():g} s")
            await asyncio.sleep(delay.total_seconds())

    async def _run_once(self, child: Child) -> int:
        """One life of `child`: its exit code, negative for the signal that ended it."""
        with child.log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *child.argv,
                env=dict(child.env),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                **spawn_options(child.account, child.stop_signal),
            )
        self._processes[child.name] = process
        self._note_start(child, process.pid)
        return await process.wait()

    async def _stop(self) -> None:
        self._is_stopping = True
        for name, (child, keeper) in reversed(self._kept.items()):
            process = self._processes.get(name)
            if process is not None and process.returncode is None:
                await self._end(child, process)
            keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError, GaveUp, OSError):
                await keeper

    async def _end(self, child: Child, process: asyncio.subprocess.Process) -> None:
        with contextlib.suppress(ProcessLookupError):
            process.send_signal(child.stop_signal)
        try:
            async with asyncio.timeout(child.grace.total_seconds()):
                code = await process.wait()
        except TimeoutError:
            self._announce(f"{child.name} did not stop within {child.grace.total_seconds():g} s; killed")
            process.kill()
            await process.wait()
        else:
            self._announce(
                f"{child.name} stopped" if code in (0, -child.stop_signal) else f"{child.name} {_describe(code)}"
            )


def _describe(code: int) -> str:
    return f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"


def _last_words(child: Child) -> str:
    with child.log.open("rb") as file:
        file.seek(max(0, child.log.stat().st_size - 8192))
        lines = [line for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return f"its log {child.log} ends with: {lines[-1].strip()[:300]}" if lines else f"its log {child.log} is empty"
