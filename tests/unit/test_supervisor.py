"""What the supervisor guarantees for any child, held with children of a line of shell."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from services.cli import supervisor as supervising
from services.cli.supervisor import Child, GaveUp, Supervisor


class Till:
    """A folder for the children's notes, the lines that were announced and the pids that were started."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.lines: list[str] = []
        self.pids: dict[str, list[int]] = {}
        self.second_start = asyncio.Event()

    def supervise(self) -> Supervisor:
        def note_start(child: Child, pid: int) -> None:
            self.pids.setdefault(child.name, []).append(pid)
            if len(self.pids[child.name]) == 2:
                self.second_start.set()

        return Supervisor(self.lines.append, note_start)

    def child(self, name: str, shell: str, grace: float = 5, ready: str | None = None) -> Child:
        """A child whose readiness is that the file `ready` exists (its own name by default)."""

        async def is_ready() -> bool:
            return (self.folder / (ready or name)).exists()

        env = {"PATH": os.environ["PATH"], "NOTE": str(self.folder / name), "NOTES": str(self.folder / "notes")}
        log = self.folder / f"{name}.log"
        return Child(name, ("/bin/sh", "-c", shell), env, log, is_ready, grace=timedelta(seconds=grace))

    @property
    def notes(self) -> list[str]:
        return (self.folder / "notes").read_text().split()


@pytest.fixture
def till(tmp_path: Path) -> Till:
    return Till(tmp_path)


SERVE = 'trap "echo end-$(basename $NOTE) >> $NOTES; exit 0" TERM; touch $NOTE; while :; do sleep 0.02; done'


async def test_children_stop_in_the_reverse_order_of_their_start(till: Till) -> None:
    async with till.supervise() as supervisor:
        for name in ("redis", "postgres", "consumer"):
            await supervisor.start(till.child(name, SERVE))

    assert till.notes == ["end-consumer", "end-postgres", "end-redis"]
    assert not any(psutil.pid_exists(pid) for pids in till.pids.values() for pid in pids)


async def test_a_child_that_is_killed_is_started_again_with_a_line(till: Till) -> None:
    async with till.supervise() as supervisor, asyncio.timeout(10):
        await supervisor.start(till.child("gateway", SERVE))
        os.kill(till.pids["gateway"][0], signal.SIGKILL)
        await till.second_start.wait()

    assert till.lines[0] == "gateway was ended by SIGKILL; restart 1 in 0.1 s"


async def test_a_child_that_ends_again_and_again_is_given_up_loudly(
    till: Till, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervising, "LONGEST_DELAY", timedelta(milliseconds=1))
    monkeypatch.setattr(supervising, "FIRST_DELAY", timedelta(milliseconds=1))
    async with till.supervise() as supervisor, asyncio.timeout(10):
        with pytest.raises(GaveUp, match=r"consumer ended 11 times in a minute; giving up; its log .* no such table"):
            await supervisor.start(till.child("consumer", "echo no such table; exit 3"))

    assert till.lines[9] == "consumer ended with exit code 3; restart 10 in 0.001 s"


async def test_a_child_that_will_not_stop_is_killed_after_its_grace(till: Till) -> None:
    stubborn = 'trap "" TERM; touch $NOTE; while :; do sleep 0.02; done'
    async with asyncio.timeout(10), till.supervise() as supervisor:
        await supervisor.start(till.child("consumer", stubborn, grace=0.2))

    assert till.lines == ["consumer did not stop within 0.2 s; killed"]
    assert not psutil.pid_exists(till.pids["consumer"][0])


async def test_a_start_that_is_abandoned_leaves_no_child(till: Till) -> None:
    with pytest.raises(TimeoutError):
        async with till.supervise() as supervisor, asyncio.timeout(0.3):
            await supervisor.start(till.child("postgres", SERVE, ready="never"))

    assert not psutil.pid_exists(till.pids["postgres"][0])


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
async def test_children_end_with_a_parent_that_is_killed(till: Till) -> None:
    program = (
        "import signal; from subprocess import DEVNULL, Popen; from services.cli.children import spawn_options\n"
        "options = spawn_options(None, signal.SIGTERM)\n"
        "print(Popen(['sleep', '60'], stdout=DEVNULL, **options).pid, flush=True); input()"
    )
    pipe = asyncio.subprocess.PIPE
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdin=pipe, stdout=pipe)
    assert parent.stdout is not None
    child = psutil.Process(int(await parent.stdout.readline()))

    parent.kill()
    await parent.wait()

    assert await asyncio.to_thread(child.wait, 10) in (None, -signal.SIGTERM)
