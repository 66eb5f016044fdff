"""Where and on what a benchmark ran, as the servers themselves say it: durability is read back, never assumed."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from typing import Any

from services.bench.world import ROOT, World
from services.certify.roll import open_redis

_DURABILITY = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method")


async def describe_environment(world: World) -> dict[str, Any]:
    """Machine, versions, source, and what a commit and an answer of Redis are worth on these servers."""
    connection = await world.connect("postgres")
    try:
        postgres = {name: await connection.fetchval(f"SHOW {name}") for name in _DURABILITY}
        postgres_version = await connection.fetchval("SHOW server_version")
    finally:
        await connection.close()
    async with open_redis(world.redis_url) as redis:
        answer: Any = await redis.config_get("append*")
        redis_version = (await redis.info("server"))["redis_version"]
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short=12", "HEAD") + ("+" if _git("status", "--porcelain") else ""),
        "machine": f"{platform.system()} {platform.release()}, {os.cpu_count()} x {_processor()}",
        "cores": os.cpu_count() or 1,
        "load_average": round(os.getloadavg()[0], 2),
        "file_system": _file_system(world),
        "python": platform.python_version(),
        "redis": {"version": redis_version, "appendonly": answer["appendonly"], "appendfsync": answer["appendfsync"]},
        "postgres": {"version": postgres_version.split()[0], **postgres},
    }


def is_durable(environment: dict[str, Any]) -> bool:
    """Whether an answer means on disk, for Redis and for Postgres."""
    redis, postgres = environment["redis"], environment["postgres"]
    return bool(
        redis["appendonly"] == "yes"
        and redis["appendfsync"] == "always"
        and postgres["fsync"] == "on"
        and postgres["synchronous_commit"] == "on"
        and postgres["full_page_writes"] == "on"
    )


def _git(*arguments: str) -> str:
    """git's answer, or nothing where there is no git or no repository."""
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    except OSError:
        return ""
    return done.stdout.strip()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or "unknown processor"


def _file_system(world: World) -> str:
    """The kind of file system that holds the data: in memory, fsync would be free."""
    best = ("", "unknown")
    try:
        with open("/proc/mounts") as file:
            for line in file:
                _, place, kind, *_ = line.split()
                if str(world.folder).startswith(place) and len(place) > len(best[0]):
                    best = (place, kind)
    except OSError:
        return "unknown"
    return best[1]
