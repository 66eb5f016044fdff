"""What operators do to the log: fates of dead letters, replays and the trail of every writing operation."""

from alembic import op

revision = "0003"
down_revision = "0001"
branch_labels = None
depends_on = None

_UP = """
ALTER TABLE dead_letters
    ADD COLUMN id bigint GENERATED ALWAYS AS IDENTITY,
    ADD COLUMN state text NOT NULL DEFAULT 'buried' CHECK (state IN ('buried', 'requeued', 'discarded')),
    ADD COLUMN requeued_as text[] NOT NULL DEFAULT '{}',
    ADD COLUMN edited_fields json,
    ADD COLUMN settled_by text,
    ADD COLUMN settled_why text,
    ADD COLUMN settled_at timestamptz;
CREATE UNIQUE INDEX dead_letters_by_id ON dead_letters (id);
CREATE INDEX dead_letters_by_requeue ON dead_letters USING gin (requeued_as);

CREATE TABLE audit (
    seq bigint PRIMARY KEY,
    at timestamptz NOT NULL,
    who text NOT NULL,
    door text NOT NULL,
    action text NOT NULL,
    phase text NOT NULL CHECK (phase IN ('begun', 'done', 'failed')),
    begun bigint REFERENCES audit (seq),
    why text NOT NULL,
    filter json NOT NULL,
    dry_run json,
    result json,
    previous text NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE audit IS
    'Every writing operation of an operator, begun and done. Each hash covers the row and the hash before it.';
CREATE TABLE audit_head (
    is_head boolean PRIMARY KEY DEFAULT true CHECK (is_head),
    seq bigint NOT NULL,
    hash text NOT NULL
);
COMMENT ON TABLE audit_head IS 'The newest row of audit, so that its removal is found as well.';

CREATE TABLE replays (
    run_id uuid PRIMARY KEY,
    source text NOT NULL CHECK (source IN ('stream', 'archive')),
    filter json NOT NULL,
    bound text NOT NULL,
    rate integer NOT NULL,
    status text NOT NULL CHECK (status IN ('planning', 'planned', 'running', 'paused', 'sent', 'finished')),
    planned json,
    position text NOT NULL DEFAULT '',
    sent bigint NOT NULL DEFAULT 0,
    result json,
    who text NOT NULL,
    why text NOT NULL,
    audit_seq bigint,
    created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    updated_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz
);
COMMENT ON TABLE replays IS 'Replays and their previews: what was chosen, how far each has come, what came of it.';
CREATE TABLE replayed_events (
    run_id uuid NOT NULL REFERENCES replays (run_id) ON DELETE CASCADE,
    source_id text NOT NULL,
    number bigint NOT NULL,
    event_id uuid,
    planned text NOT NULL,
    detail text NOT NULL DEFAULT '',
    entry_id text,
    outcome text,
    PRIMARY KEY (run_id, source_id)
);
COMMENT ON TABLE replayed_events IS
    'Each event of a replay: what the preview said, the entry that it became, what the consumer made of that.';
CREATE UNIQUE INDEX replayed_events_by_number ON replayed_events (run_id, number);
CREATE INDEX replayed_events_by_event ON replayed_events (event_id);
"""


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    for statement in _UP.split(";\n"):
        if statement.strip():
            op.execute(statement)


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("DROP TABLE replayed_events, replays, audit_head, audit")
    op.execute(
        "ALTER TABLE dead_letters DROP COLUMN id, DROP COLUMN state, DROP COLUMN requeued_as,"
        " DROP COLUMN edited_fields, DROP COLUMN settled_by, DROP COLUMN settled_why, DROP COLUMN settled_at"
    )
