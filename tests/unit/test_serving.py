"""A server's process, for what only a process of its own shows."""

import subprocess
import sys

import pytest

_LOOK = "import gc; from {app} import create_app; app = create_app(); print(gc.get_freeze_count(), *gc.get_threshold())"


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
    told = subprocess.run([sys.executable, "-c", _LOOK.format(app=app)], capture_output=True, text=True, check=True)
    frozen, threshold, *_ = map(int, told.stdout.split())
    assert frozen > 50_000
    assert threshold == 100_000
