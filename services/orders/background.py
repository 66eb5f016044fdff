"""Work that goes on after the answer to whoever asked for it. Its row says how far it came, whatever ends it."""

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from redis.exceptions import RedisError
from sqlalchemy.exc import SQLAlchemyError

from shared.errors import TillrollError

log = logging.getLogger(__name__)
_running: set[asyncio.Task[None]] = set()  # the event loop alone would let go of them


def go_on(work: Coroutine[Any, Any, Any]) -> None:
    """Lets `work` run in this process; an outage or a refusal ends it with a line in the log."""

    async def run() -> None:
        try:
            await work
        except (TillrollError, RedisError, SQLAlchemyError, OSError, TimeoutError) as fault:
            log.warning("work_interrupted", extra={"fault": f"{type(fault).__name__}: {fault}"[:500]})

    task = asyncio.create_task(run())
    _running.add(task)
    task.add_done_callback(_running.discard)
