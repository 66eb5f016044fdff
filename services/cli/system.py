"""The processes of the embedded system as children of a supervisor. Decides commands and environments; runs nothing."""

import os
import signal
import socket
import sys
from collections.abc import Mapping
from datetime import timedelta
from functools import partial
from pathlib import Path

from services.cli.embedded import CannotStart, Server
from services.cli.readiness import http_answers, postgres_answers, redis_answers
from services.cli.supervisor import Child, Ready

ROOT = Path(__file__).parents[2]  # where the packages `services` and `shared` are
HOST = "127.0.0.1"
CONSUMER_GRACE = timedelta(seconds=25)  # it finishes the batch in hand
_SERVER_GRACE = timedelta(seconds=60)  # PostgreSQL may have gigabytes to write to a slow disk


def redis_child(server: Server, logs: Path) -> Child:
    """Redis: SIGTERM makes it sync its file and exit."""
    return _server_child(server, logs, partial(redis_answers, server.url), signal.SIGTERM)


def postgres_child(server: Server, logs: Path) -> Child:
    """PostgreSQL: SIGINT is the fast shutdown, which does not wait for clients."""
    return _server_child(server, logs, partial(postgres_answers, server.url), signal.SIGINT)


def gateway_child(port: int, env: Mapping[str, str], logs: Path) -> Child:
    """All routes in one process."""
    return _app_child("gateway", "services.gateway.app:create_app", port, env, logs, timedelta(seconds=10))


def consumer_child(port: int, env: Mapping[str, str], logs: Path) -> Child:
    """The one writer of orders."""
    return _app_child("consumer", "services.orders.consumer:create_app", port, env, logs, CONSUMER_GRACE)


def app_environment(data_dir: Path, redis_url: str, database_url: str) -> dict[str, str]:
    """Our own environment, with the servers and the data folder that were found."""
    own = {"REDIS_URL": redis_url, "DATABASE_URL": database_url, "TILLROLL_DATA_DIR": str(data_dir)}
    return {**os.environ, **own, "PYTHONUNBUFFERED": "1"}


def require_free_port(port: int) -> None:
    """Raises CannotStart when `port` cannot be listened on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as uvicorn does: TIME_WAIT is not in use
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as fault:
            cause = fault.strerror if isinstance(fault, OSError) else str(fault)
            raise CannotStart(f"Port {port} cannot be used ({cause}); choose another: make up PORT=8010.") from fault


def free_port() -> int:
    """A port that nothing listens on."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind((HOST, 0))
        port: int = probe.getsockname()[1]
    return port


def _server_child(server: Server, logs: Path, is_ready: Ready, stop_signal: signal.Signals) -> Child:
    log = logs / f"{server.name}.log"
    return Child(server.name, server.argv, server.env, log, is_ready, server.account, stop_signal, _SERVER_GRACE)


def _app_child(name: str, factory: str, port: int, env: Mapping[str, str], logs: Path, grace: timedelta) -> Child:
    options = ["--app-dir", str(ROOT), "--host", HOST, "--port", str(port), "--no-access-log"]
    argv = [sys.executable, "-m", "uvicorn", factory, "--factory", *options]
    is_ready = partial(http_answers, f"http://{HOST}:{port}/ready")
    return Child(name, argv, env, logs / f"{name}.log", is_ready, grace=grace)
