"""What operators decide about dead letters: edit, requeue (once for each burial), discard with a reason.

The raw fields of a dead letter are never changed; an edit stands beside them. Never writes an order: what is put
back takes the consumer's ordinary way.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.audit import Act, Operator, audited
from services.orders.dead_letter_reads import (
    Letter,
    LetterFilters,
    State,
    ids_of,
    list_letters,
    lock_letters,
    read_letter,
)
from services.orders.dead_letters import DEAD_LETTER, fields_json, name_of
from services.orders.entries import Entry
from services.orders.parse_entry import parse_entry, readable_event_id
from services.orders.replay_preview import Fields, count_outcomes, open_preview
from shared.errors import ApiError, Unrecordable
from shared.redis import Script, hash_fields
from shared.streams import ACCEPTED_AT, EVENT_ID, PARTITION, PAYLOAD, order_key, overlay_key_of, user_digest

EDITABLE = (EVENT_ID, PAYLOAD, ACCEPTED_AT)
_PAGE = 100  # letters held in one transaction
_REMEMBER_FOR = timedelta(days=7)  # an operator who was cut off asks again long before
_REQUEUE = Script(__package__, "requeue_entry.lua")
_DISCARD = Script(__package__, "discard_checkout.lua")


@dataclass(slots=True)
class Fates:
    """What was done: letter id -> entry id (or '' for a discard), and the ids that were not `buried` any more."""

    done: dict[int, str] = field(default_factory=dict)
    skipped: list[int] = field(default_factory=list)
    dry_run: dict[str, int] | None = None

    def told(self) -> dict[str, Any]:
        """JSON for the audit trail and for the doors."""
        done = {str(letter_id): entry_id for letter_id, entry_id in self.done.items()}
        return {"count": len(done), "done": done, "skipped": self.skipped}


async def edit_letter(engine: AsyncEngine, letter_id: int, changes: Mapping[str, str], operator: Operator) -> Letter:
    """Keeps other fields for the letter's return, if the event in them could be recorded.

    Raises ApiError: 404 unknown, 409 not buried, 400 with what is wrong with the fields.
    """
    letter = await read_letter(engine, letter_id)
    fields = _edited(letter, changes)
    told = {"id": letter_id, "changes": sorted(changes)}
    async with audited(engine, operator, Act("dead-letters.edit", told)) as outcome:
        async with engine.begin() as connection:
            [held] = await lock_letters(connection, LetterFilters(ids=(letter_id,)))
            _require_buried(held)
            await connection.execute(_EDIT, {"id": letter_id, "fields": fields_json(fields)})
        outcome.result = {"edited": letter_id}
    return await read_letter(engine, letter_id)


_EDIT = text("UPDATE dead_letters SET edited_fields = CAST(:fields AS json) WHERE id = :id")


def _edited(letter: Letter, changes: Mapping[str, str]) -> Fields:
    """The letter's fields with `changes` in them; raises ApiError when no event could be made of them."""
    _require_buried(letter)
    if unknown := set(changes) - set(EDITABLE):
        raise ApiError(400, f"Only {', '.join(EDITABLE)} can be edited, not {', '.join(sorted(unknown))}")
    if not changes:
        raise ApiError(400, "Nothing to edit")
    try:
        values = {name: value.encode() for name, value in changes.items()}
    except UnicodeEncodeError as fault:
        raise ApiError(400, "The new fields are not text") from fault
    kept = [(name, value) for name, value in letter.fields if name.decode(errors="replace") not in values]
    fields = (*kept, *((name.encode(), value) for name, value in values.items()))
    edited = Entry(letter.entry_id, fields, letter.stream)
    before = readable_event_id(Entry(letter.entry_id, letter.fields, letter.stream))
    if before is not None and before != readable_event_id(edited):
        raise ApiError(400, "A readable event id stays: names and customers refer to it")
    try:
        parse_entry(edited)
    except Unrecordable as fault:
        raise ApiError(400, f"The edited entry cannot be recorded: {fault}") from fault
    return fields


def _require_buried(letter: Letter) -> None:
    if letter.state is not State.BURIED:
        raise ApiError(409, f"The dead letter {letter.id} is {letter.state}")


async def preview_requeue(engine: AsyncEngine, filters: LetterFilters) -> dict[str, int]:
    """How many of the buried letters the consumer would insert, know already, find in conflict or reject again."""
    outcomes: list[str] = []
    async with open_preview(engine) as preview:
        for ids in _pages(await ids_of(engine, _buried(filters))):
            letters = await list_letters(engine, LetterFilters(ids=ids, state=State.BURIED), limit=_PAGE)
            fields = [letter.fields for letter in reversed(letters) if letter.fields]
            outcomes += [judgement.outcome for judgement in await preview.judge(fields)]
    return count_outcomes(outcomes)


