"""Runs a scenario against a running system and gives the oracle's verdict on its rows: `python -m tests.load.run`.

Locust is the client and lives in an environment of its own (.venv-load): gevent patches what the rest relies on.
"""

import asyncio
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import asyncpg
import httpx
import typer

from services.certify.world import DoesNotRun, until
from services.cli.demo_client import Answer
from services.cli.demo_plan import Checkout
from services.cli.demo_verdict import Verdict, give_verdict
from services.cli.locate import require_running, settings_of_running
from services.cli.options import DataDir
from shared.auth import Role
from shared.errors import TillrollError
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.load.scenario import CLASSES, Scenario, missed, read_scenario

HERE = Path(__file__).parent
LOCUST = HERE.parents[1] / ".venv-load" / "bin" / "locust"
_STOP_WITHIN = 60  # seconds; locustfile.py waits for the last answers
_RECORDED_WITHIN = 120  # seconds
_BURIED = "SELECT count(*) FROM dead_letters"
_RECORDED = "SELECT count(*) FROM orders WHERE user_id = ANY($1)"


class NoLocust(TillrollError):
    """The client is not installed or does not run."""


def main(
    name: Annotated[str, typer.Argument(help=", ".join(CLASSES))],
    web: Annotated[bool, typer.Option("--web", help="With Locust's web page, until Ctrl-C.")] = False,
    users: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    seconds: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    checkouts: Annotated[int | None, typer.Option(help="Instead of the file's.")] = None,
    base_url: Annotated[str | None, typer.Option(help="Another gateway than the running one.")] = None,
    data_dir: DataDir = Path(".tillroll"),
) -> None:
    """Loads the running system and judges its rows; exit 1 unless all is well."""
    try:
        scenario = read_scenario(name, users=users, spawn_rate=users, seconds=seconds, checkouts=checkouts)
        settings = settings_of_running(data_dir)
        url = base_url or require_running(settings.data_dir).gateway_url
        with tempfile.TemporaryDirectory(prefix="tillroll-load-") as folder:
            complaints = run_scenario(scenario, settings, url, Path(folder), has_web_page=web)
    except TillrollError as fault:
        complaints = [str(fault)]
    for complaint in complaints:
        print(complaint)
    print(f"verdict: {'WRONG' if complaints else 'good'}")
    sys.exit(bool(complaints))


def run_scenario(
    scenario: Scenario, settings: Settings, url: str, folder: Path, *, has_web_page: bool = False
) -> list[str]:
    """Everything that is wrong, one sentence each; raises TillrollError when it cannot even begin."""
    catalog = httpx.get(f"{url}/api/products", trust_env=False).raise_for_status().json()["data"]
    plan = scenario.plan(catalog) if scenario.checkouts else []
    buried = asyncio.run(_count(settings, _BURIED))
    _write_plan(scenario, settings, plan, [product["id"] for product in catalog], folder)
    _run_locust(scenario, url, folder, has_web_page=has_web_page)
    figures = json.loads((folder / "figures.json").read_text())
    _print_figures(figures)
    complaints = missed(scenario, figures)
    lines = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
    begun = {line["begun"] for line in lines if "begun" in line}
    answers = {line["number"]: [Answer(**answer) for answer in line["answers"]] for line in lines if "answers" in line}
    complaints += [f"checkout {number} was begun and never answered" for number in sorted(begun - answers.keys())]
    if scenario.name == "replay":
        complaints += _judge_replays([line["replay"] for line in lines if "replay" in line])
    if more := asyncio.run(_count(settings, _BURIED)) - buried:
        complaints.append(f"{more} entries were buried meanwhile")
    if scenario.checkouts:
        judged = asyncio.run(_judge(settings, [plan[number] for number in answers], list(answers.values()), scenario))
        print(judged.model_dump_json(indent=1, exclude={"differences"}))
        complaints += judged.differences
        complaints += [] if answers else ["nothing was bought"]
    return complaints


def _write_plan(
    scenario: Scenario, settings: Settings, plan: Sequence[Checkout], products: Sequence[str], folder: Path
) -> None:
    tokens = {user: issue_development_token(settings, user) for user in {checkout.user for checkout in plan}}
    checkouts = [
        {"number": number, "token": tokens[c.user], "items": c.lines, "total": float(c.total)}
        for number, c in enumerate(plan)
    ]
    content = {
        "duplicates": scenario.duplicates,
        "operator_token": issue_development_token(settings, "load-operator", role=Role.OPERATOR),
        "products": products,
        "checkouts": checkouts,
    }
    (folder / "plan.json").write_text(json.dumps(content))
    (folder / "answers.jsonl").touch()


def _run_locust(scenario: Scenario, url: str, folder: Path, *, has_web_page: bool) -> None:
    if not LOCUST.exists():
        raise NoLocust("Locust is not installed: `make load` installs it, from hashes, into .venv-load.")
    command = [str(LOCUST), "-f", str(HERE / "locustfile.py"), "--host", url]
    command += ["--users", str(scenario.users), "--spawn-rate", str(scenario.spawn_rate)]
    if has_web_page:
        command += ["--web-host", "127.0.0.1", "--autostart"]
    else:
        command += ["--headless", "--only-summary", "--run-time", f"{scenario.seconds}s", "--loglevel", "WARNING"]
    env = {**os.environ, "LOAD_FOLDER": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    # Ctrl-C, which reaches the whole foreground, would end what is under way in there: purchases without an answer
    process = subprocess.Popen([*command, *scenario.classes], env=env, stdout=sys.stderr, start_new_session=True)
    try:
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGTERM)  # it lets the last purchases end
        code = process.wait(_STOP_WITHIN)
    if code != 0 or not (folder / "figures.json").exists():
        raise NoLocust(f"Locust ended with code {code} before it told what it had measured.")


def _print_figures(figures: dict[str, dict[str, Any]]) -> None:
    for request, measured in figures.items():
        print(
            f"{request:<40} {measured['requests']:>7} requests  p50 {measured['p50_ms']:5.0f} ms"
            f"  p99 {measured['p99_ms']:5.0f} ms  failed {measured['failed_share']:.2%}"
        )


def _judge_replays(runs: Sequence[dict[str, Any]]) -> list[str]:
    print(f"{len(runs)} replays finished beside the traffic, {sum(run['sent'] for run in runs)} entries sent again")
    if not any(run["sent"] for run in runs):
        return ["no replay was finished while the traffic went on"]
    return []


async def _count(settings: Settings, statement: str) -> int:
    connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=5)
    try:
        return int(await connection.fetchval(statement))
    finally:
        await connection.close()


async def _judge(
    settings: Settings, plan: Sequence[Checkout], answers: Sequence[Sequence[Answer]], scenario: Scenario
) -> Verdict:
    """The demo's oracle, once everything that was bought is recorded."""
    connection = await asyncpg.connect(settings.database_url.get_secret_value(), timeout=5)
    try:
        users = sorted({checkout.user for checkout in plan})

        async def all_is_recorded() -> bool:
            return bool(await connection.fetchval(_RECORDED, users) >= len(plan))

        with suppress(DoesNotRun):  # what is missing is the verdict's to name
            await until(all_is_recorded, "everything that was bought is recorded", _RECORDED_WITHIN)
        return await give_verdict(connection, plan, answers, scenario.duplicates)
    finally:
        await connection.close()


if __name__ == "__main__":
    typer.run(main)
