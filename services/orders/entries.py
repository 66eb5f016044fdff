"""An entry of the stream as Redis holds it, nothing lost: every field in order, repeated names and all bytes.

Reads Redis' raw answers (redis-py's own parser keeps one of two equal field names). Judges no content.
"""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from redis.asyncio import Redis

from shared.streams import STREAM

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

MOMENT = "to_timestamp(ms / 1000) + ms % 1000 * interval '1 millisecond'"
"""`moment` in SQL, of a bigint `ms`: whole seconds and the rest apart, for to_timestamp reckons in floats."""


class Entry(NamedTuple):
    """One entry. `fields` is empty for one that was deleted from the stream while it was pending."""

    entry_id: str
    fields: tuple[tuple[bytes, bytes], ...]
    stream: str = STREAM

    def field(self, name: str) -> bytes | None:
        """The value of the last field called `name`; None = there is none."""
        return dict(self.fields).get(name.encode())


def keep_raw(redis: "Redis") -> None:
    """Makes `redis` answer reads of streams as the server sent them, for `entries_of`."""
    for command in ("XREADGROUP", "XRANGE", "XREVRANGE", "XAUTOCLAIM"):
        redis.set_response_callback(command, _as_sent)  # type: ignore[arg-type]


def _as_sent(answer: Any, **_options: Any) -> Any:
    return answer or []  # FastStream iterates over the answer of a read that found nothing


def entries_of(answer: Sequence[Any] | None, stream: str = STREAM) -> list[Entry]:
    """Raw `[id, [name, value, ...]]` pairs as entries; Redis 6.2's nameless holes (claimed, deleted) are left out."""
    return [entry_of(pair[0], pair[1], stream) for pair in answer or () if pair is not None]


def entry_of(entry_id: bytes, flat: Sequence[bytes] | None, stream: str = STREAM) -> Entry:
    """One raw entry: `flat` is name, value, name, value ...; None = deleted."""
    values = flat or ()
    return Entry(entry_id.decode(), tuple(zip(values[::2], values[1::2], strict=True)), stream)


def id_parts(entry_id: str) -> tuple[int, int]:
    """An entry id as the pair of numbers that orders it."""
    milliseconds, _, sequence = entry_id.partition("-")
    return int(milliseconds), int(sequence or 0)


def moment(milliseconds: int) -> datetime:
    """Milliseconds since 1970 as an exact time (no float on the way)."""
    return _EPOCH + timedelta(milliseconds=milliseconds)
