"""Waiting for a fact with a deadline, in tests that have an event loop."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

DEADLINE = 20  # seconds


async def until(fact: Callable[[], Awaitable[Any]], seconds: float = DEADLINE) -> Any:
    """What `fact` answers once that is true; fails the test when it is not so in time."""
    deadline = time.monotonic() + seconds
    while not (answer := await fact()):
        assert time.monotonic() < deadline, f"not within {seconds} s; the last answer was {answer!r}"
        await asyncio.sleep(0.02)
    return answer
