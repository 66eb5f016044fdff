"""Entries set aside with their reason, whole and searchable. Never decides that an entry is one."""

import base64
import hashlib
import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from services.orders.entries import Entry
from shared.observability import BURIED

DEAD_LETTER = "dead_letter"
"""Field of an entry that an operator put back: the name of the dead letter that it was, see `name_of`."""

log = logging.getLogger(__name__)


class Reason(StrEnum):
    """Why an entry is a dead letter: the words that operators filter by."""

    DELETED = "deleted"  # gone from the stream while pending: nothing is left to record
    MISSING_EVENT_ID = "missing_event_id"
    INVALID_EVENT_ID = "invalid_event_id"
    MISSING_ACCEPTED_AT = "missing_accepted_at"
    INVALID_ACCEPTED_AT = "invalid_accepted_at"
    MISSING_PAYLOAD = "missing_payload"
    UNDECODABLE = "undecodable"
    KEY_REUSED = "key_reused"  # a checkout's event id with other content than the archive's
    CONTENT_CONFLICT = "content_conflict"  # the same, any other event
    NOT_OWNER = "not_owner"
    PAID_AFTER_CANCEL = "paid_after_cancel"
    CANCELLED_AFTER_PAID = "cancelled_after_paid"
    AMOUNT_DIFFERS = "amount_differs"  # paid money that is not the order's total, or of another currency
    PAID_TWICE = "paid_twice"  # by two payment sessions
    UNKNOWN_PRODUCT = "unknown_product"  # paid for, and neither accepted before nor in the catalogue
    FOREIGN_PAYMENT = "foreign_payment"  # paid money that no payment session of ours asked for
    REFUSED_BY_POSTGRES = "refused_by_postgres"
    KILLS_CONSUMER = "kills_consumer"
    LOST_WITH_REDIS = "lost_with_redis"  # in hand while the names were reloaded without it


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """An entry and the reason for which it is set aside; `event_id` and `user_id` where they could be read."""

    entry: Entry
    reason: str
    detail: str
    event_id: UUID | None = None
    user_id: str | None = None


_BURY = text("""
INSERT INTO dead_letters (stream, entry_id, fields_hash, reason, detail, fields, event_id, user_id, consumer)
SELECT stream, entry_id, fields_hash, reason, detail, CAST(fields AS json), event_id, user_id, :consumer
FROM unnest(CAST(:streams AS text[]), CAST(:entry_ids AS text[]), CAST(:hashes AS text[]), CAST(:reasons AS text[]),
            CAST(:details AS text[]), CAST(:fields AS text[]), CAST(:event_ids AS uuid[]), CAST(:user_ids AS text[]))
     AS letter (stream, entry_id, fields_hash, reason, detail, fields, event_id, user_id)
ORDER BY stream, entry_id, fields_hash
ON CONFLICT (stream, entry_id, fields_hash) DO UPDATE
SET attempts = dead_letters.attempts + 1, last_failed_at = clock_timestamp(),
    reason = excluded.reason, detail = excluded.detail, consumer = excluded.consumer
""")


_BURY_AGAIN = text("""
UPDATE dead_letters
SET state = 'buried', attempts = attempts + 1, last_failed_at = clock_timestamp(),
    reason = again.reason, detail = again.detail, consumer = :consumer,
    requeued_as = CASE WHEN again.put_back_as = ANY(requeued_as) THEN requeued_as
                       ELSE requeued_as || again.put_back_as END
FROM unnest(CAST(:streams AS text[]), CAST(:names AS text[]), CAST(:put_back_as AS text[]), CAST(:reasons AS text[]),
            CAST(:details AS text[]))
     AS again (stream, name, put_back_as, reason, detail)
WHERE dead_letters.stream = again.stream AND dead_letters.entry_id = split_part(again.name, '/', 1)
  AND dead_letters.fields_hash = split_part(again.name, '/', 2)
RETURNING again.name
""")


