"""`tillroll demo` against the running system: nothing lost, nothing doubled, also when the consumer is killed."""

import json
import subprocess

from tests.acceptance.system import TILLROLL, System, environment
from tests.servers import wait_until


def test_concurrent_duplicates_are_one_order_each_while_the_consumer_is_killed(running: System) -> None:
    before = running.status()["orders"]
    command = [*TILLROLL, "demo", "--checkouts", "600", "--json", "--data-dir", str(running.folder)]
    pipe = subprocess.PIPE
    demo = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment({}), cwd="/")
    wait_until(lambda: running.status()["orders"] > before, "the demo is under way")
    running.kill("consumer")
    assert demo.poll() is None
    printed, progress = demo.communicate(timeout=120)

    assert demo.returncode == 0, printed + progress
    verdict = json.loads(printed)
    assert verdict["is_good"]
    assert (verdict["orders"], verdict["users"], verdict["events"]) == (600, 100, 600)
    assert (verdict["lost"], verdict["doubled"], verdict["duplicates_answered_alike"]) == (0, 0, 1800)
    assert "600/600" in progress
