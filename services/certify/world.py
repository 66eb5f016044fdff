"""The system under test: two servers and six processes of ours, which may be killed, paused and started again.

Knows how to start, end and ask each of them; decides nothing about when.
"""

import asyncio
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.certify.readiness import is_ready
from shared.errors import TillrollError

SOURCE = Path(__file__).parents[2]  # where the packages `services` and `shared` are
HOST = "127.0.0.1"
START_WITHIN = 60.0  # seconds
END_WITHIN = 30.0  # seconds; the consumer finishes the batch in hand
_POLL = 0.05  # seconds

PROCESSES = {
    "gateway-1": "services.gateway.app",
    "gateway-2": "services.gateway.app",
    "checkout-1": "services.checkout.app",
    "consumer-1": "services.orders.consumer",
    "consumer-2": "services.orders.consumer",
}
GATEWAYS = ("gateway-1", "gateway-2")
CHECKOUTS = ("gateway-1", "gateway-2", "checkout-1")
CONSUMERS = ("consumer-1", "consumer-2")


class DoesNotRun(TillrollError):
    """Something of the system under test does not do its work in time."""


@dataclass(frozen=True)
class Program:
    """How to run one process. `options` are Popen's; `url` is where a server listens."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    options: Mapping[str, Any] = field(default_factory=dict)
    url: str = ""


class Process:
    """One program that runs, or does not at the moment. An end that nobody asked for is noted in `accidents`."""

    def __init__(self, program: Program, log: Path, answers: Callable[[], Awaitable[bool]]) -> None:
        self.program, self.log, self.answers = program, log, answers
        self.accidents: list[str] = []
        self.may_die = False
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """None = it does not run."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def begin(self, *arguments: str) -> None:
        """Starts it, with further arguments, unless it runs."""
        self._note_accident()
        if self._process is not None:
            return
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603
                [*self.program.argv, *arguments],
                env=dict(self.program.env),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                **self.program.options,
            )

    async def start(self, *arguments: str) -> None:
        """Starts it unless it runs, and returns when it does its work; raises DoesNotRun."""
        self.begin(*arguments)
        await until(self.answers, f"{self.program.name} does its work; its log is {self.log}", START_WITHIN)

    async def end(self, how: signal.Signals) -> None:
        """Sends a signal and returns when the process is gone."""
        self._note_accident()
        if self._process is None:
            return
        process, self._process = self._process, None
        process.send_signal(how)
        process.send_signal(signal.SIGCONT)
        try:
            await until(lambda: _answer(process.poll() is not None), "it ends", END_WITHIN)
        except DoesNotRun:
            self.accidents.append(f"{self.program.name} did not end within {END_WITHIN:g} s after {how.name}")
            process.kill()
            process.wait()

    def _note_accident(self) -> None:
        if self._process is None or self._process.poll() is None:
            return
        if not self.may_die:
            self.accidents.append(f"{self.program.name} ended by itself with code {self._process.returncode}")
        self._process = None


@dataclass
class World:
    """The processes by name, servers first, and where to reach them."""

    folder: Path
    redis: Process
    postgres: Process
    apps: dict[str, Process] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)

    def add_app(self, name: str, source: Path, env: Mapping[str, str], options: Mapping[str, Any]) -> None:
        """Prepares a process of ours, running the code in `source`."""
        port = self.ports[name] = free_port()
        command = [sys.executable, "-m", "uvicorn", f"{PROCESSES[name]}:create_app", "--factory"]
        command += ["--app-dir", str(source), "--host", HOST, "--port", str(port), "--no-access-log"]
        program = Program(name, command, {**os.environ, **env, "PYTHONPATH": str(source)}, options)
        self.apps[name] = Process(program, self.folder / "logs" / f"{name}.log", lambda: is_ready(port))

    async def start_apps(self) -> None:
        """Starts all of them at once; raises DoesNotRun."""
        await asyncio.gather(*(app.start() for app in self.apps.values()))

    async def stop(self) -> None:
        """Ends everything."""
        for process in (*self.apps.values(), self.redis, self.postgres):
            process.may_die = True
            await process.end(signal.SIGKILL)

    def accidents(self) -> list[str]:
        """Ends and hangings that no fault explains."""
        return [told for process in (*self.apps.values(), self.redis, self.postgres) for told in process.accidents]


async def until(fact: Callable[[], Awaitable[bool]], sentence: str, seconds: float) -> None:
    """Returns when `fact` is true; raises DoesNotRun with `sentence` when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not await fact():
        if time.monotonic() > deadline:
            raise DoesNotRun(f"not within {seconds:g} s: {sentence}")
        await asyncio.sleep(_POLL)


def copy_source(folder: Path) -> Path:
    """A copy of our packages: every restart of a run starts the same code, whatever happens to the original."""
    for package in ("services", "shared"):
        shutil.copytree(SOURCE / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


async def _answer(value: bool) -> bool:
    return value
