"""Ends every wait of a run in time, with a sentence about what it waited for. Knows nothing of what is waited for."""

import asyncio
from collections.abc import Callable, Collection, Coroutine
from typing import Any, TypeVar

from services.certify.world import DoesNotRun

_CANCELLED_WITHIN = 30  # seconds

T = TypeVar("T")


async def within(seconds: float, work: Coroutine[Any, Any, T], pends: Callable[[], str]) -> T:
    """What `work` returns; after `seconds` it is ended and DoesNotRun raised, which says what `pends`."""
    task = asyncio.create_task(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
        if not task.done():
            raise DoesNotRun(f"after {seconds:g} s: {pends()}")
    finally:
        await end_all([task])
    return task.result()


async def end_all(tasks: "Collection[asyncio.Task[Any]]") -> None:
    """Cancels until they have ended: a library on the way may have taken a cancellation for an error of its own."""
    pending = {task for task in tasks if not task.done()}
    for _ in range(_CANCELLED_WITHIN):
        if not pending:
            return
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=1)
