"""What the present code would make of a range of events, held against what stands in the live tables.

Works in scratch tables that start empty; reads the live ones, never writes them.
"""

from dataclasses import dataclass, field
from typing import Any

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.entries import Entry
from services.orders.replay_preview import count_outcomes
from services.orders.replay_source import ReplayRange, Source, find_bound, read_page
from services.orders.scratch import Scratch, open_scratch

MAX_SHOWN = 1000  # differences; their number is always exact
_PAGE = 500


@dataclass(slots=True)
class ShadowReport:
    """`events` counts what became of them in the shadow; `compared` orders; `differences` at most MAX_SHOWN."""

    events: dict[str, int] = field(default_factory=dict)
    compared: int = 0
    statuses_not_compared: int = 0
    differing: int = 0
    differences: list[dict[str, Any]] = field(default_factory=list)

    def public(self) -> dict[str, Any]:
        """JSON of it."""
        return {
            "events": self.events,
            "orders_compared": self.compared,
            "statuses_not_compared": self.statuses_not_compared,
            "differing": self.differing,
            "differences": self.differences,
        }


async def shadow_replay(engine: AsyncEngine, redis: "Redis", source: Source, chosen: ReplayRange) -> ShadowReport:
    """Runs the range through the consumer's code and reports where its orders differ from the live ones.

    A status is compared where the range holds every event of the order; an event of which the range holds another
    content than the archive is counted as a conflict and not compared.
    """
    report, outcomes = ShadowReport(), []
    position, is_last = "", False
    bound = await find_bound(engine, redis, source)
    async with open_scratch(engine) as scratch:
        async with scratch.engine.begin() as connection:
            await connection.execute(text("CREATE TEMP TABLE chosen (event_id uuid PRIMARY KEY)"))
        while not is_last:
            page = await read_page(engine, redis, source, chosen, bound, position, _PAGE)
            entries = [Entry(_entry_id(source, original.source_id), original.fields) for original in page.originals]
            result = await scratch.record(entries)
            outcomes += ["insert"] * len(result.recorded) + ["already_there"] * len(result.duplicates)
            outcomes += ["reject"] * len(result.buried)
            await _note_chosen(scratch, [original.event_id for original in page.originals if original.event_id])
            position, is_last = page.position, page.is_last
        report.events = count_outcomes(outcomes)
        await _compare(scratch, report)
    return report


def _entry_id(source: Source, source_id: str) -> str:
    return source_id if source is Source.STREAM else "0-1"  # the archive's order of acceptance decides


async def _note_chosen(scratch: Scratch, event_ids: list[Any]) -> None:
    statement = text("INSERT INTO chosen SELECT unnest(CAST(:event_ids AS uuid[])) ON CONFLICT DO NOTHING")
    async with scratch.engine.begin() as connection:
        await connection.execute(statement, {"event_ids": event_ids})


_COMPARABLE = """
SELECT chosen.event_id AS id FROM chosen
WHERE NOT EXISTS ( -- the archive took another content under this id
    SELECT FROM {live}.events there JOIN events here USING (event_id)
    WHERE there.event_id = chosen.event_id AND there.content_hash <> here.content_hash)
"""
_ITEMS = """
(SELECT json_agg(json_build_object('product_id', product_id, 'title', title, 'unit_price', unit_price,
                                   'quantity', quantity) ORDER BY line)
 FROM {schema}order_items items WHERE items.order_id = {schema}orders.id)
"""
_SIDE = """
SELECT id, CAST(user_id AS text), CAST(total AS text), CAST(created_at AS text), payment_session_id,
       CAST({items} AS text) AS items, status FROM {schema}orders
"""
_WHOLE = """
SELECT order_id FROM {live}.events WHERE order_id IN (SELECT id FROM comparable)
GROUP BY order_id HAVING bool_and(event_id IN (SELECT event_id FROM events))
"""


def _side(schema: str) -> str:
    return _SIDE.replace("{items}", _ITEMS).replace("{schema}", schema)


_DIFFERENCES = f"""
WITH comparable AS ({_COMPARABLE}), whole AS ({_WHOLE}),
live AS ({_side("{live}.")} WHERE id IN (SELECT id FROM comparable)),
shadow AS ({_side("pg_temp.")} WHERE id IN (SELECT id FROM comparable)),
pairs AS (
    SELECT id, row_to_json(live) AS live, row_to_json(shadow) AS shadow,
           coalesce(live.status IN ('paid', 'cancelled') OR shadow.status IN ('paid', 'cancelled'), false)
               AND id NOT IN (SELECT order_id FROM whole) AS is_status_open
    FROM live FULL JOIN shadow USING (id)
)
"""  # noqa: S608  no value in it
_COUNT = "SELECT count(*), count(*) FILTER (WHERE is_status_open) FROM pairs"
_DIFFERING = """
SELECT id, live, shadow, is_status_open FROM pairs
WHERE live IS NULL OR shadow IS NULL OR CASE
    WHEN is_status_open THEN (live::jsonb - 'status') <> (shadow::jsonb - 'status')
    ELSE live::jsonb <> shadow::jsonb END
"""


_COUNT_DIFFERING = f"SELECT count(*) FROM ({_DIFFERING}) AS differing"  # noqa: S608  no value in it


async def _compare(scratch: Scratch, report: ShadowReport) -> None:
    [(report.compared, report.statuses_not_compared)] = await scratch.rows(_DIFFERENCES + _COUNT)
    [(report.differing,)] = await scratch.rows(_DIFFERENCES + _COUNT_DIFFERING)
    for row in await scratch.rows(f"{_DIFFERENCES}{_DIFFERING} ORDER BY id LIMIT :limit", limit=MAX_SHOWN):
        report.differences.append(_difference(row))


def _difference(row: Any) -> dict[str, Any]:
    if row.live is None or row.shadow is None:
        return {
            "order_id": str(row.id),
            "kind": "only in the shadow" if row.live is None else "only in the live tables",
        }
    changed = {
        name: {"live": row.live[name], "shadow": row.shadow[name]}
        for name in row.live
        if row.live[name] != row.shadow[name] and not (name == "status" and row.is_status_open)
    }
    return {"order_id": str(row.id), "kind": "different", "columns": changed}
