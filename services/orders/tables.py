"""The tables of the orders service. Their names and columns are public: outside tools read them.

Owns the shape alone: migrations create it, record_events.py writes it, queries.py reads it. Orders, line items and
events lie in partitions by user; `order_statuses` and `event_owners`, asked before the user is known, by their id.
"""

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

metadata = sa.MetaData()

_MOMENT = sa.DateTime(timezone=True)
_MONEY = sa.Numeric(12, 2)
_NOW = sa.text("clock_timestamp()")

events = sa.Table(
    "events",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("type", sa.Text, nullable=False),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("order_id", sa.Uuid, nullable=False),
    sa.Column("content_hash", sa.Text, nullable=False),
    sa.Column("payload", postgresql.JSON),
    sa.Column("stream", sa.Text, nullable=False),
    sa.Column("entry_id", sa.Text, nullable=False),
    sa.Column("accepted_at", _MOMENT, nullable=False),
    sa.Column("recorded_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("consumer", sa.Text),
    sa.Column("traceparent", sa.Text),
    sa.Column("moved_to", sa.Text),
    sa.Index("events_by_order", "order_id"),
    sa.Index("events_by_acceptance", "accepted_at", "event_id"),
    comment="Archive and dedupe key: one row for each fact, as it was accepted. Every other table is made from it.",
)

archive_segments = sa.Table(
    "archive_segments",
    metadata,
    sa.Column("name", sa.Text, primary_key=True),
    sa.Column("url", sa.Text, nullable=False),
    sa.Column("events", sa.Integer, nullable=False),
    sa.Column("first_accepted_at", _MOMENT, nullable=False),
    sa.Column("last_accepted_at", _MOMENT, nullable=False),
    sa.Column("sha256", sa.Text, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    comment="Payloads of the archive outside Postgres: `url`/`name`.jsonl.gz. Belongs to events, and to its backups.",
)

event_owners = sa.Table(
    "event_owners",
    metadata,
    sa.Column("event_id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Text, nullable=False),
    comment="The guard of the dedupe: an event id is one user's for ever, whatever partition its events are in.",
)

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("id", sa.Uuid, primary_key=True),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Column("total", _MONEY, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("created_at", _MOMENT, nullable=False),
    sa.Column("payment_session_id", sa.Text),
    sa.Index("orders_by_user", "user_id", sa.desc("created_at"), sa.desc("id")),
    sa.Index("orders_by_time", sa.desc("created_at"), sa.desc("id")),
    sa.Index(
        "orders_by_payment_session",
        "payment_session_id",
        postgresql_where=sa.text("payment_session_id IS NOT NULL"),
    ),
    comment="One row for each checkout; the id is its event id, created_at the moment of its acceptance.",
)

order_items = sa.Table(
    "order_items",
    metadata,
    sa.Column("order_id", sa.Uuid, primary_key=True),  # references its order: each partition that of `orders`
    sa.Column("line", sa.SmallInteger, primary_key=True, autoincrement=False),
    sa.Column("product_id", sa.Text, nullable=False),
    sa.Column("title", sa.Text, nullable=False),
    sa.Column("unit_price", _MONEY),
    sa.Column("quantity", sa.Integer, nullable=False),
    sa.Column("user_id", sa.Text, primary_key=True),
    sa.Index("order_items_by_product", "product_id"),
    comment="The line items as bought. unit_price is the catalogue's at acceptance; null = unknown.",
)

order_statuses = sa.Table(
    "order_statuses",
    metadata,
    sa.Column("order_id", sa.Uuid, primary_key=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("changed_at", _MOMENT, nullable=False),
    comment="The row that every writer of an order locks first; older than the order when a change arrives before it.",
)

dead_letters = sa.Table(
    "dead_letters",
    metadata,
    sa.Column("stream", sa.Text, primary_key=True),
    sa.Column("entry_id", sa.Text, primary_key=True),
    sa.Column("fields_hash", sa.Text, primary_key=True),
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False),
    sa.Column("fields", postgresql.JSON, nullable=False),
    sa.Column("event_id", sa.Uuid),
    sa.Column("user_id", sa.Text),
    sa.Column("consumer", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False, server_default=sa.text("1")),
    sa.Column("first_failed_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("last_failed_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("id", sa.BigInteger, sa.Identity(always=True), nullable=False),
    sa.Column("state", sa.Text, nullable=False, server_default="buried"),
    sa.Column("requeued_as", sa.ARRAY(sa.Text), nullable=False, server_default="{}"),
    sa.Column("edited_fields", postgresql.JSON(none_as_null=True)),
    sa.Column("settled_by", sa.Text),
    sa.Column("settled_why", sa.Text),
    sa.Column("settled_at", _MOMENT),
    sa.CheckConstraint("state IN ('buried', 'requeued', 'discarded')", name="dead_letters_state_check"),
    sa.Index("dead_letters_by_id", "id", unique=True),
    sa.Index("dead_letters_by_requeue", "requeued_as", postgresql_using="gin"),
    comment="Entries set aside with their reason, their raw fields kept whole: [name, value], text or base64.",
)

audit = sa.Table(
    "audit",
    metadata,
    sa.Column("seq", sa.BigInteger, primary_key=True, autoincrement=False),
    sa.Column("at", _MOMENT, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("door", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("phase", sa.Text, nullable=False),
    sa.Column("begun", sa.BigInteger, sa.ForeignKey("audit.seq")),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("filter", postgresql.JSON, nullable=False),
    sa.Column("dry_run", postgresql.JSON(none_as_null=True)),
    sa.Column("result", postgresql.JSON(none_as_null=True)),
    sa.Column("previous", sa.Text, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    comment="Every writing operation of an operator, begun and done. Each hash covers the row and the hash before it.",
)

audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("is_head", sa.Boolean, primary_key=True, server_default=sa.true()),
    sa.Column("seq", sa.BigInteger, nullable=False),
    sa.Column("hash", sa.Text, nullable=False),
    comment="The newest row of audit, so that its removal is found as well.",
)

replays = sa.Table(
    "replays",
    metadata,
    sa.Column("run_id", sa.Uuid, primary_key=True),
    sa.Column("source", sa.Text, nullable=False),
    sa.Column("filter", postgresql.JSON, nullable=False),
    sa.Column("bound", sa.Text, nullable=False),
    sa.Column("rate", sa.Integer, nullable=False),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("planned", postgresql.JSON(none_as_null=True)),
    sa.Column("position", sa.Text, nullable=False, server_default=""),
    sa.Column("sent", sa.BigInteger, nullable=False, server_default=sa.text("0")),
    sa.Column("result", postgresql.JSON(none_as_null=True)),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("why", sa.Text, nullable=False),
    sa.Column("audit_seq", sa.BigInteger),
    sa.Column("created_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("updated_at", _MOMENT, nullable=False, server_default=_NOW),
    sa.Column("finished_at", _MOMENT),
    comment="Replays and their previews: what was chosen, how far each has come, what came of it.",
)

replayed_events = sa.Table(
    "replayed_events",
    metadata,
    sa.Column("run_id", sa.Uuid, sa.ForeignKey("replays.run_id", ondelete="CASCADE"), primary_key=True),
    sa.Column("source_id", sa.Text, primary_key=True),
    sa.Column("number", sa.BigInteger, nullable=False),
    sa.Column("event_id", sa.Uuid),
    sa.Column("planned", sa.Text, nullable=False),
    sa.Column("detail", sa.Text, nullable=False, server_default=""),
    sa.Column("entry_id", sa.Text),
    sa.Column("outcome", sa.Text),
    sa.Index("replayed_events_by_number", "run_id", "number", unique=True),
    sa.Index("replayed_events_by_event", "event_id"),
    comment="Each event of a replay: what the preview said, the entry that it became, what the consumer made of that.",
)
