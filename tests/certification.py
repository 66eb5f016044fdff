"""The short certification: the one of CI, and the one that has to see what is broken on purpose."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
FAULTS = (
    "second-consumer-kill",
    "group-destroyed",
    "postgres-stop",
    "redis-kill",
    "redis-erased",
    "consumer-kill",
    "names-forgotten",
)
SHORT = ("--seed", "7", "--minutes", "0.5", "--rate", "20", "--faults", ",".join(FAULTS))


def certify(*arguments: str, seconds: float = 300) -> tuple[int, dict[str, Any]]:
    """Exit code and report of one run."""
    command = [sys.executable, "-m", "services.cli", "certify", "--json", *arguments]
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, cwd="/", env=environment, timeout=seconds
    )
    assert done.stdout, done.stderr
    return done.returncode, json.loads(done.stdout)
