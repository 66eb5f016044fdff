"""Segments: payloads of the archive outside Postgres, as compressed JSON lines in a folder or an S3-compatible store.

Owns their lines, their names and the store. Never says which events are moved, never deletes a segment.
"""

import asyncio
import gzip
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from obstore.exceptions import BaseError
from obstore.store import LocalStore, ObjectStore, S3Store

from shared.errors import TillrollError, Unavailable

MOST_EVENTS = 10_000
MOST_TEXT = 16 * 2**20  # bytes of payload; both bound what whoever reads a segment holds at once
_ENDING = ".jsonl.gz"
_ID = slice(len('{"event_id":"'), len('{"event_id":"') + 36)  # of every line
_PATIENCE = timedelta(seconds=20)  # with a store that does not answer


class SegmentUnreadable(Unavailable):
    """A segment is missing, or is not what was written: what needed it has changed nothing."""


class UnusablePlace(TillrollError):
    """No segment can lie at this URL."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A row of `archive_segments`. The place is `url`/`name`.jsonl.gz; `sha256` and `bytes` are of that file."""

    name: str
    url: str
    events: int
    first_accepted_at: datetime
    last_accepted_at: datetime
    sha256: str
    bytes: int

    @property
    def place(self) -> str:
        """Where it lies, for a person."""
        return f"{self.url.rstrip('/')}/{self.name}{_ENDING}"


def pack(rows: Sequence[Any], url: str) -> tuple[Segment, bytes]:
    """Whole rows of `events`, in the order of acceptance, and the content of their segment at `url`.

    Equal rows give the same name and bytes: what a killed run has left is written over with itself.
    """
    lines = b"".join(_line(row) for row in rows)
    content = gzip.compress(lines, 6, mtime=0)
    digest = hashlib.sha256(content).hexdigest()
    first, last = rows[0].accepted_at, rows[-1].accepted_at
    name = f"{first.astimezone(UTC):%Y%m%dT%H%M%S}-{digest[:16]}"
    return Segment(name, url, len(rows), first, last, digest, len(content)), content


def _line(row: Any) -> bytes:
    told = {
        "event_id": str(row.event_id),
        "type": row.type,
        "user_id": row.user_id,
        "order_id": str(row.order_id),
        "content_hash": row.content_hash,
        "payload": row.payload,  # as text: its bytes are what was accepted
        "stream": row.stream,
        "entry_id": row.entry_id,
        "accepted_at": row.accepted_at.astimezone(UTC).isoformat(),
        "recorded_at": row.recorded_at.astimezone(UTC).isoformat(),
        "consumer": row.consumer,
        "traceparent": row.traceparent,
    }
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


def lines_of(segment: Segment, content: bytes) -> Iterator[dict[str, Any]]:
    """The events in `content`; raises SegmentUnreadable unless it is, byte by byte, what was written."""
    return map(json.loads, _raw_lines(segment, content))


def _raw_lines(segment: Segment, content: bytes) -> list[bytes]:
    if hashlib.sha256(content).hexdigest() != segment.sha256:
        raise SegmentUnreadable(
            f"The segment {segment.place} is not what was written ({len(content)} bytes, {segment.bytes} were): "
            "restore it from a backup; `tillroll archive verify` names all that are damaged."
        )
    return gzip.decompress(content).splitlines()


def payloads_in(segment: Segment, content: bytes, wanted: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Of each wanted (event id, content hash) the payload, by event id; raises SegmentUnreadable when one is not."""
    left = dict(wanted)
    found = {}
    for raw in _raw_lines(segment, content):
        if (event_id := raw[_ID].decode()) not in left:  # most lines of most reads: they need no parsing
            continue
        line = json.loads(raw)
        if left[event_id] == line["content_hash"]:
            found[event_id] = line["payload"]
            del left[event_id]
    if left:
        raise SegmentUnreadable(f"The segment {segment.place} lacks event {next(iter(left))} as it was recorded.")
    return found


class SegmentStore:
    """The folder (`file:///...`) or bucket (`s3://bucket/prefix`) at `url`; raises UnusablePlace for any other.

    Keys and endpoint of S3 come from its usual `AWS_` variables. Every method raises SegmentUnreadable in one sentence.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("file", "s3") or (parts.scheme == "file" and parts.netloc):
            raise UnusablePlace(f"{url!r} is no place for segments: file:///FOLDER and s3://BUCKET/PREFIX are.")
        self.url = url
        self._folder = Path(unquote(parts.path)) if parts.scheme == "file" else None

    async def write(self, name: str, content: bytes) -> None:
        """Puts it there whole or not at all, on disk when this returns."""
        try:
            await self._open(mkdir=True).put_async(name + _ENDING, content)
            if self._folder is not None:
                await asyncio.to_thread(_sync, self._folder / (name + _ENDING))
        except (BaseError, OSError) as fault:
            raise self._unreadable(name, fault) from fault

    async def read(self, name: str) -> bytes:
        """The whole of it."""
        try:
            answer = await self._open().get_async(name + _ENDING)
            return bytes(await answer.bytes_async())
        except (BaseError, OSError) as fault:
            raise self._unreadable(name, fault) from fault

    async def names(self) -> set[str]:
        """The segments that lie there, known to Postgres or not."""
        try:
            pages = self._open(mkdir=True).list()
            return {found["path"].removesuffix(_ENDING) async for page in pages for found in page if _is_ours(found)}
        except (BaseError, OSError) as fault:
            raise self._unreadable("*", fault) from fault

    def _open(self, *, mkdir: bool = False) -> ObjectStore:
        if self._folder is not None:
            return LocalStore(self._folder, mkdir=mkdir)
        return S3Store.from_url(self.url, retry_config={"max_retries": 3, "retry_timeout": _PATIENCE})

    def _unreadable(self, name: str, fault: Exception) -> SegmentUnreadable:
        said = str(fault).splitlines()[0]
        return SegmentUnreadable(
            f"The segment {self.url.rstrip('/')}/{name}{_ENDING} cannot be had ({said}): bring it back, or make the "
            "place reachable; `tillroll archive verify` names all that are missing."
        )


def _is_ours(found: Any) -> bool:
    return found["path"].endswith(_ENDING) and "/" not in found["path"]


def _sync(file: Path) -> None:
    for path in (file, file.parent):
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
