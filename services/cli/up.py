"""`tillroll up`: the whole system in one terminal, from an empty folder or from what an earlier run left."""

import asyncio
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

from services.cli import run_state
from services.cli.embedded import CannotStart, open_data_folder, remember_server, unwritable
from services.cli.embedded_postgres import prepare_postgres
from services.cli.embedded_redis import prepare_redis
from services.cli.migration import migrate_database
from services.cli.readiness import postgres_answers, redis_answers
from services.cli.run_state import ChildState, ProcessId, RunState
from services.cli.supervisor import Child, Supervisor
from services.cli.system import (
    HOST,
    app_environment,
    consumer_child,
    free_port,
    gateway_child,
    postgres_child,
    redis_child,
    require_free_port,
)
from services.cli.welcome import welcome
from shared.auth import Verifier
from shared.settings import Settings


def run_up(settings: Settings, port: int) -> None:
    """Runs until Ctrl-C or SIGTERM. Raises TillrollError with one clear sentence when it cannot start or go on."""
    Verifier(settings)  # refuses production mode without an issuer to trust
    folder = open_data_folder(settings.data_dir)
    with run_state.lock_folder(folder):
        try:
            for name in run_state.end_leftovers(folder):
                announce(f"ended {name}, left by a run that was killed")
            require_free_port(port)
            asyncio.run(_run_until_stopped(settings, folder, port))
            run_state.forget_state(folder)
        except OSError as fault:
            raise unwritable(folder, fault) from fault
    announce(f"stopped; everything is kept in {folder}")


def announce(line: str) -> None:
    """One line on standard error: the terminal of whoever started us."""
    print(f"tillroll: {line}", file=sys.stderr, flush=True)


async def _run_until_stopped(settings: Settings, folder: Path, port: int) -> None:
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    state = _new_state(port)

    def note_start(child: Child, pid: int) -> None:
        process = ProcessId.of(pid)
        if process is not None:
            state.children[child.name] = ChildState(process=process, stop_signal=child.stop_signal)
            state.save(folder)

    async with Supervisor(announce, note_start) as supervisor:
        work = asyncio.create_task(_run(supervisor, settings, folder, state, port))
        stop = asyncio.create_task(stopped.wait())
        await asyncio.wait({work, stop}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            await work
        announce("stopping")
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def _run(supervisor: Supervisor, settings: Settings, folder: Path, state: RunState, port: int) -> None:
    logs = folder / "logs"
    logs.mkdir(exist_ok=True)
    await asyncio.gather(
        _start_redis(supervisor, settings, folder, state, logs),
        _start_postgres(supervisor, settings, folder, state, logs),
    )
    await asyncio.to_thread(migrate_database, state.database_url)
    env = app_environment(folder, state.redis_url, state.database_url)
    consumer_port = int(state.consumer_url.rpartition(":")[2])
    await asyncio.gather(
        supervisor.start(consumer_child(consumer_port, env, logs)), supervisor.start(gateway_child(port, env, logs))
    )
    state.save(folder)
    print(await welcome(settings, folder, state), flush=True)
    await supervisor.wait()


def _new_state(port: int) -> RunState:
    me = ProcessId.of(os.getpid())
    assert me is not None
    gateway_url, consumer_url = f"http://{HOST}:{port}", f"http://{HOST}:{free_port()}"
    return RunState(supervisor=me, redis_url="", database_url="", gateway_url=gateway_url, consumer_url=consumer_url)


async def _start_redis(supervisor: Supervisor, settings: Settings, folder: Path, state: RunState, logs: Path) -> None:
    if "redis_url" in settings.model_fields_set:
        state.redis_url = settings.redis_url.get_secret_value()
        if not await redis_answers(state.redis_url):
            raise CannotStart("The Redis that REDIS_URL names does not answer.")
        return
    server = await asyncio.to_thread(prepare_redis, folder, settings.aof_policy)
    state.redis_url = server.url
    await supervisor.start(redis_child(server, logs))
    remember_server(folder, server)
    announce(f"{server.kind} {server.version} is ready")


async def _start_postgres(
    supervisor: Supervisor, settings: Settings, folder: Path, state: RunState, logs: Path
) -> None:
    if "database_url" in settings.model_fields_set:
        state.database_url = settings.database_url.get_secret_value()
        if not await postgres_answers(state.database_url):
            raise CannotStart("The PostgreSQL that DATABASE_URL names does not answer.")
        return
    server = await asyncio.to_thread(prepare_postgres, folder)
    state.database_url = server.url
    await supervisor.start(postgres_child(server, logs))
    remember_server(folder, server)
    announce(f"{server.kind} {server.version} is ready")
