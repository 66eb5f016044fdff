"""The full disk: Redis' files on a small file system of their own, which is made as small as what it holds."""

import asyncio
import os
import shutil
import subprocess
from contextlib import suppress
from functools import partial
from pathlib import Path

from redis.exceptions import RedisError

from services.certify.roll import open_redis
from services.certify.stage import PROBE, Stage
from services.certify.world import until

SMALL_DISK = "1g"


async def fill_disk(stage: Stage, hold: float) -> None:
    """The next write to the append-only file fails: Redis ends, and comes back when there is room."""
    disk, redis = stage.small_disk, stage.world.redis
    assert disk is not None
    redis.may_die = True
    used = shutil.disk_usage(disk).used
    try:
        _resize(disk, f"{used // 1024 + 8}k")
        await until(partial(_has_ended, stage), "Redis ends on a full disk", 10)
        await asyncio.sleep(hold)
    finally:
        _resize(disk, SMALL_DISK)
        await redis.start()
        redis.may_die = False


async def _has_ended(stage: Stage) -> bool:
    """Writes, whatever the load does, until Redis cannot."""
    with suppress(RedisError, OSError):
        async with open_redis(stage.redis_url) as redis:
            await redis.set(PROBE, b"x" * 16_384)
    return stage.world.redis.pid is None


def why_no_small_disk() -> str | None:
    """The reason why no file system can be mounted here."""
    if os.geteuid() != 0:
        return "only root may mount a small disk"
    return None if shutil.which("mount") else "there is no mount"


def mount_small_disk(place: Path) -> str | None:
    """A file system of its own at `place`; the reason when that fails."""
    command = ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK},mode=0700", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return None if done.returncode == 0 else done.stderr.strip()


def unmount(place: Path) -> None:
    """Undoes `mount_small_disk`."""
    subprocess.run(["umount", "--lazy", str(place)], capture_output=True, check=False)  # noqa: S603, S607


def _resize(disk: Path, size: str) -> None:
    subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)  # noqa: S603, S607
