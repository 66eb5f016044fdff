"""`tillroll up` on an empty folder, through crashes, and started again: nothing that was accepted is gone."""

import json
import signal
from pathlib import Path

import psutil
import redis

from services.cli.run_state import RunState
from shared.streams import INTAKE_PAUSED
from tests.acceptance.system import System
from tests.servers import wait_until


def test_the_printed_command_places_an_order_that_a_restart_keeps(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        pasted = system.paste_first_order()
        placed = json.loads(pasted.stdout)["data"]
        wait_until(lambda: system.recorded("alice") == [placed["id"]], "the order is recorded")
        state = system.state
        assert system.stop(signal.SIGINT) == 0, system.output
        assert not any(child.process.find() for child in state.children.values())
        assert not any(str(place) in " ".join(process.info["cmdline"] or ()) for process in _processes())

        system.start()

        assert system.orders("alice") == [placed]
        assert system.recorded("alice") == [placed["id"]]


def test_an_order_is_accepted_while_the_consumer_is_down_and_recorded_when_it_is_back(running: System) -> None:
    pid = running.kill("consumer")
    answer = running.order("bella", {"1": 2, "3": 1}, 297)

    assert answer.status_code == 201, answer.text
    order_id = answer.json()["data"]["id"]
    assert [order["id"] for order in running.orders("bella")] == [order_id]
    wait_until(lambda: running.state.children["consumer"].process.pid != pid, "the consumer is started again")
    wait_until(lambda: running.recorded("bella") == [order_id], "the order is recorded")
    assert "consumer was ended by SIGKILL; restart" in running.output


def test_an_order_reads_alike_and_is_paid_before_the_consumer_sees_it_and_after(running: System) -> None:
    running.pause("consumer")
    try:
        placed = running.order("dora", {"1": 1, "2": 2}, 427).json()["data"]
        assert running.orders("dora") == [placed]
        assert running.pay("dora", placed["id"]).status_code == 200
        assert running.orders("dora") == [{**placed, "status": "paid"}]
        assert running.recorded("dora") == []
    finally:
        running.go_on("consumer")
    wait_until(lambda: running.recorded("dora") == [placed["id"]], "the order is recorded")
    wait_until(lambda: running.status()["pending"] == 0 and running.status()["lag"] == 0, "nothing is on its way")
    assert running.orders("dora") == [{**placed, "status": "paid"}]


def test_every_child_comes_back_after_kill_9(running: System) -> None:
    before = running.state
    order_id = running.order("carla", {"2": 1}, 149).json()["data"]["id"]

    for child in ("redis", "postgres", "gateway"):
        running.kill(child)

    wait_until(lambda: _are_new(before, running.state, "redis", "postgres", "gateway"), "all three are started again")
    wait_until(lambda: running.run("status").returncode == 0, "everything is up again", 60)
    wait_until(lambda: running.recorded("carla") == [order_id], "the order is recorded")
    assert [order["id"] for order in running.orders("carla")] == [order_id]


def test_a_killed_up_leaves_nothing_that_stands_in_the_way_of_the_next(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        answer = system.order("dora", {"3": 4}, 156)
        left = system.state
        system.stop(signal.SIGKILL)

        system.start()

        assert [order["id"] for order in system.orders("dora")] == [answer.json()["data"]["id"]]
        assert not any(child.process.find() for child in left.children.values())


def test_env_and_token_serve_a_shell(running: System) -> None:
    printed = running.run("env").stdout.splitlines()
    token = running.run("token", "erin", "--admin").stdout

    assert [line.partition("=")[0] for line in printed] == ["export REDIS_URL", "export DATABASE_URL"]
    assert token.count(".") == 2
    assert token == token.strip() + "\n"


def test_a_pause_is_shown_left_by_a_dry_run_and_lifted_once(running: System) -> None:
    with redis.Redis.from_url(running.state.redis_url) as client:
        client.set(INTAKE_PAUSED, "100 dead letters in a row")

    assert running.status()["paused"] == "100 dead letters in a row"
    assert running.run("resume", "--dry-run").stdout == "paused: 100 dead letters in a row\n"
    assert running.run("resume", "--why", "looked").stdout == "lifted the pause: 100 dead letters in a row\n"
    assert running.run("resume", "--why", "again").stdout == "intake is not paused\n"
    assert running.status()["paused"] is False


def test_migrating_again_changes_nothing(running: System) -> None:
    done = running.run("migrate")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def _are_new(before: RunState, now: RunState, *children: str) -> bool:
    return all(now.children[name].process.pid != before.children[name].process.pid for name in children)


def _processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["cmdline"]))
