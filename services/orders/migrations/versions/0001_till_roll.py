"""The archive, what is made from it, and the dead letters."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_UP = """
CREATE TABLE events (
    event_id uuid PRIMARY KEY,
    type text NOT NULL,
    user_id text NOT NULL,
    order_id uuid NOT NULL,
    content_hash text NOT NULL,
    payload json NOT NULL,
    stream text NOT NULL,
    entry_id text NOT NULL,
    accepted_at timestamptz NOT NULL,
    recorded_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE events IS
    'Archive and dedupe key: one row for each fact, as it was accepted. Every other table is made from it.';
CREATE INDEX events_by_order ON events (order_id);
CREATE INDEX events_by_acceptance ON events (accepted_at, event_id);

CREATE TABLE orders (
    id uuid PRIMARY KEY,
    user_id text NOT NULL,
    total numeric(12, 2) NOT NULL,
    status text NOT NULL,
    created_at timestamptz NOT NULL,
    payment_session_id text
);
COMMENT ON TABLE orders IS
    'One row for each checkout; the id is its event id, created_at the moment of its acceptance.';
CREATE INDEX orders_by_user ON orders (user_id, created_at DESC, id DESC);
CREATE INDEX orders_by_time ON orders (created_at DESC, id DESC);
CREATE INDEX orders_by_payment_session ON orders (payment_session_id) WHERE payment_session_id IS NOT NULL;

CREATE TABLE order_items (
    order_id uuid NOT NULL REFERENCES orders (id),
    line smallint NOT NULL,
    product_id text NOT NULL,
    title text NOT NULL,
    unit_price numeric(12, 2),
    quantity integer NOT NULL,
    PRIMARY KEY (order_id, line)
);
COMMENT ON TABLE order_items IS
    'The line items as bought. unit_price is the catalogue''s at acceptance; null = unknown.';
CREATE INDEX order_items_by_product ON order_items (product_id, order_id);

CREATE TABLE order_statuses (
    order_id uuid PRIMARY KEY,
    status text NOT NULL,
    changed_at timestamptz NOT NULL
);
COMMENT ON TABLE order_statuses IS
    'The row that every writer of an order locks first; older than the order when a change arrives before it.';

CREATE TABLE dead_letters (
    stream text NOT NULL,
    entry_id text NOT NULL,
    fields_hash text NOT NULL,
    reason text NOT NULL,
    detail text NOT NULL,
    fields json NOT NULL,
    event_id uuid,
    user_id text,
    consumer text NOT NULL,
    attempts integer NOT NULL DEFAULT 1,
    first_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_failed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (stream, entry_id, fields_hash)
);
COMMENT ON TABLE dead_letters IS
    'Entries set aside with their reason, their raw fields kept whole: [name, value], text or base64.';
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE dead_letters, order_statuses, order_items, orders, events")
