"""The audit trail of what is done at the terminal: who, why, with what result."""

import getpass
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from sqlalchemy import text

from services.orders.audit import Act, Operator, Outcome, audited
from shared.postgres import connect_postgres
from shared.settings import Settings


@asynccontextmanager
async def on_trail(
    settings: Settings, why: str, action: str, chosen: Mapping[str, Any], *, is_needed: bool = True
) -> AsyncIterator[Outcome]:
    """Lets a writing operation run between its two rows of the trail; raises ApiError without a reason.

    Nothing is written when it is not needed (a dry run), or when the trail's own table is what has to be rebuilt.
    """
    if not is_needed:
        yield Outcome()
        return
    operator = Operator(acting_user(), "terminal", why)
    engine = connect_postgres(settings, "audit")
    try:
        async with engine.connect() as connection:
            is_there = (await connection.execute(text("SELECT to_regclass('audit')"))).scalar() is not None
        if is_there:
            async with audited(engine, operator, Act(action, chosen)) as outcome:
                yield outcome
        else:
            yield Outcome()
    finally:
        await engine.dispose()


def acting_user() -> str:
    """The account that runs this command."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"
