"""Builds and starts the system under test in a folder of its own: servers, wires, processes. Strikes nothing."""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from services.certify import faults_disk
from services.certify.faults_processes import clock_environment, find_faketime, set_clock
from services.certify.plan import USERS
from services.certify.proxy import Proxy
from services.certify.readiness import postgres_answers, redis_answers
from services.certify.sabotage import sabotage
from services.certify.world import (
    GATEWAYS,
    PROCESSES,
    Process,
    Program,
    World,
    copy_source,
    free_port,
)
from services.orders.migrate import migrate
from shared.issuer import issue_development_token
from shared.settings import Settings

CLAIM_AFTER, RETENTION = 3, 20  # seconds, short: a run must see claims and trimming
BATCH = 50  # entries, so that there are many batches


@dataclass(frozen=True)
class Servers:
    """Redis and Postgres, ready to be started in a folder, and Popen's options for processes of ours."""

    redis: Program
    postgres: Program
    app_options: Mapping[str, Any]


Prepare = Callable[[Path], Servers]


@dataclass
class Built:
    """A running world with what only its builder knows."""

    world: World
    proxies: dict[str, Proxy]
    clocks: dict[str, Path]
    small_disk: Path | None
    client_port: int
    """Where clients reach checkout-1."""


async def build_world(
    stack: AsyncExitStack, folder: Path, prepare: Prepare, faults: Collection[str], sabotaged: str | None
) -> Built:
    """Everything running; `stack` ends it. Raises TillrollError when something does not start."""
    for name in ("logs", "run", "redis", "source", "pg"):
        (folder / name).mkdir(mode=0o711)
    small_disk = _mount(stack, folder / "redis") if "disk-full" in faults else None
    servers = await asyncio.to_thread(prepare, folder)
    logs = folder / "logs"
    redis = Process(servers.redis, logs / "redis.log", partial(redis_answers, servers.redis.url))
    postgres = Process(servers.postgres, logs / "postgres.log", partial(postgres_answers, servers.postgres.url))
    world = World(folder, redis, postgres)
    stack.push_async_callback(world.stop)
    await asyncio.gather(redis.start(), postgres.start())
    await asyncio.to_thread(migrate, servers.postgres.url)
    source = await asyncio.to_thread(copy_source, folder / "source")
    if sabotaged is not None:
        sabotage(source, sabotaged)
    proxies, wires = await _lay_wires(folder, servers)
    clocks = _hang_clocks(folder) if "clock-jump" in faults and find_faketime() else {}
    for name in PROCESSES:
        env = {
            "REDIS_URL": servers.redis.url,
            "DATABASE_URL": servers.postgres.url,
            "TILLROLL_DATA_DIR": str(folder),
            "TILLROLL_CONSUMER": name,
            "TILLROLL_CLAIM_AFTER": str(CLAIM_AFTER),
            "TILLROLL_STREAM_RETENTION": str(RETENTION),
            "TILLROLL_BATCH_SIZE": str(BATCH),
            "PYTHONDONTWRITEBYTECODE": "1",
            **wires.get(name, {}),
            **(clock_environment(clocks[name]) if name in clocks else {}),
        }
        world.add_app(name, source, env, servers.app_options)
    client_port = free_port()
    proxies["clients to checkout-1"] = await Proxy.on_port(client_port, world.ports["checkout-1"])
    for proxy in proxies.values():
        stack.push_async_callback(proxy.close)
    settings = Settings(data_dir=folder)
    await asyncio.to_thread(issue_development_token, settings, "anybody")  # makes the issuer's key
    await world.start_apps()
    return Built(world, proxies, clocks, small_disk, client_port)


def issue_tokens(folder: Path) -> dict[str, str]:
    """A token for each shopper."""
    settings = Settings(data_dir=folder)
    names = [f"shopper-{number:03d}" for number in range(USERS)]
    return {name: issue_development_token(settings, name) for name in names}


async def _lay_wires(folder: Path, servers: Servers) -> tuple[dict[str, Proxy], dict[str, dict[str, str]]]:
    """Proxies by what they join, and for each process behind one the URLs that lead through it."""
    redis_socket = Path(servers.redis.url.removeprefix("unix://"))
    postgres_folder = Path(servers.postgres.url.partition("?host=")[2])
    proxies: dict[str, Proxy] = {}
    wires: dict[str, dict[str, str]] = {}
    for name in (GATEWAYS[1], "consumer-2"):
        socket = folder / "run" / f"{name}.sock"
        proxies[f"{name} to Redis"] = await Proxy.on_socket(socket, redis_socket)
        wires[name] = {"REDIS_URL": f"unix://{socket}"}
    postgres_socket = ".s.PGSQL.5432"
    proxies["consumer-2 to Postgres"] = await Proxy.on_socket(
        folder / "pg" / postgres_socket, postgres_folder / postgres_socket
    )
    wires["consumer-2"]["DATABASE_URL"] = servers.postgres.url.replace(str(postgres_folder), str(folder / "pg"))
    return proxies, wires


def _hang_clocks(folder: Path) -> dict[str, Path]:
    clocks = {name: folder / "run" / f"{name}.clock" for name in (GATEWAYS[1], "consumer-1")}
    for clock in clocks.values():
        set_clock(clock, "+0")
    return clocks


def _mount(stack: AsyncExitStack, place: Path) -> Path | None:
    if faults_disk.why_no_small_disk() is not None or faults_disk.mount_small_disk(place) is not None:
        return None
    stack.callback(faults_disk.unmount, place)
    return place
