"""`tillroll up` as a user starts it: a process of its own, seen through its terminal, its port and other commands."""

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx

from services.cli.embedded_redis import bundled_redis
from services.cli.run_state import RunState, read_state
from services.cli.system import ROOT, free_port
from tests.servers import run_apart, wait_until

BOOT_WITHIN = 60  # seconds


class System:
    """One `tillroll up`, and the other commands on its data folder."""

    def __init__(self, folder: Path, port: int | None = None, env: Mapping[str, str] | None = None) -> None:
        self.folder = folder
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._env = environment(env or {})
        self._process: subprocess.Popen[bytes] | None = None
        self._tokens: dict[str, str] = {}
        self._terminal = tempfile.TemporaryFile()  # noqa: SIM115  lives as long as the object

    def __enter__(self) -> "System":
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop()
        self._terminal.close()

    def start(self) -> "System":
        """Starts and returns when the welcome is printed."""
        self.begin()
        wait_until(
            lambda: "Place a first order" in self.output or self.has_ended, "the welcome is printed", BOOT_WITHIN
        )
        assert not self.has_ended, self.output
        return self

    def begin(self) -> None:
        """Starts and returns at once."""
        command = [*TILLROLL, "up", "--data-dir", str(self.folder), "--port", str(self.port)]
        self._terminal.truncate(0)
        self._process = subprocess.Popen(
            command, env=self._env, stdin=subprocess.DEVNULL, stdout=self._terminal, stderr=self._terminal, cwd="/"
        )

    @property
    def output(self) -> str:
        """What the terminal shows."""
        return os.pread(self._terminal.fileno(), 1_000_000, 0).decode().replace("\0", "")

    @property
    def has_ended(self) -> bool:
        """Whether `up` is gone."""
        return self._process is not None and self._process.poll() is not None

    def wait(self) -> int:
        """The exit code, once `up` has ended by itself."""
        assert self._process is not None
        return self._process.wait(BOOT_WITHIN)

    def stop(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends `up` and returns its exit code."""
        assert self._process is not None
        self._process.send_signal(how)
        return self._process.wait(BOOT_WITHIN)

    @property
    def state(self) -> RunState:
        """What other commands find."""
        state = read_state(self.folder)
        assert state is not None
        return state

    def kill(self, child: str) -> int:
        """kill -9 of one child; its pid."""
        pid = self.state.children[child].process.pid
        os.kill(pid, signal.SIGKILL)
        return pid

    def order(self, user: str, items: Mapping[str, int], total: float, **headers: str) -> httpx.Response:
        """POST /api/orders as `user`."""
        body = {"total": total, "items": [{"id": product, "quantity": count} for product, count in items.items()]}
        sent = self._bearer(user) | {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"{self.url}/api/orders", json=body, headers=sent, trust_env=False)

    def orders(self, user: str) -> list[dict[str, Any]]:
        """GET /api/orders as `user`."""
        response = httpx.get(f"{self.url}/api/orders", headers=self._bearer(user), trust_env=False)
        orders: list[dict[str, Any]] = response.raise_for_status().json()["data"]
        return orders

    def pay(self, user: str, order_id: str, **headers: str) -> httpx.Response:
        """PATCH /api/orders as `user`."""
        sent = self._bearer(user) | headers
        return httpx.patch(f"{self.url}/api/orders", json={"id": order_id}, headers=sent, trust_env=False)

    def pause(self, child: str) -> None:
        """SIGSTOP: the process is there and does nothing."""
        os.kill(self.state.children[child].process.pid, signal.SIGSTOP)

    def go_on(self, child: str) -> None:
        """SIGCONT."""
        os.kill(self.state.children[child].process.pid, signal.SIGCONT)

    def recorded(self, user: str) -> list[str]:
        """The ids of the orders that Postgres holds for `user`."""
        found: list[str] = []

        async def read() -> None:
            connection = await asyncpg.connect(self.state.database_url)
            rows = await connection.fetch("SELECT id::text FROM orders WHERE user_id = $1", user)
            found.extend(row[0] for row in rows)
            await connection.close()

        run_apart(read())
        return found

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Another `tillroll` command on this data folder."""
        return run_tillroll(*command, "--data-dir", str(self.folder), env=self._env)

    def status(self) -> dict[str, Any]:
        """`tillroll status --json`."""
        found: dict[str, Any] = json.loads(self.run("status", "--json").stdout)
        return found

    def paste_first_order(self) -> subprocess.CompletedProcess[str]:
        """Runs the curl command that the welcome shows, as pasted into a shell."""
        command = re.search(r"^  (curl .*?\}')$", self.output, re.DOTALL | re.MULTILINE)
        assert command is not None, self.output
        return subprocess.run(
            ["/bin/sh", "-c", command[1]], capture_output=True, text=True, check=False, env=environment({})
        )

    def _bearer(self, user: str) -> dict[str, str]:
        if user not in self._tokens:
            self._tokens[user] = self.run("token", user).stdout.strip()
        return {"Authorization": f"Bearer {self._tokens[user]}"}


TILLROLL = (sys.executable, "-m", "services.cli")


def run_tillroll(*command: str, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """One `tillroll` command, from a directory that has nothing to do with the project."""
    return subprocess.run(
        [*TILLROLL, *command],
        capture_output=True,
        text=True,
        check=False,
        cwd="/",
        env=env or environment({}),
        timeout=60,
    )


def environment(extra: Mapping[str, str]) -> dict[str, str]:
    """PATH and HOME alone; the bundled Redis first on PATH when the run is about that one."""
    path, bundled = os.environ["PATH"], bundled_redis()
    if os.environ.get("TILLROLL_TEST_REDIS") == "6.2" and bundled is not None:
        path = f"{bundled.parent}:{path}"
    return {"PATH": path, "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT), **extra}
