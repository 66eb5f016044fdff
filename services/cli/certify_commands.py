"""`tillroll certify`: the door to the certification. Lends it the embedded servers; judges nothing."""

import asyncio
import json
import signal
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import AsJson

if TYPE_CHECKING:
    from services.certify.build_world import Servers

app = typer.Typer()


@app.command()
def certify(
    seed: Annotated[int, typer.Option(min=0, help="Decides purchases, faults and poison.")] = 1,
    minutes: Annotated[float, typer.Option(min=0.1, max=1440, help="How long the load lasts, at least.")] = 10,
    faults: Annotated[str, typer.Option(help="all, none, a number, or names separated by commas.")] = "all",
    rate: Annotated[float, typer.Option(min=0.1, help="Purchases begun a second.")] = 90,
    report: Annotated[Path | None, typer.Option(help="Folder for report.json and report.html.")] = None,
    sabotage: Annotated[str | None, typer.Option(help="Break the product on purpose: the verdict must be bad.")] = None,
    as_json: AsJson = False,
) -> None:
    """Load the system, break it in every way it must survive, and judge every row; exit 1 unless clean."""
    from services.certify.outcome import Order
    from services.certify.report import render_text, to_json, write_report
    from services.certify.run import certify as run

    order = Order(seed, minutes, faults, rate, sabotage)
    with tempfile.TemporaryDirectory(prefix="tillroll-certify-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        outcome = asyncio.run(run(order, folder, _prepare_servers, _say))
    if report is not None:
        write_report(outcome, report)
    print(json.dumps(to_json(outcome), indent=2) if as_json else render_text(outcome))
    if outcome.findings:
        raise typer.Exit(1)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _prepare_servers(folder: Path) -> "Servers":
    from services.certify.build_world import Servers
    from services.certify.world import Program
    from services.cli.children import spawn_options
    from services.cli.embedded import Server
    from services.cli.embedded_postgres import prepare_postgres
    from services.cli.embedded_redis import prepare_redis
    from shared.settings import AofPolicy

    def program(server: Server) -> Program:
        options = spawn_options(server.account, signal.SIGKILL)
        return Program(server.name, server.argv, server.env, options, server.url)

    redis, postgres = prepare_redis(folder, AofPolicy.ALWAYS), prepare_postgres(folder)
    return Servers(program(redis), program(postgres), spawn_options(None, signal.SIGKILL))