async def requeue_letters(engine: AsyncEngine, redis: "Redis", filters: LetterFilters, operator: Operator) -> Fates:
    """Puts the buried letters of `filters` back into the stream, oldest first, each once however often this is called.

    Letters without any field (their entry was deleted) are skipped: there is nothing to put back.
    """
    fates = Fates(dry_run=await preview_requeue(engine, filters))
    async with audited(engine, operator, Act("dead-letters.requeue", filters.told(), fates.dry_run)) as outcome:
        for ids in _pages(await _chosen(engine, filters, fates)):
            await _requeue_page(engine, redis, ids, operator, fates)
        outcome.result = fates.told()
    return fates


_SETTLE = text("""
UPDATE dead_letters
SET state = :state, settled_by = :who, settled_why = :why, settled_at = clock_timestamp(),
    requeued_as = CASE WHEN put_back.entry_id = '' OR put_back.entry_id = ANY(requeued_as) THEN requeued_as
                       ELSE requeued_as || put_back.entry_id END
FROM unnest(CAST(:ids AS bigint[]), CAST(:entry_ids AS text[])) AS put_back (id, entry_id)
WHERE dead_letters.id = put_back.id
""")


async def _requeue_page(
    engine: AsyncEngine, redis: "Redis", ids: Sequence[int], operator: Operator, fates: Fates
) -> None:
    """One transaction: its rows are held while the entries are written, so that a second caller waits and then sees.

    A crash before the commit leaves letters buried whose entry is in the stream: the script answers the same entry
    id when they are requeued again.
    """
    done: dict[int, str] = {}
    async with engine.begin() as connection:
        held = await lock_letters(connection, LetterFilters(ids=tuple(ids)))
        for letter in sorted(held, key=lambda letter: letter.id):
            if letter.state is not State.BURIED or not letter.fields:
                fates.skipped.append(letter.id)
                continue
            name = name_of(letter.entry_id, letter.fields_hash)
            keys = [letter.stream, f"till:{PARTITION}:requeued:{name}:{letter.attempts}"]
            args: list[str | bytes | int] = [int(_REMEMBER_FOR.total_seconds() * 1000)]
            fields = [pair for pair in letter.fields if pair[0] != DEAD_LETTER.encode()]
            args += [part for pair in (*fields, (DEAD_LETTER.encode(), name.encode())) for part in pair]
            done[letter.id] = (await _REQUEUE.run(redis, keys, args)).decode()
        await _settle(connection, State.REQUEUED, done, operator)
    fates.done |= done


async def preview_discard(engine: AsyncEngine, filters: LetterFilters) -> list[int]:
    """The ids of all buried letters of `filters`, oldest first."""
    return await ids_of(engine, _buried(filters))


async def discard_letters(engine: AsyncEngine, redis: "Redis", filters: LetterFilters, operator: Operator) -> Fates:
    """Gives the buried letters of `filters` up, and takes what they were about from their owners' sight.

    Repeating it on discarded letters finishes what a crash may have left. An order that is recorded stays.
    """
    fates = Fates()
    async with audited(engine, operator, Act("dead-letters.discard", filters.told())) as outcome:
        for ids in _pages(await _chosen(engine, filters, fates)):
            async with engine.begin() as connection:
                held = await lock_letters(connection, LetterFilters(ids=ids))
                buried = {letter.id: "" for letter in held if letter.state is State.BURIED}
                await _settle(connection, State.DISCARDED, buried, operator)
            fates.done |= buried
            fates.skipped += [letter.id for letter in held if letter.state is State.REQUEUED]
            for letter in held:
                if letter.state is not State.REQUEUED:
                    await _take_from_sight(redis, letter)
        outcome.result = fates.told()
    return fates


async def _take_from_sight(redis: "Redis", letter: Letter) -> None:
    if letter.event_id is None:
        return
    record = order_key(letter.event_id)
    [digest] = [user_digest(letter.user_id).encode()] if letter.user_id else await hash_fields(redis, record, "user")
    if digest is not None:
        is_checkout_lost = "0" if letter.is_recorded else "1"
        await _DISCARD.run(redis, [overlay_key_of(digest.decode()), record], [str(letter.event_id), is_checkout_lost])


async def _settle(connection: Any, state: State, done: Mapping[int, str], operator: Operator) -> None:
    if done:
        told = {"state": state, "who": operator.who, "why": operator.why}
        await connection.execute(_SETTLE, told | {"ids": list(done), "entry_ids": list(done.values())})


async def _chosen(engine: AsyncEngine, filters: LetterFilters, fates: Fates) -> list[int]:
    """Letters that were named are all looked at; of those that a filter finds, the buried ones."""
    if filters.ids is None:
        return await ids_of(engine, _buried(filters))
    found = await ids_of(engine, filters)
    fates.skipped += [letter_id for letter_id in filters.ids if letter_id not in found]
    return found


def _buried(filters: LetterFilters) -> LetterFilters:
    return filters.model_copy(update={"state": State.BURIED})


def _pages(ids: Sequence[int]) -> Iterator[tuple[int, ...]]:
    return (tuple(ids[start : start + _PAGE]) for start in range(0, len(ids), _PAGE))
