"""To whom an event id belongs, and the user in each line item: what the tables need before they are partitioned."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_PARTITIONS = 4

_UP = """
ALTER TABLE order_items ADD COLUMN user_id text;

CREATE TABLE event_owners (
    event_id uuid PRIMARY KEY,
    user_id text NOT NULL
) PARTITION BY HASH (event_id);
COMMENT ON TABLE event_owners IS
    'The guard of the dedupe: an event id is one user''s for ever, whatever partition its events are in.';
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UP.split(";\n"):
        if statement.strip():
            op.execute(statement)
    for number in range(_PARTITIONS):
        op.execute(
            f"CREATE TABLE event_owners_{number} PARTITION OF event_owners"
            f" FOR VALUES WITH (MODULUS {_PARTITIONS}, REMAINDER {number})"
        )
    op.execute("INSERT INTO event_owners SELECT event_id, user_id FROM events")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE event_owners")
    op.execute("ALTER TABLE order_items DROP COLUMN user_id")
