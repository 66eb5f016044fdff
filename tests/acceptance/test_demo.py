"""`tillroll demo` against the running system: nothing lost, nothing doubled, also when the consumer is killed."""

import json
import subprocess
from pathlib import Path

from tests.acceptance.system import TILLROLL, System, environment
from tests.servers import wait_until


def test_concurrent_duplicates_are_one_order_each_while_the_consumer_is_killed(place: Path) -> None:
    with System(place / "till") as system:
        system.start()
        command = [*TILLROLL, "demo", "--checkouts", "600", "--json", "--data-dir", str(system.folder)]
        pipe = subprocess.PIPE
        demo = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment({}), cwd="/")
        wait_until(lambda: system.status()["orders"] > 0, "the demo is under way")
        system.kill("consumer")
        assert demo.poll() is None
        printed, progress = demo.communicate(timeout=120)

        assert demo.returncode == 0, printed + progress
        verdict = json.loads(printed)
        assert verdict["is_good"]
        assert (verdict["orders"], verdict["users"], verdict["events"]) == (600, 100, 600)
        assert (verdict["lost"], verdict["doubled"], verdict["duplicates_answered_alike"]) == (0, 0, 1800)
        assert "600/600" in progress
        assert "consumer was ended by SIGKILL" in system.output
