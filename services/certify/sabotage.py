"""The product broken on purpose, one promise at a time: each entry edits a copy of the source, never the source.

What does not turn red with one of these in place proves nothing. tests/sabotage names the test that kills each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import TillrollError


class CannotSabotage(TillrollError):
    """The name is unknown, or the source no longer has what the edit replaces."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Exactly one place in `file`: `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A promise that is broken, and how. `is_seen_by_certify`: the short certify run must find it, too."""

    name: str
    edits: Sequence[Edit]
    is_seen_by_certify: bool = True


MUTATIONS = (
    Mutation(
        "ack-before-commit",
        (
            Edit(
                "services/orders/intake.py",
                "                    result = await self._persist(commit)\n",
                "                    await self.redis.xack(STREAM, GROUP, *[entry.entry_id for entry in piece])\n"
                "                    result = await self._persist(commit)\n",
            ),
        ),
    ),
    Mutation(
        "no-on-conflict",
        (
            Edit(
                "services/orders/record_events.py",
                "ORDER BY event_id\nON CONFLICT DO NOTHING\nRETURNING",
                "ORDER BY event_id\nRETURNING",
            ),
        ),
    ),
    Mutation(
        "random-event-id",
        (
            Edit("services/checkout/plan.py", "from uuid import UUID\n", "from uuid import UUID, uuid4\n"),
            Edit(
                "services/checkout/plan.py",
                "        if self.key is not None:\n            return self.key\n        if cart",
                "        if self.key is not None:\n            return uuid4()\n        if cart",
            ),
        ),
    ),
    Mutation(
        "group-at-the-end",
        (
            Edit(
                "services/orders/claims.py",
                'xgroup_create(STREAM, GROUP, id="0"',
                'xgroup_create(STREAM, GROUP, id="$"',
            ),
        ),
    ),
    Mutation(
        "no-claim",
        (
            Edit("services/orders/consumer.py", "await take_own(self.redis, self.settings, self.intake)", "take_own"),
            Edit("services/orders/consumer.py", "await claim_stranded(self.redis, self.settings, self.intake)", "pass"),
        ),
    ),
    Mutation(
        "overlay-after-postgres",
        (
            Edit(
                "services/orders/queries.py",
                "    accepted: list[Accepted] = []\n    is_partial = False\n",
                "    async with postgres_or_unavailable(_AWAY), engine.connect() as connection:\n"
                "        early = sa.select(orders, items_with()).where(orders.c.user_id == user_id, narrowed)\n"
                "        rows = {row.id: order_of(row) for row in await connection.execute(early)}\n"
                "    accepted: list[Accepted] = []\n    is_partial = False\n",
            ),
            Edit(
                "services/orders/queries.py",
                "        rows = {row.id: order_of(row) for row in await connection.execute(statement)}\n",
                "",
            ),
        ),
        is_seen_by_certify=False,
    ),
    Mutation(
        "trim-by-maxlen",
        (
            Edit(
                "services/checkout/accept_order.lua",
                "redis.call('XADD', KEYS[2], '*', 'event_id', event_id,",
                "redis.call('XADD', KEYS[2], 'MAXLEN', '32', '*', 'event_id', event_id,",
            ),
        ),
    ),
    Mutation(
        "user-left-out",
        (Edit("services/checkout/names.py", 'event_id_of("key", user_id, key)', 'event_id_of("key", key)'),),
    ),
    Mutation(
        "status-without-compare",
        (Edit("services/orders/change_status.lua", "if present ~= 'processing' then", "if false then"),),
        is_seen_by_certify=False,
    ),
    Mutation(
        "late-money-dropped",
        (
            Edit(
                "services/checkout/settle_payment.lua",
                "if record[3] ~= 'paid' then",
                "if record[3] == 'processing' then",
            ),
        ),
        is_seen_by_certify=False,
    ),
)
"""Small numbers where the product's would be large: a short run is small, too."""


def find_mutation(name: str) -> Mutation:
    """Raises CannotSabotage for an unknown name."""
    for mutation in MUTATIONS:
        if mutation.name == name:
            return mutation
    raise CannotSabotage(f"There is no sabotage {name!r}; there are: {', '.join(m.name for m in MUTATIONS)}.")


def sabotage(tree: Path, name: str) -> None:
    """Applies the mutation to the copy in `tree`; raises CannotSabotage when an edit does not fit exactly once."""
    for edit in find_mutation(name).edits:
        path = tree / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise CannotSabotage(f"{name}: {edit.file} has {text.count(edit.old)} times {edit.old!r}, must be once.")
        path.write_text(text.replace(edit.old, edit.new))
