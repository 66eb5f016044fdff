"""What the run looked like second by second: throughput, lag, faults. Watches; changes nothing."""

import asyncio
import time
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

from services.certify.load import Load
from services.certify.roll import open_redis, read_backlog

EVERY = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. `at`: seconds since the beginning; the counts are totals; None = Redis could not be asked."""

    at: float
    answered: int
    unknown: int
    behind: int | None
    pending: int | None


@dataclass(frozen=True, slots=True)
class Blow:
    """A fault as it happened, in seconds since the beginning. `skipped`: the reason why it did not."""

    name: str
    begun: float
    ended: float
    skipped: str | None = None


class Timeline:
    """Samples and blows of one run."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.blows: list[Blow] = []
        self._start = time.monotonic()

    def now(self) -> float:
        """Seconds since the beginning."""
        return round(time.monotonic() - self._start, 2)

    async def watch(self, load: Load, redis_url: str) -> None:
        """Looks for ever."""
        answered = unknown = looked_at = 0
        while True:
            for answer in load.history.answers[looked_at:]:
                answered += answer.status in (200, 201)
                unknown += answer.status not in (200, 201)
            looked_at = len(load.history.answers)
            behind = pending = None
            try:
                async with open_redis(redis_url, 0.4) as redis:
                    backlog = await read_backlog(redis)
            except (RedisError, OSError):
                backlog = None
            if backlog is not None:
                behind, pending = backlog.behind, backlog.pending
            self.samples.append(Sample(self.now(), answered, unknown, behind, pending))
            await asyncio.sleep(EVERY)

    def public(self) -> dict[str, Any]:
        """For the JSON report."""
        return {"samples": [asdict(sample) for sample in self.samples], "faults": [asdict(blow) for blow in self.blows]}
