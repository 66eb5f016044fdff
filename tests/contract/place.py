"""Gateways to run the suite against: a given one, and the two that are started here with everything behind them."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import lru_cache, partial
from pathlib import Path
from types import TracebackType

import httpx

from services.cli.system import ROOT, free_port
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.nginx import SERVICES, Nginx
from tests.servers import Servers, wait_until

WEBHOOK_SECRET = "whsec_of_the_suite"

Issue = Callable[[str, bool], str]


class Place:
    """A gateway at `url` and who issues tokens for it. `servers` are the ones behind it, when they are ours."""

    def __init__(self, url: str, issue: Issue, servers: Servers | None = None) -> None:
        self.url = url.rstrip("/")
        self.issue = lru_cache(maxsize=None)(issue)
        self.servers = servers
        self.http = httpx.Client(base_url=self.url, timeout=20, trust_env=False)

    def __enter__(self) -> "Place":
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _fault: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self.http.close()


def run_command(command: str) -> Issue:
    """Tokens as `command` prints them."""

    def issue(user: str, is_admin: bool) -> str:
        argv = [*shlex.split(command), user, *(["--admin"] if is_admin else [])]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    return issue


def issue_with(settings: Settings) -> Issue:
    """Tokens of the development issuer of `settings`."""
    return lambda user, is_admin: issue_development_token(settings, user, is_admin)


@contextmanager
def open_composed(servers: Servers, folder: Path) -> Iterator[Place]:
    """One process with all services, and the consumer."""
    settings = _settings(servers, folder)
    with ExitStack() as stack:
        ports = _start(stack, settings, {"gateway": "gateway.app", "consumer": "orders.consumer"}, folder)
        yield stack.enter_context(Place(f"http://127.0.0.1:{ports['gateway']}", issue_with(settings), servers))


@contextmanager
def open_nginx(servers: Servers, folder: Path, checkouts: int = 1) -> Iterator[Place]:
    """nginx before one process for each service (`checkouts` of the checkout service), and the consumer."""
    port = free_port()
    settings = _settings(servers, folder).model_copy(update={"api_url": f"http://127.0.0.1:{port}"})
    modules = {service: f"{service}.app" for service in SERVICES} | {"consumer": "orders.consumer"}
    modules |= {f"checkout-{number}": "checkout.app" for number in range(2, checkouts + 1)}
    with ExitStack() as stack:
        ports = _start(stack, settings, modules, folder)
        upstreams = {service: f"127.0.0.1:{ports[service]}" for service in SERVICES}
        more = (f"127.0.0.1:{ports[name]}" for name in modules if name.startswith("checkout-"))
        upstreams["checkout"] = "; server ".join((upstreams["checkout"], *more))
        nginx = Nginx(folder / "nginx", upstreams, port=port)
        stack.callback(nginx.stop)
        yield stack.enter_context(Place(nginx.url, issue_with(settings), servers))


def _settings(servers: Servers, folder: Path) -> Settings:
    return Settings(REDIS_URL=servers.redis_url, DATABASE_URL=servers.database_url, data_dir=folder)


def _start(stack: ExitStack, settings: Settings, modules: Mapping[str, str], folder: Path) -> dict[str, int]:
    """Starts the apps and returns their ports when all are ready."""
    ports = {name: free_port() for name in modules}
    env = {
        "PATH": os.environ["PATH"],
        "HOME": os.environ["HOME"],
        "REDIS_URL": settings.redis_url.get_secret_value(),
        "DATABASE_URL": settings.database_url.get_secret_value(),
        "TILLROLL_DATA_DIR": str(settings.data_dir),
        "TILLROLL_API_URL": settings.api_url,
        "TILLROLL_STRIPE_WEBHOOK_SECRET": WEBHOOK_SECRET,
    }
    for name, module in modules.items():
        process = _start_app(f"services.{module}:create_app", ports[name], env, folder / f"{name}.log")
        stack.callback(_stop, process)
    for name, port in ports.items():
        wait_until(partial(_is_ready, port), f"{name} is ready; its log is in {folder}")
    return ports


def _start_app(factory: str, port: int, env: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "uvicorn", factory, "--factory", "--port", str(port), "--no-access-log"]
    with log.open("wb") as file:
        return subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=file, stderr=file, cwd=ROOT)


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    process.wait(30)


def _is_ready(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/ready", trust_env=False).status_code == 200
    except httpx.TransportError:
        return False
