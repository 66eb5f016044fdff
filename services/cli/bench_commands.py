"""`tillroll bench`: the door to the benchmark. Lends it the embedded servers; measures nothing."""

import asyncio
import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from services.cli.options import AsJson

if TYPE_CHECKING:
    from services.bench.world import Lent
    from services.certify.world import Program
    from services.cli.embedded import Server

app = typer.Typer()


@app.command()
def bench(
    quick: Annotated[bool, typer.Option("--quick", help="The four ratios in about a minute.")] = False,
    seconds: Annotated[float | None, typer.Option(min=1, help="Of each load.")] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Of each part; the figures are medians.")] = None,
    only: Annotated[
        str | None, typer.Option(help="Parts and contenders, separated by commas; or growth, memory or replay, alone.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=40_000, help="Orders that the large tables hold before.")] = None,
    events: Annotated[int | None, typer.Option(min=5000, help="Events that wait for a drain.")] = None,
    report: Annotated[Path | None, typer.Option(help="Folder for results.json, results.md and charts.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure accepting, recording and reading beside other ways to do it; exit 1 when an oracle objects."""
    from services.bench.figures import GROWTH, MEMORY, REPLAY
    from services.bench.plan import plan_bench
    from services.bench.report import render_text, to_json, write_report
    from services.bench.run import run_bench

    if only == GROWTH:
        _growth(rows, seconds or 3, report, as_json=as_json)
        return
    if only == MEMORY:
        _memory(report, as_json=as_json)
        return
    if only == REPLAY:
        _replay(rounds, seconds, report, as_json=as_json)
        return
    plan = plan_bench(quick=quick, seconds=seconds, rounds=rounds, only=only, rows=rows, events=events)
    with _folder() as folder:
        results = asyncio.run(run_bench(plan, folder, _lend(folder), _say))
    if report is not None:
        write_report(results, report)
    print(json.dumps(to_json(results), indent=2) if as_json else render_text(results))
    if not results.is_good:
        raise typer.Exit(1)


def _growth(rows: int | None, seconds: float, report: Path | None, *, as_json: bool) -> None:
    from services.bench.growth import sizes_up_to
    from services.bench.growth_report import growth_json, render_growth, write_growth
    from services.bench.measure_growth import measure_growth

    with _folder() as folder:
        growth = asyncio.run(measure_growth(sizes_up_to(rows), seconds, folder, _lend(folder), _say))
    if report is not None:
        write_growth(growth, report)
    print(json.dumps(growth_json(growth), indent=2) if as_json else render_growth(growth))
    if not growth.is_flat:
        raise typer.Exit(1)


def _replay(pairs: int | None, seconds: float | None, report: Path | None, *, as_json: bool) -> None:
    from services.bench.measure_replay import PAIRS, SECONDS, measure_beside_replay
    from services.bench.replay_report import render_replay, replay_json, write_replay

    with _folder() as folder:
        lent = _lend(folder)
        beside = asyncio.run(measure_beside_replay(pairs or PAIRS, seconds or SECONDS, folder, lent, _say))
    if report is not None:
        write_replay(beside, report)
    print(json.dumps(replay_json(beside), indent=2, default=str) if as_json else render_replay(beside))
    if not (beside.is_exact and beside.is_within):
        raise typer.Exit(1)


def _memory(report: Path | None, *, as_json: bool) -> None:
    from dataclasses import asdict

    from services.bench.measure_memory import measure_memory, render_memory

    with _folder() as folder:
        memory = asyncio.run(measure_memory(folder, _lend(folder), _say))
    if report is not None:
        report.mkdir(parents=True, exist_ok=True)
        (report / "memory.json").write_text(json.dumps(asdict(memory), indent=1) + "\n")
        (report / "memory.md").write_text(f"# What an order takes\n\n{render_memory(memory)}\n")
    print(json.dumps(asdict(memory), indent=2) if as_json else render_memory(memory))


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="tillroll-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o711)  # as root, PostgreSQL runs as another user
        yield folder


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _lend(folder: Path) -> "Lent":
    from services.bench.world import Lent
    from services.cli.children import spawn_options
    from services.cli.embedded_postgres import prepare_postgres
    from services.cli.embedded_redis import prepare_redis
    from services.cli.system import consumer_child, gateway_child
    from shared.settings import AofPolicy

    return Lent(
        redis=lambda place: _program(prepare_redis(place, AofPolicy.ALWAYS)),
        # the moment of each commit, so that the time from acceptance to commit can be read from the rows
        postgres=lambda place: _program(prepare_postgres(place), "-c", "track_commit_timestamp=on"),
        gateway_argv=lambda port: gateway_child(port, {}, folder).argv,
        consumer_argv=lambda port: consumer_child(port, {}, folder).argv,
        options=spawn_options(None, signal.SIGKILL),
    )


def _program(server: "Server", *options: str) -> "Program":
    from services.certify.world import Program
    from services.cli.children import spawn_options

    return Program(
        server.name, (*server.argv, *options), server.env, spawn_options(server.account, signal.SIGKILL), server.url
    )
