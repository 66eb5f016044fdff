"""`tillroll serve`: one process of a deployment in the foreground, its log telling what it waits for.

Starts at once and waits inside: alive from the beginning, ready when what it needs is there, in whatever order the
processes of a deployment start.
"""

import logging
import socket
import time
from collections.abc import Callable
from enum import StrEnum
from importlib import import_module
from threading import Thread
from typing import Any

import uvicorn

from services.cli.healthcheck import ask
from shared.serving import serve
from shared.settings import Settings

KEEP_ALIVE = 5  # seconds; nginx closes its idle connections to a service after 4 s, so that it is always the first
FINISH_WITHIN = 8  # seconds for open requests after SIGTERM; nginx waits 7 s for an answer
ASK_EVERY = 1.0  # seconds

log = logging.getLogger(__name__)


class Process(StrEnum):
    """What can be served, as a deployment names it."""

    CART = "cart"
    CHECKOUT = "checkout"
    ORDERS = "orders"
    ORDERS_CONSUMER = "orders-consumer"
    STOREFRONT = "storefront"


_MODULES = {
    Process.CART: "services.cart.app",
    Process.CHECKOUT: "services.checkout.app",
    Process.ORDERS: "services.orders.app",
    Process.ORDERS_CONSUMER: "services.orders.consumer",
    Process.STOREFRONT: "services.storefront.app",
}


def run_process(process: Process, settings: Settings, host: str, port: int) -> None:
    """Serves `process` on `host`:`port` until SIGTERM, then finishes what is at hand.

    Raises TillrollError when `settings` cannot be used; a server that is away is waited for. A consumer without a
    name is called as its host: of several equal containers, each finds its own unfinished entries again.
    """
    if "consumer" not in settings.model_fields_set:
        settings = settings.model_copy(update={"consumer": socket.gethostname()})
    build: Callable[[Settings], Any] = import_module(_MODULES[process]).build
    config = uvicorn.Config(
        serve(build, settings),
        host=host,
        port=port,
        log_config=None,  # ours is set already
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=FINISH_WITHIN,
    )
    Thread(target=_tell_until_ready, args=(f"http://127.0.0.1:{port}/ready",), daemon=True).start()
    uvicorn.Server(config).run()


def _tell_until_ready(url: str) -> None:
    """Logs each new reason why the process is not ready, until it is."""
    begun, last = time.monotonic(), ""
    while True:
        time.sleep(ASK_EVERY)
        is_ready, said = ask(url)
        if is_ready:
            log.info("ready", extra={"seconds": round(time.monotonic() - begun, 1)})
            return
        if said != last:
            log.warning("waiting", extra={"for": said})
            last = said
