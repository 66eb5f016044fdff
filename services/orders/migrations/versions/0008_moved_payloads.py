"""Payloads that were moved out of `events`: the segment that holds each, and what every segment must be."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("""
        CREATE TABLE archive_segments (
            name text PRIMARY KEY,
            url text NOT NULL,
            events integer NOT NULL,
            first_accepted_at timestamptz NOT NULL,
            last_accepted_at timestamptz NOT NULL,
            sha256 text NOT NULL,
            bytes bigint NOT NULL,
            created_at timestamptz NOT NULL DEFAULT clock_timestamp()
        )
    """)
    op.execute(
        "COMMENT ON TABLE archive_segments IS"
        " 'Payloads of the archive outside Postgres: `url`/`name`.jsonl.gz. Belongs to events, and to its backups.'"
    )
    op.execute("ALTER TABLE events ADD COLUMN moved_to text, ALTER COLUMN payload DROP NOT NULL")


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("ALTER TABLE events ALTER COLUMN payload SET NOT NULL, DROP COLUMN moved_to")
    op.execute("DROP TABLE archive_segments")
