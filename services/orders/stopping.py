"""How a stream of events hears that its process is about to end. Ends nothing by itself."""

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any


def when_stopping(act: Callable[[], None]) -> None:
    """Calls `act` at SIGTERM and SIGINT, before whoever has handled the signal until now.

    A server tells the app of its end (lifespan) after the last response: a stream would never hear of it.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()

    def relay_to(before: Callable[[int, FrameType | None], Any]) -> Callable[[int, FrameType | None], None]:
        def relay(number: int, frame: FrameType | None) -> None:
            loop.call_soon_threadsafe(act)
            before(number, frame)

        return relay

    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)
        if callable(before):
            signal.signal(number, relay_to(before))
