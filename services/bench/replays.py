"""Replays as operators start them: at a terminal, a process of its own, or in the console, in the gateway's process.

Starts and awaits them; measures nothing.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

import httpx

from services.bench.contenders import TILLROLL_DB
from services.bench.world import World
from services.certify.world import HOST, DoesNotRun

_BEGINS_WITHIN = 60.0  # seconds
_ENDS_WITHIN = 120.0  # seconds after its window
_LOOK_EVERY = 1.0  # seconds, as the console's page does
_WHY = "a benchmark"


@dataclass(frozen=True)
class Range:
    """What was accepted from `since` on and before `until`."""

    since: datetime
    until: datetime


class Replay(Protocol):
    """One replay of a range at the default rate."""

    @property
    def pid(self) -> int | None:
        """Of a process that it has of its own."""

    async def begin(self) -> None:
        """Returns when its preview has begun; raises DoesNotRun."""

    async def sent(self) -> int:
        """Entries that it has sent so far."""

    async def finished(self) -> dict[str, Any]:
        """What the product tells of it once it has ended; raises DoesNotRun."""


class AtTerminal:
    """`tillroll replay run` from the archive."""

    def __init__(self, world: World, chosen: Range) -> None:
        self._world, self._chosen = world, chosen
        self._process: asyncio.subprocess.Process | None = None

    @property
    def pid(self) -> int | None:  # noqa: D102
        return self._process.pid if self._process else None

    async def begin(self) -> None:  # noqa: D102
        command = ["replay", "run", "--source", "archive", "--why", _WHY, "--json"]
        command += ["--from", self._chosen.since.isoformat(), "--to", self._chosen.until.isoformat()]
        program = self._world.program("replay", [sys.executable, "-m", "services.cli", *command])
        self._process = await asyncio.create_subprocess_exec(
            *program.argv, env=program.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        assert self._process.stderr is not None
        async with asyncio.timeout(_BEGINS_WITHIN):
            line = await self._process.stderr.readline()
            if not line.startswith(b"replay "):  # its id: the preview begins
                complaint = line + await self._process.stderr.read()
                raise DoesNotRun(f"the replay does not begin: {complaint.decode().strip()[-500:]}")

    async def sent(self) -> int:  # noqa: D102
        return await _count_sent(self._world)

    async def finished(self) -> dict[str, Any]:  # noqa: D102
        assert self._process is not None
        async with asyncio.timeout(_ENDS_WITHIN):
            told, complaint = await self._process.communicate()
        if self._process.returncode != 0:
            raise DoesNotRun(f"the replay failed: {(complaint or told).decode().strip()[-500:]}")
        return dict(json.loads(told))


class InConsole:
    """The API that the console asks, from the stream."""

    pid = None

    def __init__(self, world: World, chosen: Range) -> None:
        self._world, self._chosen = world, chosen
        self._task: asyncio.Task[dict[str, Any]] | None = None

    async def begin(self) -> None:  # noqa: D102
        self._task = asyncio.create_task(self._run())

    async def sent(self) -> int:  # noqa: D102
        return await _count_sent(self._world)

    async def finished(self) -> dict[str, Any]:  # noqa: D102
        assert self._task is not None
        async with asyncio.timeout(_ENDS_WITHIN):
            return await self._task

    async def _run(self) -> dict[str, Any]:
        chosen = {"from": self._chosen.since.isoformat(), "to": self._chosen.until.isoformat()}
        headers = {"Authorization": f"Bearer {self._world.shoppers.operator_token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            opened = await self._ask(http, "POST", "", {"why": _WHY, "filter": chosen, "source": "stream"})
            run = f"/{opened['run_id']}"
            await self._until(http, run, "planned")
            await self._ask(http, "POST", f"{run}/run", {"why": _WHY})
            return await self._until(http, run, "finished")

    async def _until(self, http: httpx.AsyncClient, run: str, status: str) -> dict[str, Any]:
        while True:
            found = await self._ask(http, "GET", run)
            if found["status"] == status:
                return found
            await asyncio.sleep(_LOOK_EVERY)

    async def _ask(self, http: httpx.AsyncClient, method: str, path: str, body: object = None) -> dict[str, Any]:
        url = f"http://{HOST}:{self._world.ports['gateway-1']}/api/admin/operations/replays{path}"
        answer = await http.request(method, url, json=body)
        if answer.status_code not in (200, 202):
            raise DoesNotRun(f"the replay was refused: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json()["data"])


async def _count_sent(world: World) -> int:
    """Of the newest replay."""
    connection = await world.connect(TILLROLL_DB)
    try:
        return int(await connection.fetchval("SELECT sent FROM replays ORDER BY created_at DESC LIMIT 1") or 0)
    finally:
        await connection.close()


WAYS: Mapping[str, Callable[[World, Range], Replay]] = {"terminal, archive": AtTerminal, "console, stream": InConsole}
"""How a replay is started, and from where it takes its events."""
