"""A span for each SQL statement and each commit within a trace. Statements are told as written: values stay out.

SQLAlchemy's own instrumentation would also tell the messages of errors, and those quote rows.
"""

import re
from contextlib import AbstractContextManager
from typing import Any

from opentelemetry.trace import Span, SpanKind
from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from shared.tracing import begin, child_span, fail

_SYSTEM = {"db.system.name": "postgresql"}
_TABLE = re.compile(r"\b(?:INTO|UPDATE|FROM)\s+([a-z_]+)\b(?!\()")


def trace_statements(engine: AsyncEngine) -> None:
    """Adds the spans to everything that `engine` executes."""

    @event.listens_for(engine.sync_engine, "before_cursor_execute", named=True)
    def begin_statement(*, statement: str, context: Any, **_rest: Any) -> None:
        told = _SYSTEM | {"db.query.text": statement}
        context.tillroll_span = begin(_name_of(statement), SpanKind.CLIENT, told)

    @event.listens_for(engine.sync_engine, "after_cursor_execute", named=True)
    def end_statement(*, context: Any, **_rest: Any) -> None:
        context.tillroll_span.end()

    @event.listens_for(engine.sync_engine, "handle_error")
    def end_failed(failure: Any) -> None:
        span: Span | None = getattr(failure.execution_context, "tillroll_span", None)
        if span is not None:
            fail(span, failure.original_exception)
            span.end()

    @event.listens_for(engine.sync_engine, "commit")
    def begin_commit(connection: Any) -> None:
        connection.info["tillroll_commit"] = begin("COMMIT", SpanKind.CLIENT, _SYSTEM)

    @event.listens_for(engine.sync_engine, "checkin")  # at once after the commit: a connection is one transaction
    def end_commit(_dbapi_connection: Any, record: Any) -> None:
        span: Span | None = record.info.pop("tillroll_commit", None)
        if span is not None:
            span.end()


def statement_span(statement: str) -> AbstractContextManager[Span]:
    """The same span around a statement that is executed past SQLAlchemy."""
    return child_span(_name_of(statement), SpanKind.CLIENT, _SYSTEM | {"db.query.text": statement})


def _name_of(statement: str) -> str:
    """The verb and the first table: `INSERT events`."""
    verb = statement.split(None, 1)[0].upper()
    table = _TABLE.search(statement)
    return f"{verb} {table[1]}" if table else verb
