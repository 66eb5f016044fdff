"""One whole reconciliation: first the stream, so that an event that fixing brings back is then compared as well."""

from sqlalchemy import text

from services.orders.archive import DERIVED, LIVE, connect_operator
from services.orders.entries import keep_raw
from services.orders.reconcile import CannotReconcile, Kind, Progress, Reconciled
from services.orders.reconcile_rows import compare_pages, count_orders
from services.orders.reconcile_stream import compare_entries
from shared.redis import connect_redis
from shared.settings import Settings
from shared.streams import STREAM

_THERE = text("SELECT bool_and(to_regclass(name) IS NOT NULL) FROM unnest(CAST(:names AS text[])) name")


async def reconcile(
    settings: Settings, *, fix: bool, read_moved: bool = False, tell: Progress = lambda _done, _total: None
) -> Reconciled:
    """Compares everything, with `fix` adds what is missing; `read_moved` reads back every checkout that was moved out.

    Raises CannotReconcile, SegmentUnreadable and what the servers raise.
    """
    engine = connect_operator(settings, "reconcile")
    redis = connect_redis(settings, "reconcile")
    keep_raw(redis)
    result = Reconciled()
    unjudged: set[str | None] = set()  # orders whose own events are missing: what their rows should be is not known
    try:
        async with engine.connect() as connection:
            names = [f"{LIVE}.{table}" for table in ("events", *DERIVED)]
            if not (await connection.execute(_THERE, {"names": names})).scalar():
                raise CannotReconcile("A table is gone altogether: `tillroll rebuild` makes it from the archive.")
            total = await count_orders(connection) + await redis.xlen(STREAM)
        done = 0
        tell(done, total)
        entries = await compare_entries(engine, redis, fix=fix)
        if entries is not None:
            result.entries = 0
            async for count, wrong in entries:
                result.entries += count
                done += count
                for discrepancy in wrong:
                    result.add(discrepancy)
                    if discrepancy.kind is Kind.MISSING and not discrepancy.is_fixed:
                        unjudged.add(discrepancy.order_id)
                tell(done, max(done, total))
        async for count, moved, wrong in compare_pages(engine, fix=fix, read_moved=read_moved):
            result.orders += count
            result.moved += moved
            done += count
            for discrepancy in wrong:
                if discrepancy.kind is Kind.MISSING or discrepancy.order_id not in unjudged:
                    result.add(discrepancy)
            tell(done, max(done, total))
    finally:
        await redis.aclose()
        await engine.dispose()
    tell(done, done)
    return result
