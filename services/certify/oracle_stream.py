"""The second half of the oracle: every entry that was ever in the stream against archive and dead letters."""

import json
from base64 import b64decode
from collections.abc import Mapping
from typing import Any
from uuid import UUID

import asyncpg
from redis.asyncio import Redis

from services.certify.history import Finding
from services.certify.oracle import Losses
from services.certify.poison import BY_KIND, MARK, RECORDED
from services.certify.roll import Fields, Roll, RollEntry, read_backlog
from shared.errors import Unrecordable
from shared.events import content_hash, decode

_ARCHIVE = "SELECT event_id::text, content_hash FROM events"
_LETTERS = "SELECT entry_id, reason, fields::text FROM dead_letters"
_OVERLAYS = "till:{0}:accepted:*"


async def judge_stream(
    connection: "asyncpg.Connection[asyncpg.Record]", roll: Roll, losses: Losses
) -> tuple[dict[str, int], list[Finding]]:
    """Nothing that was in the stream is missing, changed or set aside for the wrong reason. Counts letters by kind."""
    archive: dict[str, str] = dict(await connection.fetch(_ARCHIVE))
    rows = await connection.fetch(_LETTERS)
    letters: dict[str, str] = {entry_id: reason for entry_id, reason, _ in rows}
    findings, counts = [], dict.fromkeys(BY_KIND, 0)
    for entry in roll.entries.values():
        if entry.entry_id in losses.entry_ids:
            continue
        mark = entry.field(MARK)
        if mark is None:
            found = _judge_sound(entry, archive, letters)
        else:
            counts[mark.decode()] += 1
            found = _judge_marked(entry, mark.decode(), archive, letters)
        if found is not None:
            findings.append(found)
    for entry_id, _, fields in rows:
        if entry_id in roll.entries and _bytes_in(fields) != roll.entries[entry_id].fields:
            findings.append(Finding("a dead letter is the whole entry", f"{entry_id} was buried with other fields"))
    for entry_id in letters.keys() - roll.entries.keys():
        findings.append(Finding("dead letters are entries", f"{entry_id} was buried and never seen in the stream"))
    return counts, findings


def _bytes_in(fields: str) -> Fields:
    """The fields that a dead letter keeps: text, or base64 where they are none."""

    def part(kept: str | dict[str, str]) -> bytes:
        return kept.encode() if isinstance(kept, str) else b64decode(kept["base64"])

    return tuple((part(name), part(value)) for name, value in json.loads(fields))


def _judge_sound(entry: RollEntry, archive: Mapping[str, str], letters: Mapping[str, str]) -> Finding | None:
    if entry.entry_id in letters:
        return Finding("nothing sound is buried", f"{entry.entry_id} was buried: {letters[entry.entry_id]}")
    return _judge_archived(entry, archive)


def _judge_marked(
    entry: RollEntry, kind: str, archive: Mapping[str, str], letters: Mapping[str, str]
) -> Finding | None:
    expected, reason = BY_KIND[kind].reason, letters.get(entry.entry_id)
    if expected == RECORDED:
        return _judge_sound(entry, archive, letters)
    if reason == expected:
        return None
    told = f"{entry.entry_id} ({kind}) is {f'buried as {reason}' if reason else 'no dead letter'}, must be {expected}"
    return Finding("every poison is buried with its reason", told)


def _judge_archived(entry: RollEntry, archive: Mapping[str, str]) -> Finding | None:
    event_id, payload = entry.field(b"event_id"), entry.field(b"payload")
    try:
        name, digest = str(UUID((event_id or b"").decode())), content_hash(decode(payload or b""))
    except (ValueError, Unrecordable) as fault:
        return Finding("what is accepted can be recorded", f"{entry.entry_id}: {fault}")
    if archive.get(name) == digest:
        return None
    told = "is not in the archive" if name not in archive else "has other content in the archive"
    return Finding("every entry is archived", f"{entry.entry_id}: event {name} {told}")


async def judge_redis(redis: "Redis") -> list[Finding]:
    """What must be left in Redis after everything is recorded: nothing pending, nothing unread, no overlay."""
    findings = []
    backlog = await read_backlog(redis)
    if backlog is None or not backlog.is_drained:
        told = "there is no group" if backlog is None else str(backlog)
        findings.append(Finding("everything is acked", told))
    keys: list[Any] = [key async for key in redis.scan_iter(_OVERLAYS, count=1000)]
    if keys:
        findings.append(Finding("what is recorded leaves the overlay", f"{len(keys)} users, as {keys[0].decode()}"))
    return findings
