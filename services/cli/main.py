"""`tillroll`: the command line. Doors only: each command parses, calls one function and renders what it returns."""

import asyncio
import shlex
import sys
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from services.cli import (
    archive_commands,
    audit_commands,
    bench_commands,
    certify_commands,
    dead_letters_commands,
    explain_commands,
    legacy_commands,
    look_commands,
    openapi_commands,
    rebuild_commands,
    reconcile_commands,
    replay_commands,
)
from services.cli.options import AsJson, DataDir, Why
from services.cli.serve import Process, run_process
from shared.auth import Role
from shared.errors import TillrollError

app = typer.Typer(name="tillroll", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(bench_commands.app)
app.add_typer(certify_commands.app)
app.add_typer(reconcile_commands.app)
app.add_typer(rebuild_commands.app)
app.add_typer(look_commands.app)
app.add_typer(replay_commands.app)
app.add_typer(dead_letters_commands.app)
app.add_typer(archive_commands.app)
app.add_typer(audit_commands.app)
app.add_typer(explain_commands.app)
app.add_typer(legacy_commands.app)
app.add_typer(openapi_commands.app)


def main() -> None:
    """The entry point: what this product raises on purpose is one sentence and exit code 1, never a traceback."""
    try:
        app()
    except TillrollError as fault:
        print(f"tillroll: {fault}", file=sys.stderr)
        sys.exit(1)


@app.command()
def up(
    data_dir: DataDir = Path(".tillroll"),
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535, help="The port of the shop API.")] = 8000,
) -> None:
    """Start everything and keep it running until Ctrl-C."""
    from services.cli.locate import read_settings
    from services.cli.up import run_up

    run_up(read_settings(data_dir), port)


@app.command()
def serve(
    process: Annotated[Process, typer.Argument(help="Which process of the deployment to be.")],
    host: Annotated[str, typer.Option(help="The address to listen on.")] = "0.0.0.0",  # noqa: S104  # of a container
    port: Annotated[int, typer.Option(envvar="PORT", min=1, max=65535)] = 8080,
    data_dir: DataDir = Path(".tillroll"),
) -> None:
    """Be one process of a deployment, until SIGTERM; waits for what it needs and logs what that is."""
    from services.cli.locate import read_settings

    run_process(process, read_settings(data_dir), host, port)


@app.command()
def migrate(
    data_dir: DataDir = Path(".tillroll"),
    wait: Annotated[float, typer.Option(min=0, help="Seconds to wait for a database that does not answer yet.")] = 0,
) -> None:
    """Bring the database to the newest migration."""
    from services.cli.locate import settings_of_running
    from services.cli.migration import await_database, migrate_database

    database_url = settings_of_running(data_dir).database_url.get_secret_value()
    if wait:
        await_database(database_url, timedelta(seconds=wait))
    migrate_database(database_url)


@app.command()
def env(data_dir: DataDir = Path(".tillroll")) -> None:
    """Print the URLs of the running servers, for a shell: eval "$(tillroll env)"."""
    from services.cli.locate import require_running

    state = require_running(data_dir.expanduser().absolute())
    print(f"export REDIS_URL={shlex.quote(state.redis_url)}")
    print(f"export DATABASE_URL={shlex.quote(state.database_url)}")


@app.command()
def token(
    user: Annotated[str, typer.Argument(help="The user id: the token's `sub`.")],
    admin: Annotated[bool, typer.Option("--admin", help="With the admin role.")] = False,
    role: Annotated[Role | None, typer.Option(help="With a lesser role in operations.")] = None,
    data_dir: DataDir = Path(".tillroll"),
) -> None:
    """Print a token of the local development issuer, good for a day."""
    from services.cli.locate import read_settings
    from shared.issuer import issue_development_token

    print(issue_development_token(read_settings(data_dir), user, admin, role))


@app.command()
def status(data_dir: DataDir = Path(".tillroll"), as_json: AsJson = False) -> None:
    """Show what runs and how far the consumer is; exit 1 when something is down."""
    from services.cli.locate import settings_of_running
    from services.cli.status import read_status

    found = asyncio.run(read_status(settings_of_running(data_dir)))
    if as_json:
        print(found.model_dump_json(indent=2))
    else:
        _print_table(found.model_dump())
    if not found.is_up:
        raise typer.Exit(1)


@app.command()
def resume(
    data_dir: DataDir = Path(".tillroll"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the pause and leave it.")] = False,
    why: Why = "",
) -> None:
    """Lift the pause that too many dead letters in a row put on intake."""
    from services.cli.operate import at_terminal, operate
    from services.orders.pause import lift_pause, read_pause

    if dry_run:
        reason = operate(data_dir, lambda _engine, redis: read_pause(redis))
    else:
        reason = operate(data_dir, lambda engine, redis: lift_pause(engine, redis, at_terminal(why)))
    if reason is None:
        print("intake is not paused")
    else:
        print(f"{'paused' if dry_run else 'lifted the pause'}: {reason}")


@app.command()
def demo(
    checkouts: Annotated[int, typer.Option(min=1)] = 1000,
    duplicates: Annotated[int, typer.Option(min=0, help="How often each checkout is submitted again, at once.")] = 3,
    concurrency: Annotated[int, typer.Option(min=1, help="Submissions in flight.")] = 64,
    base_url: Annotated[
        str | None, typer.Option(envvar="TILLROLL_API_URL", help="Another gateway than the running one.")
    ] = None,
    data_dir: DataDir = Path(".tillroll"),
    as_json: AsJson = False,
) -> None:
    """Fire concurrent, duplicated checkouts and judge the rows in Postgres; exit 1 when one is lost or doubled."""
    from services.cli.demo import run_demo
    from services.cli.locate import require_running, settings_of_running

    settings = settings_of_running(data_dir)
    base_url = base_url or require_running(settings.data_dir).gateway_url
    verdict = asyncio.run(run_demo(settings, base_url, checkouts, duplicates, concurrency))
    if as_json:
        print(verdict.model_dump_json(indent=2))
    else:
        _print_table(verdict.model_dump(exclude={"differences"}))
        print("\n".join(["verdict: good"] if verdict.is_good else ["verdict: WRONG", *verdict.differences]))
    if not verdict.is_good:
        raise typer.Exit(1)


def _print_table(values: Mapping[str, object]) -> None:
    for name, value in values.items():
        match value:
            case None:
                shown = "unknown"
            case bool():
                shown = "yes" if value else "no"
            case _:
                shown = str(value)
        print(f"{name.replace('_', ' '):<26}{shown}")
