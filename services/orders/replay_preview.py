"""What the consumer would make of entries, judged by its own code on copies of the rows that it would meet.

Later entries meet what earlier ones of the same preview have written, as they will. Touches no live row.
"""

from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.dead_letters import Reason
from services.orders.entries import Entry, id_parts
from services.orders.scratch import Scratch, open_scratch

Fields = tuple[tuple[bytes, bytes], ...]

CONFLICTS = (Reason.KEY_REUSED, Reason.CONTENT_CONFLICT)
_AFTER_ALL_OTHERS = 2**53  # ms: entries that are put back get later ids than every one that was there


class Outcome(StrEnum):
    """What becomes of one entry. An event that is recorded and buried (a refused status change) is a reject."""

    INSERT = "insert"
    ALREADY_THERE = "already_there"
    CONFLICT = "conflict"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Judgement:
    """The outcome of one entry; `detail` is the reason of its dead letter, or ''."""

    outcome: Outcome
    detail: str = ""


def count_outcomes(outcomes: Iterable[str]) -> dict[str, int]:
    """How many of each outcome, none left out, and the total."""
    found = Counter(outcomes)
    return {outcome.value: found[outcome.value] for outcome in Outcome} | {"total": found.total()}


class Preview:
    """Judges entries one page after the other.

    `revisions`: number of an entry of an earlier page (the first is 0) -> what a later one has made of it. A status
    change that came before its order is refused only when that comes.
    """

    def __init__(self, scratch: Scratch) -> None:
        self.revisions: dict[int, Judgement] = {}
        self._scratch = scratch
        self._judged = 0

    async def judge(self, page: Sequence[Fields]) -> list[Judgement]:
        """The outcomes of entries with these fields, in their order; raises what Postgres raises."""
        first = self._judged
        entries = [Entry(f"{_AFTER_ALL_OTHERS}-{first + number}", raw) for number, raw in enumerate(page)]
        self._judged += len(entries)
        await self._scratch.seed(entries)
        result = await self._scratch.record(entries)
        recorded = {arrival.entry.entry_id for arrival in result.recorded}
        buried = {letter.entry.entry_id: str(letter.reason) for letter in result.buried}
        for entry_id, reason in buried.items():
            milliseconds, number = id_parts(entry_id)
            if milliseconds == _AFTER_ALL_OTHERS and number < first:
                self.revisions[number] = _judgement(is_recorded=True, reason=reason)
        return [_judgement(entry.entry_id in recorded, buried.get(entry.entry_id)) for entry in entries]


def _judgement(is_recorded: bool, reason: str | None) -> Judgement:
    if reason is not None:
        return Judgement(Outcome.CONFLICT if reason in CONFLICTS else Outcome.REJECT, reason)
    return Judgement(Outcome.INSERT if is_recorded else Outcome.ALREADY_THERE)


@asynccontextmanager
async def open_preview(engine: AsyncEngine) -> AsyncIterator[Preview]:
    """A preview that starts from what is recorded now."""
    async with open_scratch(engine) as scratch:
        yield Preview(scratch)
