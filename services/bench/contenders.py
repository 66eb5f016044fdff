"""Who is measured: the web tiers, what stands behind each, and how a row of each is found again. Starts nothing."""

from collections.abc import Mapping
from dataclasses import dataclass

TILLROLL_DB, AFTERNOON_DB, DRAIN_DB, READS_DB = "tillroll", "afternoon", "drain", "reads"

_TILLROLL_ROWS = """
SELECT o.id, CAST(e.payload -> 'names' ->> 'key' AS uuid) AS name, o.total,
       (SELECT count(*) FROM order_items i WHERE i.order_id = o.id AND i.user_id = o.user_id) AS lines
FROM events e LEFT JOIN orders o ON o.id = e.event_id AND o.user_id = e.user_id
WHERE e.accepted_at >= $1 AND e.type = 'checkout.completed'
"""
_AFTERNOON_ROWS = """
SELECT o.id, k.user_id, k.key, o.total, (SELECT count(*) FROM order_items i WHERE i.order_id = o.id) AS lines
FROM orders o LEFT JOIN idempotency_keys k ON k.order_id = o.id
WHERE o.created_at >= $1
"""


@dataclass(frozen=True)
class Contender:
    """One web tier. `processes` bear its CPU as `web`; behind it are Redis and the consumer, or Postgres alone.

    `doors` are those of them that the client asks, each with an equal share of its connections: behind one listening
    socket, the kernel often gives all of them to whoever wakes first, and two processes do the work of one.
    """

    name: str
    told: str
    processes: tuple[str, ...]
    doors: tuple[str, ...]
    database: str = TILLROLL_DB
    has_log: bool = True
    """Whether it prints on the stream, and a consumer records."""
    is_alone: bool = False
    """Whether the consumer is paused while it is loaded."""

    @property
    def rows(self) -> str:
        """SQL for the rows since a moment."""
        return _TILLROLL_ROWS if self.has_log else _AFTERNOON_ROWS


_GATEWAYS, _FLOORS = ("gateway-1", "gateway-2"), ("floor-1", "floor-2")
CHECKOUTS = ("checkout-1", "checkout-2")
"""What nginx passes POST /api/orders to."""

CONTENDERS: Mapping[str, Contender] = {
    contender.name: contender
    for contender in (
        Contender("tillroll", "composed gateway, 2 processes, and the consumer", _GATEWAYS, _GATEWAYS),
        Contender("tillroll-1", "composed gateway, 1 process, and the consumer", _GATEWAYS[:1], _GATEWAYS[:1]),
        Contender(
            "tillroll-nginx",
            "nginx, checkout with 2 processes, and the consumer",
            ("nginx", *CHECKOUTS),
            ("nginx",),
        ),
        Contender(
            "afternoon",
            "FastAPI, SQLAlchemy ORM, one transaction a POST, 2 processes",
            ("afternoon-1", "afternoon-2"),
            ("afternoon-1", "afternoon-2"),
            AFTERNOON_DB,
            has_log=False,
        ),
        Contender("floor-http", "bare ASGI, same script, 2 processes, and the consumer", _FLOORS, _FLOORS),
        Contender("floor-http-alone", "the same while the consumer is paused", _FLOORS, _FLOORS, is_alone=True),
    )
}
