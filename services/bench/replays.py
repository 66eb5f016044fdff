"""Replays as operators make them: at a terminal, a process of its own, or in the console, in the gateway's process.

Each is previewed first and then sent. Starts and awaits them; measures nothing.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

import httpx

from services.bench.contenders import TILLROLL_DB
from services.bench.world import World
from services.certify.world import HOST, DoesNotRun, until

_BEGINS_WITHIN = 60.0  # seconds
_ENDS_WITHIN = 120.0  # seconds after its window
_LOOK_EVERY = 1.0  # seconds, as the console's page does
_WHY = "a benchmark"
_PREVIEWED = "SELECT count(*) FROM replayed_events WHERE run_id = $1"
_SENT = "SELECT sent FROM replays WHERE run_id = $1"
_STATUS = "SELECT status FROM replays WHERE run_id = $1"


@dataclass(frozen=True)
class Range:
    """What was accepted from `since` on and before `end`."""

    since: datetime
    end: datetime

    @property
    def filters(self) -> dict[str, str]:
        """As the API names them."""
        return {"from": self.since.isoformat(), "to": self.end.isoformat()}


class Replay(Protocol):
    """One replay of a range at the default rate."""

    @property
    def pid(self) -> int | None:
        """Of a process that it has of its own."""

    async def preview(self) -> None:
        """Returns when its preview has begun; raises DoesNotRun."""

    async def send(self) -> None:
        """Returns when the previewed replay has begun to send; raises DoesNotRun."""

    async def ended(self) -> dict[str, Any]:
        """What the product tells of it once what was begun has ended; raises DoesNotRun."""

    async def events(self) -> tuple[int, int]:
        """How many it has previewed and sent so far."""


class AtTerminal:
    """`tillroll replay` from the archive."""

    def __init__(self, world: World, chosen: Range) -> None:
        self._world, self._chosen = world, chosen
        self._process: asyncio.subprocess.Process | None = None
        self._run_id = UUID(int=0)

    @property
    def pid(self) -> int | None:  # noqa: D102
        return self._process.pid if self._process else None

    async def preview(self) -> None:  # noqa: D102
        command = ["run", "--dry-run", "--source", "archive", "--json"]
        process = await self._start(*command, *(f"--{name}={at}" for name, at in self._chosen.filters.items()))
        assert process.stderr is not None
        async with asyncio.timeout(_BEGINS_WITHIN):
            line = await process.stderr.readline()
        if not line.startswith(b"replay "):
            raise DoesNotRun(f"the preview does not begin: {(line + await process.stderr.read()).decode()[-500:]}")
        self._run_id = UUID(line.split()[1].decode())

    async def send(self) -> None:  # noqa: D102
        await self._start("resume", str(self._run_id), "--why", _WHY, "--json")

        async def has_begun() -> bool:
            return bool(await _ask_postgres(self._world, _STATUS, self._run_id) != "planned")

        await until(has_begun, "the replay begins", _BEGINS_WITHIN)

    async def ended(self) -> dict[str, Any]:  # noqa: D102
        assert self._process is not None
        async with asyncio.timeout(_ENDS_WITHIN):
            told, complaint = await self._process.communicate()
        if self._process.returncode != 0:
            raise DoesNotRun(f"the replay failed: {(complaint or told).decode().strip()[-500:]}")
        return dict(json.loads(told))

    async def events(self) -> tuple[int, int]:  # noqa: D102
        return await _count_events(self._world, self._run_id)

    async def _start(self, *command: str) -> asyncio.subprocess.Process:
        program = self._world.program("replay", [sys.executable, "-m", "services.cli", "replay", *command])
        self._process = await asyncio.create_subprocess_exec(
            *program.argv, env=program.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        return self._process


class InConsole:
    """The API that the console asks, from the stream."""

    pid = None

    def __init__(self, world: World, chosen: Range) -> None:
        self._url = f"http://{HOST}:{world.ports['gateway-1']}/api/admin/operations/replays"
        self._world, self._chosen = world, chosen
        self._watch: asyncio.Task[dict[str, Any]] | None = None
        self._run_id = UUID(int=0)

    async def preview(self) -> None:  # noqa: D102
        wish = {"why": _WHY, "filter": self._chosen.filters, "source": "stream"}
        self._run_id = UUID((await self._ask("POST", "", wish))["run_id"])
        self._watch = asyncio.create_task(self._until("planned"))

    async def send(self) -> None:  # noqa: D102
        await self._ask("POST", f"/{self._run_id}/run", {"why": _WHY})
        self._watch = asyncio.create_task(self._until("finished"))

    async def ended(self) -> dict[str, Any]:  # noqa: D102
        assert self._watch is not None
        async with asyncio.timeout(_ENDS_WITHIN):
            return await self._watch

    async def events(self) -> tuple[int, int]:  # noqa: D102
        return await _count_events(self._world, self._run_id)

    async def _until(self, status: str) -> dict[str, Any]:
        while True:
            found = await self._ask("GET", f"/{self._run_id}")
            if found["status"] == status:
                return found
            await asyncio.sleep(_LOOK_EVERY)

    async def _ask(self, method: str, path: str, body: object = None) -> dict[str, Any]:
        headers = {"Authorization": f"Bearer {self._world.shoppers.operator_token}"}
        async with httpx.AsyncClient(headers=headers, timeout=30, trust_env=False) as http:
            answer = await http.request(method, self._url + path, json=body)
        if answer.status_code not in (200, 202):
            raise DoesNotRun(f"the replay was refused: {answer.status_code} {answer.text[:300]}")
        return dict(answer.json()["data"])


async def _count_events(world: World, run_id: UUID) -> tuple[int, int]:
    return int(await _ask_postgres(world, _PREVIEWED, run_id)), int(await _ask_postgres(world, _SENT, run_id))


async def _ask_postgres(world: World, query: str, run_id: UUID) -> Any:
    connection = await world.connect(TILLROLL_DB)
    try:
        return await connection.fetchval(query, run_id)
    finally:
        await connection.close()


DOORS: Mapping[str, Callable[[World, Range], Replay]] = {"terminal, archive": AtTerminal, "console, stream": InConsole}
"""How a replay is made, and from where it takes its events."""
