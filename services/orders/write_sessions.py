"""The payment session of recorded orders, from events of the archive. Runs in its caller's transaction.

Like a change, a session may be recorded before its order: the caller holds the orders' rows of `order_statuses`.
"""

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from shared.events import PaymentOpened, decode

_OPENED = text("""
SELECT CAST(payload AS text)
FROM unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS text[])) AS own (order_id, user_id)
JOIN events USING (order_id, user_id)
WHERE type = 'checkout.payment_opened'
ORDER BY accepted_at, event_id
""")
_UPDATE = text("""
UPDATE orders SET payment_session_id = opened.session
FROM unnest(CAST(:order_ids AS uuid[]), CAST(:user_ids AS text[]), CAST(:sessions AS text[]))
     AS opened (order_id, user_id, session)
WHERE orders.id = opened.order_id AND orders.user_id = opened.user_id
  AND orders.payment_session_id IS DISTINCT FROM opened.session
""")


async def write_sessions(connection: AsyncConnection, user_ids: Mapping[UUID, str]) -> None:
    """Gives each of the orders that is recorded the session that was opened for it last; `user_ids` by order id."""
    if not user_ids:
        return
    last: dict[UUID, PaymentOpened] = {}
    wanted = {"order_ids": list(user_ids), "user_ids": list(user_ids.values())}
    for (payload,) in await connection.execute(_OPENED, wanted):
        event = decode(payload)
        assert isinstance(event, PaymentOpened), "the query selects sessions"
        last[event.order_id] = event
    if last:
        told = {
            "order_ids": list(last),
            "user_ids": [event.user_id for event in last.values()],
            "sessions": [event.payment_session_id for event in last.values()],
        }
        await connection.execute(_UPDATE, told)
