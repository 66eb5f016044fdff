"""What an acked entry survives under each policy of the append-only file: kill -9 of Redis, and the loss of power.

The loss of power is the file cut back to the last fdatasync that had ended when the ack was sent, as the kernel saw it.
"""

import re
import shutil
import signal
import subprocess
import time
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis

from services.cli.embedded import open_data_folder
from services.cli.embedded_redis import prepare_redis
from shared.settings import AofPolicy
from tests.conftest import redis_for_tests
from tests.servers import RunningServer, answers_redis, wait_until

SECONDS = 2.5  # of load: everysec syncs at least once

_LINE = re.compile(r"(\d+) +(?:(\w+)\(\d+<([^>]*)>|<\.\.\. (\w+) resumed>)(.*)")
_BYTES = re.compile(r"= (\d+)$")


@dataclass
class Trace:
    """The order in which the kernel saw writes to the file, syncs of it and answers to the client."""

    written: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    synced: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    acks: list[tuple[int, int]] = field(default_factory=list)
    """For each answered XADD: bytes in the file, and how many of them were on the disk."""
    _started: dict[str, tuple[str, str, str, int]] = field(default_factory=dict)

    @property
    def file(self) -> str:
        return max(self.written, key=lambda path: self.written[path])

    def read(self, path: Path) -> "Trace":
        for line in path.read_text(errors="replace").splitlines():
            parsed = _LINE.match(line)
            if parsed is None:
                continue
            thread, call, target, resumed, rest = parsed.groups()
            if "<unfinished" in rest:
                self._started[thread] = (call, target, rest, self.written[target])
                continue
            before = None
            if resumed:
                call, target, begun, before = self._started.pop(thread)
                rest = begun + rest
            done = _BYTES.search(rest)
            if done is not None:
                self._note(call, target, rest, int(done[1]), before)
        return self

    def _note(self, call: str, target: str, rest: str, result: int, before: int | None) -> None:
        if target.endswith(".aof") and call == "write":
            self.written[target] += result
        elif target.endswith(".aof"):
            self.synced[target] = self.written[target] if before is None else before  # what came during it may miss
        elif rest.startswith(', "$'):
            self.acks.append((self.written[self.file], self.synced[self.file]))

    def worst_moment(self) -> tuple[int, int]:
        """How many acks there had been, and the bytes on the disk, when a power failure would have cost the most."""
        number = max(range(len(self.acks)), key=lambda index: self.acks[index][0] - self.acks[index][1])
        return number + 1, self.acks[number][1]


@pytest.fixture
def strace() -> str:
    found = shutil.which("strace")
    if found is None:
        pytest.skip("strace is not installed")
    return found


def load(url: str) -> list[str]:
    """Entries of one client, each acked before the next is sent."""
    with redis.Redis.from_url(url) as client:
        until, acked = time.monotonic() + SECONDS, []
        while time.monotonic() < until:
            acked.append(client.xadd("log", {"payload": "x" * 300}).decode())
    return acked


def entries_after_restart(folder: Path, policy: AofPolicy) -> list[str]:
    server = prepare_redis(folder, policy, redis_for_tests())
    again = RunningServer(server, folder / "again.log", partial(answers_redis, server.url), signal.SIGTERM)
    again.start()
    try:
        with redis.Redis.from_url(server.url) as client:
            return [entry_id.decode() for entry_id, _ in client.xrange("log")]
    finally:
        again.stop()


@pytest.mark.parametrize("policy", AofPolicy)
def test_what_kill_9_and_what_a_power_failure_takes(policy: AofPolicy, strace: str, place: Path) -> None:
    folder = open_data_folder(place / "till")
    server = prepare_redis(folder, policy, redis_for_tests())
    trace = place / "trace"
    watch = [strace, "-f", "-y", "-s", "4", "-e", "trace=write,fdatasync,fsync", "-o", str(trace), *server.argv]
    with (folder / "redis.log").open("wb") as log:
        process = subprocess.Popen(watch, env=server.env, stdout=log, stderr=log, cwd="/")
    try:
        wait_until(lambda: answers_redis(server.url), f"Redis answers under strace; {folder / 'redis.log'}")
        acked = load(server.url)
    finally:
        for child in psutil.Process(process.pid).children():
            child.kill()
        process.wait(20)
    seen = Trace().read(trace)
    assert len(seen.acks) == len(acked)
    kept = entries_after_restart(folder, policy)
    assert kept == acked[: len(kept)], "what is left is the beginning"
    if policy is AofPolicy.ALWAYS:
        assert kept == acked, "kill -9 takes nothing: each answer comes after its write"

    acks, on_disk = seen.worst_moment()
    file = Path(seen.file)
    with file.open("r+b") as aof:
        aof.truncate(on_disk)
    left = entries_after_restart(folder, policy)
    assert left == acked[: len(left)], "what is left is the beginning"
    lost = acked[len(left) : acks]
    span = int(lost[-1].split("-")[0]) - int(lost[0].split("-")[0]) if lost else 0
    print(f"{policy}: {len(acked)} acked; the worst power failure takes {len(lost)} acked entries, of {span} ms")
    if policy is AofPolicy.ALWAYS:
        assert lost == []
        assert all(written == synced for written, synced in seen.acks), "no ack before its sync"
    else:
        assert lost
