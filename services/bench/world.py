"""The machine's side of a benchmark: servers, web tiers and the consumer, started once and loaded in turn.

All that run and are not loaded only wait. Measures nothing; knows where to ask.
"""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
from redis.exceptions import RedisError

from services.bench.contenders import AFTERNOON_DB, CHECKOUTS, CONTENDERS, TILLROLL_DB
from services.bench.shoppers import Shoppers
from services.certify.readiness import is_ready, postgres_answers, redis_answers
from services.certify.roll import open_redis, read_backlog
from services.certify.world import HOST, Process, Program, free_port, until
from services.orders.migrate import migrate
from shared.errors import TillrollError

ROOT = Path(__file__).parents[2]
CONTENDERS_FOLDER = ROOT / "tests" / "bench"
DRAINED_WITHIN = 600.0  # seconds
WRITERS = 2  # as many as the web tiers have processes
_NGINX_PATH = "/usr/sbin:/usr/local/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin"
_NO_LIMIT = "1000000"  # requests a second from one address: the load comes from one


class NoContender(TillrollError):
    """What tillroll is compared with is not on this machine."""


@dataclass(frozen=True)
class Lent:
    """What the command line lends: servers, our processes as `tillroll up` starts them, Popen's options for them."""

    redis: Callable[[Path], Program]
    postgres: Callable[[Path], Program]
    gateway_argv: Callable[[int], Sequence[str]]
    consumer_argv: Callable[[int], Sequence[str]]
    options: Mapping[str, Any]


@dataclass
class World:
    """The servers and processes of one benchmark, by name."""

    folder: Path
    lent: Lent
    shoppers: Shoppers
    redis: Process
    postgres: Process
    processes: dict[str, Process] = field(default_factory=dict)
    ports: dict[str, int] = field(default_factory=dict)
    next_checkout: int = 0
    """The number of the first that was not sent so far: each is sent once, to one contender."""

    @property
    def redis_url(self) -> str:
        """`unix://...`"""
        return self.redis.program.url

    def database_url(self, database: str) -> str:
        """libpq form, over a unix socket."""
        return self.postgres.program.url.replace("/tillroll?", f"/{database}?")

    async def connect(self, database: str) -> "asyncpg.Connection[asyncpg.Record]":
        """A connection for what is not measured."""
        return await asyncpg.connect(self.database_url(database), timeout=10, command_timeout=1800)

    async def start(self, names: Sequence[str]) -> None:
        """Starts what the contenders `names` need, at once; raises DoesNotRun and NoContender."""
        if not CONTENDERS_FOLDER.is_dir():
            raise NoContender("tests/bench is missing: the contenders are part of the source tree, not of the package.")
        wanted = [CONTENDERS[name] for name in names]
        needed = {process for contender in wanted for process in contender.processes}
        needed |= {"consumer"} if any(contender.has_log for contender in wanted) else set()
        if any(not contender.has_log for contender in wanted):
            await make_afternoon_tables(self)
        for name in sorted(needed, key=lambda name: name == "nginx"):  # its upstreams need ports
            self._add(name)
        await asyncio.gather(*(self.processes[name].start() for name in needed))

    async def stop_processes(self) -> None:
        """Ends all but the servers."""
        for process in self.processes.values():
            process.may_die = True
        await asyncio.gather(*(process.end(signal.SIGTERM) for process in self.processes.values()))
        self.processes.clear()

    async def stop(self) -> None:
        """Ends everything."""
        for process in (*self.processes.values(), self.redis, self.postgres):
            process.may_die = True
            await process.end(signal.SIGKILL)

    async def drained(self) -> None:
        """Returns when everything is recorded and acked; raises DoesNotRun."""
        redis = open_redis(self.redis_url)

        async def it_is() -> bool:
            try:
                backlog = await read_backlog(redis)
            except (RedisError, OSError):
                return False
            return backlog is None or backlog.is_drained

        try:
            await until(it_is, "everything is recorded and acked", DRAINED_WITHIN)
        finally:
            await redis.aclose()

    def accidents(self) -> list[str]:
        """Ends that nobody asked for."""
        return [told for process in (*self.processes.values(), self.redis, self.postgres) for told in process.accidents]

    def program(self, name: str, argv: Sequence[str], **more: str) -> Program:
        """A program in the environment that all contenders share."""
        env = {
            **os.environ,
            "REDIS_URL": self.redis_url,
            "DATABASE_URL": self.database_url(TILLROLL_DB),
            "TILLROLL_DATA_DIR": str(self.folder),
            "TILLROLL_JWKS": str(self.shoppers.jwks_file),
            "PYTHONPATH": str(ROOT),
            **more,
        }
        return Program(name, argv, env, self.lent.options)

    def _add(self, name: str) -> None:
        port = self.ports[name] = free_port()
        gateway = self.lent.gateway_argv(port)
        match name.partition("-")[0]:
            case "gateway":
                program = self.program(name, gateway)
            case "checkout":
                program = self.program(name, _serving(gateway, "services.checkout.app"))
            case "afternoon":
                own = self.database_url(AFTERNOON_DB)
                program = self.program(name, _serving(gateway, "tests.bench.afternoon"), DATABASE_URL=own)
            case "floor":
                program = self.program(name, _serving(gateway, "tests.bench.floor_http"))
            case "consumer":
                program = self.program(name, self.lent.consumer_argv(port))
            case "nginx":
                upstreams = [self.ports[checkout] for checkout in CHECKOUTS]
                program = self.program(name, _nginx(self.folder / "nginx", port, upstreams))
            case other:
                raise AssertionError(other)
        ask = partial(_nginx_answers, port) if name == "nginx" else partial(is_ready, port)
        self.processes[name] = Process(program, self.folder / f"{name}.log", ask)


