"""`tillroll demo`: fires concurrent, duplicated checkouts at the running system and judges the rows in Postgres."""

import asyncio
import ssl
import time
from collections.abc import Iterator, Sequence
from datetime import timedelta

import asyncpg
import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from services.cli.demo_client import Answer, Shopper
from services.cli.demo_plan import Checkout, plan_checkouts
from services.cli.demo_verdict import Verdict, give_verdict
from shared.errors import TillrollError
from shared.issuer import issue_development_token
from shared.settings import Settings

GIVE_UP_AFTER = timedelta(seconds=60)  # without one more row: longer than a consumer needs to come back
POLL = timedelta(milliseconds=100)

_RECORDED = "SELECT count(*) FROM orders WHERE user_id = ANY($1)"


async def run_demo(settings: Settings, base_url: str, checkouts: int, duplicates: int, concurrency: int) -> Verdict:
    """Submits every checkout 1 + `duplicates` times at once, `concurrency` submissions in flight; then the verdict.

    Waits for the rows; a row that does not come is a difference in the verdict. Raises TillrollError when the
    system cannot be reached at all.
    """
    begun = time.monotonic()
    plan = plan_checkouts(checkouts, await _read_catalog(base_url))
    tokens = {user: issue_development_token(settings, user) for user in {checkout.user for checkout in plan}}
    columns = TextColumn("{task.description:>10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    try:
        connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=5)
    except (asyncpg.PostgresError, OSError, TimeoutError) as fault:
        raise TillrollError(f"Postgres does not answer: {fault}") from fault
    try:
        with Progress(*columns, console=Console(stderr=True)) as progress:
            answers = await _submit_all(plan, tokens, base_url, 1 + duplicates, concurrency, progress)
            await _wait_for_rows(connection, plan, progress)
        verdict = await give_verdict(connection, plan, answers, duplicates)
    finally:
        await connection.close()
    verdict.seconds = round(time.monotonic() - begun, 2)
    return verdict


async def _read_catalog(base_url: str) -> list[dict[str, object]]:
    async with httpx.AsyncClient(base_url=base_url, timeout=8, trust_env=False) as client:
        try:
            response = await client.get("/api/products")
            products: list[dict[str, object]] = response.raise_for_status().json()["data"]
        except (httpx.HTTPError, ValueError, KeyError) as fault:
            raise TillrollError(f"{base_url} does not answer as a shop: {fault}") from fault
    return products


async def _submit_all(
    plan: Sequence[Checkout],
    tokens: dict[str, str],
    base_url: str,
    submissions: int,
    concurrency: int,
    progress: Progress,
) -> list[list[Answer]]:
    """The answers to each checkout, in the plan's order."""
    task = progress.add_task("checkouts", total=len(plan))
    answers: list[list[Answer]] = [[] for _ in plan]
    waiting = iter(range(len(plan)))
    tls = ssl.create_default_context()

    async def shop(waiting: Iterator[int]) -> None:
        shopper = Shopper(base_url, submissions, tls)
        try:
            for number in waiting:
                answers[number] = await shopper.check_out(plan[number], tokens[plan[number].user])
                progress.advance(task)
        finally:
            await shopper.close()

    await asyncio.gather(*(shop(waiting) for _ in range(max(1, concurrency // submissions))))
    return answers


async def _wait_for_rows(
    connection: "asyncpg.Connection[asyncpg.Record]", plan: Sequence[Checkout], progress: Progress
) -> None:
    """Returns when there are as many rows as checkouts, or when none has come for a long time."""
    task = progress.add_task("recorded", total=len(plan))
    users = sorted({checkout.user for checkout in plan})
    recorded, last_change = 0, time.monotonic()
    while recorded < len(plan) and time.monotonic() - last_change < GIVE_UP_AFTER.total_seconds():
        now = await connection.fetchval(_RECORDED, users)
        if now != recorded:
            recorded, last_change = now, time.monotonic()
            progress.update(task, completed=recorded)
        else:
            await asyncio.sleep(POLL.total_seconds())
