"""`tillroll up` on an empty folder, through crashes, and started again: nothing that was accepted is gone."""

import json
import signal
from pathlib import Path

import psutil

from services.cli.run_state import RunState
from tests.acceptance.system import System
from tests.servers import wait_until


def test_the_printed_command_places_an_order_that_a_restart_keeps(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        pasted = system.paste_first_order()
        placed = json.loads(pasted.stdout)["data"]
        wait_until(lambda: system.status()["orders"] == 1, "the order is recorded")
        assert system.stop(signal.SIGINT) == 0, system.output

        system.start()

        assert system.orders("alice") == [placed]
        assert system.status()["orders"] == 1


def test_an_order_is_accepted_while_the_consumer_is_down_and_recorded_when_it_is_back(place: Path) -> None:
    with System(place / "till") as system:
        system.start()

        pid = system.kill("consumer")
        answer = system.order("bella", {"1": 2, "3": 1}, 297)

        assert answer.status_code == 201, answer.text
        assert [order["id"] for order in system.orders("bella")] == [answer.json()["data"]["id"]]
        wait_until(lambda: system.state.children["consumer"].process.pid != pid, "the consumer is started again")
        wait_until(lambda: system.status()["orders"] == 1, "the order is recorded")
        assert "consumer was ended by SIGKILL; restart 1" in system.output


def test_every_child_comes_back_after_kill_9(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        before = system.state
        answer = system.order("carla", {"2": 1}, 149)

        for child in ("redis", "postgres", "gateway"):
            system.kill(child)

        wait_until(
            lambda: _are_new(before, system.state, "redis", "postgres", "gateway"), "all three are started again"
        )
        wait_until(lambda: system.run("status").returncode == 0, "everything is up again", 60)
        wait_until(lambda: system.status()["orders"] == 1, "the order is recorded")
        assert [order["id"] for order in system.orders("carla")] == [answer.json()["data"]["id"]]


def test_a_killed_up_leaves_nothing_that_stands_in_the_way_of_the_next(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        answer = system.order("dora", {"3": 4}, 156)
        left = system.state
        system.stop(signal.SIGKILL)

        system.start()

        assert [order["id"] for order in system.orders("dora")] == [answer.json()["data"]["id"]]
        assert not any(child.process.find() for child in left.children.values())


def test_a_stopped_up_leaves_no_process(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        state = system.state

        assert system.stop() == 0

        assert not any(child.process.find() for child in state.children.values())
        assert not any(str(place) in " ".join(process.info["cmdline"] or ()) for process in _processes())


def test_env_and_token_serve_a_shell(place: Path) -> None:
    with System(place / "till") as system:
        system.start()

        printed = system.run("env").stdout.splitlines()
        token = system.run("token", "erin", "--admin").stdout

        assert [line.partition("=")[0] for line in printed] == ["export REDIS_URL", "export DATABASE_URL"]
        assert token.count(".") == 2
        assert token == token.strip() + "\n"


def _are_new(before: RunState, now: RunState, *children: str) -> bool:
    return all(now.children[name].process.pid != before.children[name].process.pid for name in children)


def _processes() -> list[psutil.Process]:
    return list(psutil.process_iter(["cmdline"]))