async def open_world(folder: Path, lent: Lent, shoppers: Shoppers) -> World:
    """Redis and a migrated Postgres, running in `folder`; raises TillrollError."""
    (folder / "log").mkdir(mode=0o711)
    redis_program, postgres_program = await asyncio.to_thread(_prepare, folder, lent)
    redis = Process(redis_program, folder / "redis.log", partial(redis_answers, redis_program.url))
    postgres = Process(postgres_program, folder / "postgres.log", partial(postgres_answers, postgres_program.url))
    world = World(folder, lent, shoppers, redis, postgres)
    await asyncio.gather(redis.start(), postgres.start())
    await asyncio.to_thread(migrate, postgres_program.url)
    return world


def _prepare(folder: Path, lent: Lent) -> tuple[Program, Program]:
    return lent.redis(folder / "log"), lent.postgres(folder)


async def make_database(world: World, database: str) -> None:
    """An empty database of that name, made anew."""
    connection = await world.connect("postgres")
    try:
        await connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        await connection.execute(f"CREATE DATABASE {database}")
    finally:
        await connection.close()


async def make_afternoon_tables(world: World) -> None:
    """The afternoon version's database, empty; raises NoContender when its code does not run."""
    await make_database(world, AFTERNOON_DB)
    program = world.program(
        "tables",
        [sys.executable, "-m", "tests.bench.afternoon_tables"],
        DATABASE_URL=world.database_url(AFTERNOON_DB),
    )
    made = await asyncio.create_subprocess_exec(
        *program.argv, env=program.env, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE
    )
    _, told = await made.communicate()
    if made.returncode != 0:
        raise NoContender(f"the afternoon version's tables cannot be made: {told.decode().strip()[-500:]}")


def _serving(gateway: Sequence[str], module: str) -> list[str]:
    """The gateway's command for another app: every web tier runs on the same server with the same options."""
    return [f"{module}:create_app" if part.endswith(":create_app") else part for part in gateway]


def _nginx(folder: Path, port: int, checkout_ports: Sequence[int]) -> list[str]:
    binary = shutil.which("nginx", path=_NGINX_PATH)
    if binary is None:
        raise NoContender("nginx is not installed: install it, or choose contenders with --only.")
    folder.mkdir(parents=True, exist_ok=True)
    template = (ROOT / "deploy" / "nginx.conf").read_text()
    known = {
        "LISTEN": f"{HOST}:{port}",
        "TILLROLL_ORIGINS": "*",
        "RATE_PER_SECOND": _NO_LIMIT,
        "RATE_BURST": _NO_LIMIT,
        "NGINX_TEMP": str(folder),
        "TRUSTED_PROXY": HOST,
    }
    # POST /api/orders goes nowhere else
    upstream = " fail_timeout=1s; server ".join(f"{HOST}:{checkout_port}" for checkout_port in checkout_ports)
    known |= dict.fromkeys(re.findall(r"\$\{(\w+_UPSTREAM)\}", template), upstream)
    text = re.sub(r"\$\{(\w+)\}", lambda match: known[match[1]], template)
    (folder / "nginx.conf").write_text(text)
    as_root = " user root;" if os.geteuid() == 0 else ""
    return [binary, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-g", f"daemon off;{as_root}"]


async def _nginx_answers(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection(HOST, port)
    except OSError:
        return False
    writer.close()
    return True
