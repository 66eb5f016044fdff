"""Waiting for a fact with a deadline, in tests that have an event loop."""

import asyncio
import time
from collections.abc import Callable
from inspect import isawaitable
from typing import Any

DEADLINE = 20  # seconds


async def until(fact: Callable[[], Any], seconds: float = DEADLINE) -> Any:
    """What `fact` answers, at once or awaited, as soon as that is true; fails the test when it is not so in time."""
    deadline = time.monotonic() + seconds
    while True:
        answer = fact()
        if isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < deadline, f"not within {seconds} s; the last answer was {answer!r}"
        await asyncio.sleep(0.02)
