"""The state of the log at one moment, as a console shows it, and its rates between two moments. Reads only.

What cannot be known is None, never 0; a server that is away is `down`, and what it alone knows is None.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

import sqlalchemy as sa
from redis.asyncio import Redis
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.backlog import count_after
from services.orders.dead_letter_reads import State
from services.orders.look_at_stream import Consumer, StreamLook, look_at_stream
from services.orders.overlay_count import OverlayCount
from services.orders.pause import read_pause
from services.orders.tables import dead_letters
from shared.errors import Unavailable
from shared.postgres import postgres_or_unavailable
from shared.redis import hash_fields, redis_or_unavailable
from shared.streams import DUPLICATES, GROUP, NAME_KINDS, STREAM

KEPT = timedelta(minutes=5)
TREND_OVER = timedelta(seconds=10)
_LONGEST_GAP = timedelta(seconds=30)  # rates over a longer time hide what happened in it
_AWAY = "The overview is incomplete"

Reach = Literal["ok", "down"]


@dataclass(frozen=True, slots=True)
class Sample:
    """One moment (`at`: seconds since 1970). Rates are entries, or duplicates, a second since the sample before.

    `duplicates` are those suppressed since Redis began, by the kind of name that they were known by.
    """

    at: float
    redis: Reach = "down"
    postgres: Reach = "down"
    accepted_per_second: float | None = None
    recorded_per_second: float | None = None
    duplicates: Mapping[str, int] | None = None
    duplicates_per_second: Mapping[str, float] | None = None
    lag_entries: int | None = None
    lag_seconds: float | None = None
    lag_trend: float | None = None
    pending: int | None = None
    oldest_pending_seconds: float | None = None
    stream_length: int | None = None
    overlay: int | None = None
    dead_letters: int | None = None
    paused: str | None = None
    consumers: Sequence[Consumer] = field(default_factory=tuple)

    @property
    def backlog(self) -> int | None:
        """Entries that are not acked."""
        return None if self.lag_entries is None or self.pending is None else self.lag_entries + self.pending

    def public(self) -> dict[str, Any]:
        """JSON of it."""
        return asdict(self)


class Overview:
    """Samples of the last KEPT, each taken because somebody looks."""

    def __init__(self, redis: "Redis", engine: AsyncEngine) -> None:
        self.samples: deque[Sample] = deque()
        self._redis = redis
        self._engine = engine
        self._overlay = OverlayCount()
        self._written: tuple[int | None, str] | None = None  # how many entries ever, and the last one's id

    async def look(self) -> Sample:
        """One more sample; an outage is part of it and never raised."""
        sample = Sample(time.time())
        try:
            async with redis_or_unavailable(_AWAY):
                sample = await self._look_at_redis(sample)
        except Unavailable:
            self._written = None
        try:
            async with postgres_or_unavailable(_AWAY):
                sample = replace(sample, postgres="ok", dead_letters=await _count_buried(self._engine))
        except Unavailable:
            pass
        self.samples.append(sample)
        while self.samples[0].at < sample.at - KEPT.total_seconds():
            self.samples.popleft()
        return sample

    async def _look_at_redis(self, sample: Sample) -> Sample:
        look = await look_at_stream(self._redis)
        written = await self._count_written(look)
        group = next((group for group in look.groups if group.name == GROUP), None)
        oldest = group.oldest_pending if group else None
        sample = replace(
            sample,
            redis="ok",
            duplicates=await _read_duplicates(self._redis),
            stream_length=look.length,
            paused=await read_pause(self._redis),
            overlay=await self._overlay.count(self._redis),
            lag_entries=group.lag_entries if group else None,
            lag_seconds=group.lag_seconds if group else None,
            pending=group.pending if group else None,
            oldest_pending_seconds=oldest.age_seconds if oldest else None,
            consumers=group.consumers if group else (),
        )
        return _with_rates(sample, self.samples, written)

    async def _count_written(self, look: StreamLook) -> int | None:
        """Entries written since the sample before; Redis counts them since 7.0, before that they are read."""
        before, self._written = self._written, (0, "0-0")
        if look.length or look.groups:  # else there may be no stream to ask about
            stream: dict[str, Any] = await self._redis.xinfo_stream(STREAM)
            self._written = (stream.get("entries-added"), stream["last-generated-id"].decode())
        if before is None:
            return None
        if before[0] is not None and self._written[0] is not None:
            return self._written[0] - before[0]
        return await count_after(self._redis, before[1].encode())


async def _read_duplicates(redis: "Redis") -> Mapping[str, int]:
    counts = await hash_fields(redis, DUPLICATES, *NAME_KINDS)
    return {kind: int(count or 0) for kind, count in zip(NAME_KINDS, counts, strict=True)}


_BURIED = sa.select(sa.func.count()).select_from(dead_letters).where(dead_letters.c.state == State.BURIED)


async def _count_buried(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int((await connection.execute(_BURIED)).scalar_one())


def _with_rates(sample: Sample, before: Sequence[Sample], written: int | None) -> Sample:
    """Recorded is what was written and is not waiting any more: an entry is acked only after its commit."""
    if not before or not 0 < (seconds := sample.at - before[-1].at) <= _LONGEST_GAP.total_seconds():
        return sample
    is_written_known = written is not None and written >= 0
    acked = None
    if is_written_known and sample.backlog is not None and before[-1].backlog is not None:
        acked = written + before[-1].backlog - sample.backlog  # type: ignore[operator]
    return replace(
        sample,
        accepted_per_second=round(written / seconds, 2) if is_written_known else None,  # type: ignore[operator]
        recorded_per_second=round(acked / seconds, 2) if acked is not None and acked >= 0 else None,
        duplicates_per_second=_duplicate_rates(sample, before[-1], seconds),
        lag_trend=_trend(sample, before),
    )


def _duplicate_rates(sample: Sample, before: Sample, seconds: float) -> Mapping[str, float] | None:
    """By kind of name; None when Redis has begun anew."""
    if sample.duplicates is None or before.duplicates is None:
        return None
    counted = {kind: count - before.duplicates[kind] for kind, count in sample.duplicates.items()}
    return None if min(counted.values()) < 0 else {kind: round(count / seconds, 2) for kind, count in counted.items()}


def _trend(sample: Sample, before: Sequence[Sample]) -> float | None:
    """Entries a second by which the lag has grown over TREND_OVER."""
    earliest = sample.at - TREND_OVER.total_seconds() - 1
    earlier = next((one for one in before if one.at >= earliest and one.lag_entries is not None), None)
    if earlier is None or sample.lag_entries is None:
        return None
    return round((sample.lag_entries - earlier.lag_entries) / (sample.at - earlier.at), 2)  # type: ignore[operator]
