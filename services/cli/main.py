"""`tillroll`: the command line. Doors only: each command parses, calls one function and renders what it returns."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from shared.errors import TillrollError

app = typer.Typer(name="tillroll", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)

DataDir = Annotated[
    Path, typer.Option(envvar="TILLROLL_DATA_DIR", help="The folder that holds servers and their data.")
]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output.")]


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
def migrate(data_dir: DataDir = Path(".tillroll")) -> None:
    """Bring the database to the newest migration."""
    from services.cli.locate import settings_of_running
    from services.cli.migration import migrate_database

    migrate_database(settings_of_running(data_dir).database_url.get_secret_value())


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
    data_dir: DataDir = Path(".tillroll"),
) -> None:
    """Print a token of the local development issuer, good for a day."""
    from services.cli.locate import read_settings
    from shared.auth import issue_development_token

    print(issue_development_token(read_settings(data_dir), user, admin))
