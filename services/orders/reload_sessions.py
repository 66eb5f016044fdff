"""Redis' memory of payment sessions, made again from the archive: the slot of each that is open, and its reservation.

Part of reload_names.py, after the orders: a session belongs to an order that is known by then, or to none yet.
"""

from collections.abc import AsyncIterator
from datetime import datetime
from importlib.resources import files
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.events import PaymentOpened, decode, encode
from shared.streams import name_key, order_key, user_digest

_PAGE = 1000  # events a query and a pipeline
_RESTORE = files(__package__).joinpath("restore_session.lua").read_text()
_OPENED = text("""
SELECT e.event_id, e.accepted_at, CAST(e.payload AS text), s.status
FROM events e JOIN order_statuses s ON s.order_id = e.order_id
WHERE e.type = 'checkout.payment_opened' AND (e.accepted_at, e.event_id) > (:at, :after)
ORDER BY e.accepted_at, e.event_id LIMIT :page
""")


async def reload_sessions(engine: AsyncEngine, redis: "Redis", start: datetime, now: int) -> None:
    """Restores every session that was opened since `start`; `now` in ms of Redis' clock. Safe to repeat."""
    restore = redis.register_script(_RESTORE)
    async for page in _pages(engine, start):
        pipeline = redis.pipeline(transaction=False)
        for event, status in page:
            checkout = event.checkout
            await restore(
                keys=[
                    order_key(event.order_id),
                    name_key(event.slot),
                    *([name_key(checkout.names.key)] if checkout.names.key else []),
                ],
                args=[
                    str(event.order_id),
                    status,
                    max(0, event.expires_at - now),
                    user_digest(event.user_id),
                    checkout.fingerprint,
                    str(checkout.names.key or ""),
                    encode(checkout),
                    event.payment_session_id,
                    event.expires_at,
                ],
                client=pipeline,
            )
        await pipeline.execute()


async def _pages(engine: AsyncEngine, start: datetime) -> AsyncIterator[list[tuple[PaymentOpened, str]]]:
    at, after = start, UUID(int=0)
    while True:
        async with engine.connect() as connection:
            rows = (await connection.execute(_OPENED, {"at": at, "after": after, "page": _PAGE})).all()
        if not rows:
            return
        yield [(event, status) for _, _, payload, status in rows if isinstance(event := decode(payload), PaymentOpened)]
        after, at = rows[-1][:2]