async def bury(connection: AsyncConnection, letters: Sequence[DeadLetter], consumer: str) -> None:
    """Writes `letters` in the transaction of `connection`. One that is there already counts one attempt more.

    An entry that was put back by an operator becomes again the dead letter that it was.
    """
    unique = {(letter.entry.stream, letter.entry.entry_id, fields_hash(letter.entry)): letter for letter in letters}
    put_back = await _put_back(connection, list(unique.values()))
    if put_back:
        answer = await connection.execute(
            _BURY_AGAIN,
            {
                "consumer": consumer,
                "streams": [letter.entry.stream for letter in put_back],
                "names": [_former_name(letter) for letter in put_back],
                "put_back_as": [letter.entry.entry_id for letter in put_back],
                "reasons": [str(letter.reason) for letter in put_back],
                "details": [_storable(letter.detail) for letter in put_back],
            },
        )
        known = {name for (name,) in answer}
        unique = {key: letter for key, letter in unique.items() if _former_name(letter) not in known}
    if not unique:
        return
    rows = list(unique.values())
    await connection.execute(
        _BURY,
        {
            "consumer": consumer,
            "streams": [key[0] for key in unique],
            "entry_ids": [key[1] for key in unique],
            "hashes": [key[2] for key in unique],
            "reasons": [str(letter.reason) for letter in rows],
            "details": [_storable(letter.detail) for letter in rows],
            "fields": [fields_json(letter.entry.fields) for letter in rows],
            "event_ids": [letter.event_id for letter in rows],
            "user_ids": [letter.user_id for letter in rows],
        },
    )


_FORMER_FIELDS = text("""
SELECT claim.name, COALESCE(edited_fields, fields)
FROM unnest(CAST(:streams AS text[]), CAST(:names AS text[])) AS claim (stream, name)
JOIN dead_letters ON dead_letters.stream = claim.stream AND dead_letters.entry_id = split_part(claim.name, '/', 1)
                 AND dead_letters.fields_hash = split_part(claim.name, '/', 2)
""")


async def _put_back(connection: AsyncConnection, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
    """Those that are what an operator put back: one that only says so has content of its own to keep."""
    claims = [letter for letter in letters if _former_name(letter)]
    if not claims:
        return []
    told = {"streams": [letter.entry.stream for letter in claims], "names": [_former_name(letter) for letter in claims]}
    former = {name: raw_fields(fields) for name, fields in await connection.execute(_FORMER_FIELDS, told)}
    return [
        letter
        for letter in claims
        if (fields := former.get(_former_name(letter))) and _without_name(fields) == _without_name(letter.entry.fields)
    ]


def _without_name(fields: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    return [pair for pair in fields if pair[0] != DEAD_LETTER.encode()]


def announce(letters: Sequence[DeadLetter]) -> None:
    """Counts and logs `letters`; call it after their commit. Details quote content, so they stay in the table."""
    for letter in letters:
        BURIED.labels(reason=str(letter.reason)).inc()
        log.error(
            "dead_letter",
            extra={
                "reason": str(letter.reason),
                "stream": letter.entry.stream,
                "entry_id": letter.entry.entry_id,
                "event_id": str(letter.event_id) if letter.event_id else None,
            },
        )


def fields_hash(entry: Entry) -> str:
    """sha256 (hex) of the raw fields: with stream and entry id it names a dead letter."""
    digest = hashlib.sha256()
    for pair in entry.fields:
        for part in pair:
            digest.update(len(part).to_bytes(8, "big"))  # so that no two lists of fields spell alike
            digest.update(part)
    return digest.hexdigest()


def name_of(entry_id: str, digest: str) -> str:
    """What an entry that is put back calls the dead letter of `entry_id` whose fields have the hash `digest`."""
    return f"{entry_id}/{digest}"


def _former_name(letter: DeadLetter) -> str | None:
    name = letter.entry.field(DEAD_LETTER)
    return name.decode("ascii", errors="replace").replace("\x00", "") if name else None


def _storable(detail: str) -> str:
    return detail.encode(errors="replace").decode().replace("\x00", "\\x00")


def raw_fields(stored: Sequence[Sequence[str | dict[str, str]]]) -> tuple[tuple[bytes, bytes], ...]:
    """The bytes of the fields that a dead letter keeps as JSON."""
    return tuple((_bytes_of(name), _bytes_of(value)) for name, value in stored)


def _bytes_of(part: str | dict[str, str]) -> bytes:
    return part.encode() if isinstance(part, str) else base64.b64decode(part["base64"])


def fields_json(fields: Sequence[tuple[bytes, bytes]]) -> str:
    """The JSON that a dead letter keeps of its fields; `raw_fields` is the way back."""
    return json.dumps([[_readable(part) for part in pair] for pair in fields])


def _readable(part: bytes) -> str | dict[str, str]:
    """Text where Postgres can hold it as text, else base64: either way no byte is lost."""
    try:
        plain = part.decode()
    except UnicodeDecodeError:
        plain = "\x00"
    return {"base64": base64.b64encode(part).decode()} if "\x00" in plain else plain
