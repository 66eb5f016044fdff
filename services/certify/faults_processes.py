"""Faults of our own processes and of Postgres: killed, restarted, paused, misled about the time."""

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from services.certify.stage import Stage

AHEAD, BEHIND = "+2h", "-1d"
_FAKETIME = ("/usr/lib/*/faketime/libfaketime.so.1", "/usr/local/lib/faketime/libfaketime.so.1")


async def kill(name: str, stage: Stage, hold: float) -> None:
    """kill -9, and a start after `hold` seconds."""
    app = stage.world.apps[name]
    await app.end(signal.SIGKILL)
    await asyncio.sleep(hold)
    await app.start()


async def kill_consumer(name: str, stage: Stage, hold: float) -> None:
    """kill -9 while it waits in the middle of a transaction."""
    async with stage.held_batches():
        await stage.world.apps[name].end(signal.SIGKILL)
    await asyncio.sleep(hold)
    await stage.world.apps[name].start()


async def restart(names: Sequence[str], stage: Stage, hold: float) -> None:
    """A rolling restart as a platform does it: the next one when the one before is ready again."""
    for name in names:
        await stage.world.apps[name].end(signal.SIGTERM)
        await asyncio.sleep(hold)
        await stage.world.apps[name].start()


async def stop_postgres(stage: Stage, hold: float) -> None:
    """Immediate stop: no checkpoint, every connection broken, recovery at the start."""
    await stage.world.postgres.end(signal.SIGQUIT)
    await asyncio.sleep(hold)
    await stage.world.postgres.start()


async def pause_postgres(stage: Stage, hold: float) -> None:
    """Every process of Postgres stands still; its sockets still take connections, and nobody answers."""
    pid = stage.world.postgres.pid
    assert pid is not None
    stopped = [pid]
    os.kill(pid, signal.SIGSTOP)  # first, so that it starts no further ones
    try:
        for child in _children(pid):
            os.kill(child, signal.SIGSTOP)
            stopped.append(child)
        await asyncio.sleep(hold)
    finally:
        for each in reversed(stopped):
            os.kill(each, signal.SIGCONT)
    await stage.world.postgres.start()


def why_no_pause() -> str | None:
    """The reason why the processes of Postgres cannot be found here."""
    return None if Path("/proc/self/stat").exists() else "there is no /proc"


def _children(parent: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            after_name = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it has ended
        if int(after_name[1]) == parent:
            found.append(int(path.parent.name))
    return found


async def jump_clock(stage: Stage, hold: float) -> None:
    """The wall clocks of two processes jump, and jump back."""
    try:
        for clock, jump in zip(stage.clocks.values(), (AHEAD, BEHIND), strict=True):
            set_clock(clock, jump)
        await asyncio.sleep(hold)
    finally:
        for clock in stage.clocks.values():
            set_clock(clock, "+0")


def set_clock(clock: Path, offset: str) -> None:
    """Tells a process that was started with `clock_environment` what time it is."""
    fresh = clock.with_suffix(".new")
    fresh.write_text(offset)
    fresh.replace(clock)


def clock_environment(clock: Path) -> dict[str, str]:
    """Variables that let a process take its wall clock (not the monotonic one) from `clock`."""
    library = find_faketime()
    assert library is not None
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": "1",  # seconds
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",
    }


def why_no_faketime() -> str | None:
    """The reason why clocks cannot jump here."""
    return None if find_faketime() is not None else "libfaketime is not installed"


def find_faketime() -> Path | None:
    """libfaketime, as Debian or a build of one's own installs it."""
    return next((path for pattern in _FAKETIME for path in Path("/").glob(pattern.lstrip("/"))), None)
