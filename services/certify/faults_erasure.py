"""Faults that take Redis' data: at rest, under load, and with nobody who brings the names back."""

import asyncio
import shutil
import signal
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from services.certify.history import FORGOTTEN
from services.certify.readiness import redis_answers
from services.certify.roll import RollEntry, open_redis, read_entries
from services.certify.stage import Stage
from services.certify.world import Process
from shared.errors import Unrecordable
from shared.events import StatusChanged, decode
from shared.streams import NAMES_LOADED, STREAM

_NEWEST = "SELECT entry_id FROM events WHERE stream = $1 ORDER BY accepted_at DESC, event_id LIMIT 1"
_ASKED_AGAIN = 500  # keys


async def erase(stage: Stage, _hold: float) -> None:
    """Nothing was unrecorded: nothing may be lost, and no retry may become a second order."""
    async with stage.silence():
        await stage.world.redis.end(signal.SIGKILL)
        _erase_files(stage)
        await stage.world.redis.start()
        await stage.names_loaded()


async def erase_under_load(stage: Stage, hold: float) -> None:
    """What is in no table at this moment is lost, and noted as lost; nothing else may be."""
    async with stage.held_batches():
        await asyncio.sleep(hold)
        await stage.world.redis.end(signal.SIGKILL)
    await stage.batches_ended()
    await _note_losses(stage)
    _erase_files(stage)
    await stage.world.redis.start()
    await stage.names_loaded()


async def forget_names(stage: Stage, _hold: float) -> None:
    """Redis empty, its marker as if all names were there. A key alone must lead to its order: its id is made of it."""
    async with stage.silence():
        newest = await _newest_entry(stage)
        await stage.world.redis.end(signal.SIGKILL)
        _erase_files(stage)
        apart = _apart(stage, _data(stage))
        await apart.start()
        async with open_redis(apart.program.url) as redis:
            await redis.set(NAMES_LOADED, newest)
        await apart.end(signal.SIGTERM)
        await stage.world.redis.start()
    keyed = [purchase for purchase in stage.load.history.purchases.values() if purchase.key is not None]
    known = stage.load.history.given()
    sample = [purchase for purchase in keyed if purchase.number in known and purchase.session is None][-_ASKED_AGAIN:]
    await stage.load.submit_again(sample, FORGOTTEN)


def _data(stage: Stage) -> Path:
    return stage.world.folder / "redis"


def _erase_files(stage: Stage) -> None:
    for path in _data(stage).iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != "redis.conf":
            path.unlink()


def _apart(stage: Stage, data: Path) -> Process:
    """The same Redis on `data`, where none of the processes finds it."""
    socket = stage.world.folder / "run" / "apart.sock"
    program = stage.world.redis.program
    argv = (*program.argv, "--dir", str(data), "--unixsocket", str(socket))
    apart = replace(program, name="redis-apart", argv=argv, url=f"unix://{socket}")
    return Process(apart, stage.world.folder / "logs" / "redis-apart.log", partial(redis_answers, apart.url))


async def _note_losses(stage: Stage) -> None:
    """Entries of the dead Redis that no table has."""
    copy = stage.world.folder / "erased"
    shutil.copytree(_data(stage), copy)
    apart = _apart(stage, copy)
    await apart.start()
    entries, start = [], "-"
    async with open_redis(apart.program.url) as redis:
        while page := await read_entries(redis, start, 1000):
            entries += page
            start = f"({page[-1].entry_id}"
    await apart.end(signal.SIGKILL)
    shutil.rmtree(copy)
    stage.roll.entries.update((entry.entry_id, entry) for entry in entries)
    connection = await stage.connect()
    try:
        archived = {row[0] for row in await connection.fetch("SELECT event_id::text FROM events")}
        buried = {row[0] for row in await connection.fetch("SELECT entry_id FROM dead_letters")}
    finally:
        await connection.close()
    for entry in entries:
        event_id = (entry.field(b"event_id") or b"").decode(errors="replace")
        if event_id not in archived and entry.entry_id not in buried:
            _note_loss(stage, entry, event_id)


def _note_loss(stage: Stage, entry: RollEntry, event_id: str) -> None:
    stage.losses.entry_ids.add(entry.entry_id)
    with suppress(Unrecordable):
        event: Any = decode(entry.field(b"payload") or b"")
        if isinstance(event, StatusChanged):
            stage.losses.moves.add((str(event.order_id), event.status))
        else:
            stage.losses.order_ids.add(event_id)


async def _newest_entry(stage: Stage) -> str:
    connection = await stage.connect()
    try:
        return str(await connection.fetchval(_NEWEST, STREAM))
    finally:
        await connection.close()
