"""The tables in partitions by user (docs/decisions/0007 says how many and why). Every row is carried over.

One transaction, in which only the writers wait; readers wait for the swap alone. The consumer that wrote 0005 writes
these tables as well; an older one is refused by Postgres and holds its batch.
"""

from alembic import op
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_PARTITIONS = 4
_ATTEMPTS = 20  # times that the swap waits for the readers of the old tables
_PATIENCE = "2s"  # of each: readers queue behind a waiting swap

_KEYS = {"events": "user_id", "orders": "user_id", "order_items": "user_id", "order_statuses": "order_id"}

_WRITERS_WAIT = "LOCK TABLE event_owners, events, orders, order_items, order_statuses IN SHARE ROW EXCLUSIVE MODE"
_READERS_WAIT = "LOCK TABLE events, orders, order_items, order_statuses IN ACCESS EXCLUSIVE MODE"

_TABLES = """
CREATE TABLE new_events (LIKE events INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY HASH (user_id);
CREATE TABLE new_orders (LIKE orders INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY HASH (user_id);
CREATE TABLE new_order_items (LIKE order_items INCLUDING DEFAULTS INCLUDING COMMENTS) PARTITION BY HASH (user_id);
CREATE TABLE new_order_statuses (LIKE order_statuses INCLUDING DEFAULTS INCLUDING COMMENTS)
    PARTITION BY HASH (order_id);
"""
_COPY = """
INSERT INTO new_events SELECT * FROM events;
INSERT INTO new_orders SELECT * FROM orders;
INSERT INTO new_order_items (order_id, line, product_id, title, unit_price, quantity, user_id)
    SELECT order_id, line, product_id, title, unit_price, quantity, orders.user_id
    FROM order_items JOIN orders ON orders.id = order_items.order_id;
INSERT INTO new_order_statuses SELECT * FROM order_statuses;
INSERT INTO event_owners SELECT event_id, user_id FROM events
    ON CONFLICT (event_id) DO UPDATE SET user_id = excluded.user_id WHERE event_owners.user_id <> excluded.user_id;
"""
_KEYS_AND_INDEXES = """
ALTER TABLE new_events ADD CONSTRAINT new_events_pkey PRIMARY KEY (event_id, user_id);
CREATE INDEX new_events_by_order ON new_events (order_id);
CREATE INDEX new_events_by_acceptance ON new_events (accepted_at, event_id);
ALTER TABLE new_orders ADD CONSTRAINT new_orders_pkey PRIMARY KEY (id, user_id);
CREATE INDEX new_orders_by_user ON new_orders (user_id, created_at DESC, id DESC);
CREATE INDEX new_orders_by_time ON new_orders (created_at DESC, id DESC);
CREATE INDEX new_orders_by_payment_session ON new_orders (payment_session_id) WHERE payment_session_id IS NOT NULL;
ALTER TABLE new_order_items ALTER COLUMN user_id SET NOT NULL;
ALTER TABLE new_order_items ADD CONSTRAINT new_order_items_pkey PRIMARY KEY (order_id, line, user_id);
CREATE INDEX new_order_items_by_product ON new_order_items (product_id, order_id);
ALTER TABLE new_order_statuses ADD CONSTRAINT new_order_statuses_pkey PRIMARY KEY (order_id);
"""
_INDEXES = (
    "events_pkey",
    "events_by_order",
    "events_by_acceptance",
    "orders_pkey",
    "orders_by_user",
    "orders_by_time",
    "orders_by_payment_session",
    "order_items_pkey",
    "order_items_by_product",
    "order_statuses_pkey",
)
_COMMENTS = text("""
SELECT format('COMMENT ON TABLE new_%s IS %L', name, obj_description(to_regclass(name), 'pg_class'))
FROM unnest(CAST(:tables AS text[])) AS name
""")
_GRANTS = text("""
SELECT format('GRANT %s ON new_%s TO %s%s', granted.privilege_type, relation.relname,
              CASE granted.grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(granted.grantee)) END,
              CASE WHEN granted.is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class relation, aclexplode(relation.relacl) granted
WHERE relation.oid = ANY(CAST(CAST(:tables AS text[]) AS regclass[])) AND granted.grantee <> relation.relowner
""")
_COUNTS = "SELECT (SELECT count(*) FROM {table}), (SELECT count(*) FROM new_{table})"


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(_WRITERS_WAIT)
    _run(_TABLES)
    for table in _KEYS:
        for number in range(_PARTITIONS):
            op.execute(
                f"CREATE TABLE {table}_{number} PARTITION OF new_{table}"
                f" FOR VALUES WITH (MODULUS {_PARTITIONS}, REMAINDER {number})"
            )
    _run(_COPY)
    _run(_KEYS_AND_INDEXES)
    for number in range(_PARTITIONS):  # between the partitions: through their parents an order costs twice as much
        op.execute(
            f"ALTER TABLE order_items_{number}"
            f" ADD FOREIGN KEY (order_id, user_id) REFERENCES orders_{number} (id, user_id)"
        )
    for table in _KEYS:
        old, new = op.get_bind().execute(text(_COUNTS.format(table=table))).one()
        if old != new:
            raise RuntimeError(f"{table} has {old} rows and {new} were carried over: nothing was changed.")
        if new:  # an empty table that was analyzed is planned for as one, for long after it has grown
            op.execute(f"ANALYZE new_{table}")
    for query in (_COMMENTS, _GRANTS):
        for statement in op.get_bind().scalars(query, {"tables": list(_KEYS)}).all():
            op.execute(statement)
    _hold_readers()
    op.execute(f"DROP TABLE {', '.join(_KEYS)}")
    for table in _KEYS:
        op.execute(f"ALTER TABLE new_{table} RENAME TO {table}")
    for index in _INDEXES:
        op.execute(f"ALTER INDEX new_{index} RENAME TO {index}")


def downgrade() -> None:
    raise NotImplementedError("Two users may hold what one table without partitions cannot: restore a backup instead.")


def _run(statements: str) -> None:
    for statement in statements.split(";\n"):
        if statement.strip():
            op.execute(statement)


def _hold_readers() -> None:
    """Waits for those who read, again and again for a moment: what was copied is not thrown away for a long report."""
    connection = op.get_bind()
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            with connection.begin_nested():
                op.execute(f"SET LOCAL lock_timeout = '{_PATIENCE}'")
                op.execute(_READERS_WAIT)
        except DBAPIError as fault:
            if getattr(fault.orig, "sqlstate", None) != "55P03" or attempt == _ATTEMPTS:  # lock_not_available
                raise
        else:
            return
