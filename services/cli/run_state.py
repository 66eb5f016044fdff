"""What runs in a data folder: the lock that lets one `up` in, and the file that names its processes and URLs."""

import fcntl
import signal
from datetime import timedelta
from pathlib import Path
from typing import IO

import psutil
from pydantic import BaseModel, ValidationError

from services.cli.embedded import CannotStart, write_atomically

STATE_FILE = "running.json"
LOCK_FILE = "lock"
GRACE = timedelta(seconds=60)  # for leftovers; as long as the slowest child gets in an ordinary stop


class ProcessId(BaseModel):
    """A process, not mistaken for a later one with the same pid: `created` is its start, seconds since 1970."""

    pid: int
    created: float

    @classmethod
    def of(cls, pid: int) -> "ProcessId | None":
        """The identity of the running process `pid`; None when it has ended."""
        try:
            return cls(pid=pid, created=psutil.Process(pid).create_time())
        except psutil.NoSuchProcess:
            return None

    def find(self) -> psutil.Process | None:
        """The process, or None when it has ended."""
        try:
            process = psutil.Process(self.pid)
            is_same = abs(process.create_time() - self.created) < 0.05  # the kernel's clock ticks at 10 ms
        except psutil.NoSuchProcess:
            return None
        return process if is_same and process.status() != psutil.STATUS_ZOMBIE else None


class ChildState(BaseModel):
    """A recorded child and the signal that ends it cleanly."""

    process: ProcessId
    stop_signal: int = signal.SIGTERM


class RunState(BaseModel):
    """Everything that another command needs to find the running system."""

    supervisor: ProcessId
    redis_url: str
    database_url: str
    gateway_url: str
    consumer_url: str
    children: dict[str, ChildState] = {}

    def save(self, folder: Path) -> None:
        """Replaces the file. It may hold a password of a server of the user's own: mode 0600."""
        write_atomically(folder / STATE_FILE, self.model_dump_json(indent=2) + "\n")


def read_state(folder: Path) -> RunState | None:
    """The state that the last `up` in `folder` left, whether it still runs or not; None after a clean stop."""
    try:
        return RunState.model_validate_json((folder / STATE_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as fault:
        raise CannotStart(f"{folder / STATE_FILE} cannot be read; stop what runs in that folder, delete it.") from fault


def find_running(folder: Path) -> RunState | None:
    """The state of the `up` that runs in `folder` now, or None."""
    state = read_state(folder)
    return state if state is not None and state.supervisor.find() is not None else None


def forget_state(folder: Path) -> None:
    """After a clean stop."""
    (folder / STATE_FILE).unlink(missing_ok=True)


def lock_folder(folder: Path) -> IO[str]:
    """Holds the folder until the returned file is closed or we die. Raises CannotStart when another `up` holds it."""
    file = (folder / LOCK_FILE).open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as fault:
        file.close()
        raise CannotStart(
            f"Tillroll runs already on the data in {folder}; stop it first, or choose another --data-dir."
        ) from fault
    return file


def end_leftovers(folder: Path) -> list[str]:
    """Ends the children of an `up` that was killed, newest first, and returns their names. Call under the lock."""
    state = read_state(folder)
    ended = []
    for name, child in reversed(state.children.items() if state else ()):
        process = child.process.find()
        if process is None:
            continue
        ended.append(name)
        process.send_signal(child.stop_signal)
        try:
            process.wait(GRACE.total_seconds())
        except psutil.TimeoutExpired:
            process.kill()
            process.wait(GRACE.total_seconds())
    return ended
