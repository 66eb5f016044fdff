"""A server's process, for what only a process of its own shows."""

import subprocess
import sys

import pytest

_TELL = "print(gc.get_freeze_count(), *gc.get_threshold())"
_BY_FACTORY = "import gc; from {app} import create_app; app = create_app(); " + _TELL
_BY_COMMAND = (
    """
import gc, uvicorn
from services.cli.serve import Process, run_process
from shared.settings import load_settings
uvicorn.Server.run = lambda self: None
run_process(Process("{process}"), load_settings(), "127.0.0.1", 1)
"""
    + _TELL
)


def _is_told(code: str) -> None:
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    frozen, threshold, *_ = map(int, told.stdout.split())
    assert frozen > 50_000
    assert threshold == 100_000


@pytest.mark.parametrize(
    "app",
    [
        "services.gateway.app",
        "services.cart.app",
        "services.checkout.app",
        "services.orders.app",
        "services.orders.consumer",
        "services.storefront.app",
    ],
)
def test_a_server_never_stops_to_walk_the_heap_it_began_with(app: str) -> None:
    _is_told(_BY_FACTORY.format(app=app))


@pytest.mark.parametrize("process", ["checkout", "orders-consumer"])
def test_nor_does_one_of_a_deployment(process: str) -> None:
    _is_told(_BY_COMMAND.format(process=process))
