"""Two databases, each with PostgreSQL, gateway and consumer's connection of its own. Starts them; measures nothing."""

import asyncio
import signal
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine

from services.bench.grow import CHUNK, FreshCheckouts, connect
from services.bench.growth import GROWN
from services.bench.shoppers import Shoppers
from services.bench.world import World
from services.cart.catalog import load_catalog
from services.certify.readiness import is_ready, postgres_answers
from services.certify.world import Process, free_port
from services.orders.migrate import migrate
from shared.postgres import connect_postgres
from shared.settings import Settings

_TOLD = ("shared_buffers", "max_wal_size", "checkpoint_timeout", "wal_compression", "huge_pages_status", "autovacuum")

Say = Callable[[str], None]


@dataclass
class Side:
    """One database. `engine` is the consumer's, one connection for as long as the server runs, as in the product."""

    name: str
    postgres: Process
    gateway: Process
    port: int
    engine: AsyncEngine
    fresh: FreshCheckouts
    shoppers: Shoppers

    @property
    def url(self) -> str:
        """libpq form, over a unix socket."""
        return self.postgres.program.url

    def pids(self, world: World) -> dict[str, int]:
        """Who works for a list."""
        found = {"postgres": self.postgres.pid, "web": self.gateway.pid, "redis": world.redis.pid}
        return {name: pid for name, pid in found.items() if pid is not None}

    async def execute(self, statement: str) -> None:
        """On a connection of its own."""
        await self.fetch(statement)

    async def fetch(self, query: str) -> Any:
        """The first value, on a connection of its own."""
        connection = await connect(self.url)
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def start_again(self, *options: str) -> None:
        """Stops the server, which writes all that is in memory, and starts it as the product does, then `options`."""
        self.postgres.may_die = True
        await self.postgres.end(signal.SIGINT)  # SIGTERM would wait for the gateway to hang up
        self.postgres.may_die = False
        await self.postgres.start(*options)

    async def let_vacuum(self, *, is_on: bool) -> None:
        """Autovacuum on or off, from now on."""
        await self.execute(f"ALTER SYSTEM SET autovacuum = {'on' if is_on else 'off'}")
        await self.execute("SELECT pg_reload_conf()")

    async def settings(self) -> dict[str, str]:
        """Those that growth depends on, as the server says."""
        return {name: str(await self.fetch(f"SHOW {name}")) for name in _TOLD}

    def take_readers(self, names: Sequence[str], everybody: Shoppers, folder: Path) -> None:
        """From now on these read their orders."""
        tokens = dict(zip(everybody.users, everybody.tokens_file.read_text().splitlines(), strict=True))
        file = folder / f"tokens-{self.name}"
        file.write_text("\n".join(tokens[name] for name in names) + "\n")
        self.shoppers = replace(everybody, users=tuple(names), tokens_file=file)


async def open_side(world: World, name: str, stack: AsyncExitStack) -> Side:
    """An empty database, migrated; the grown one is the world's own. Raises TillrollError."""
    if name == GROWN:
        postgres = world.postgres
    else:
        place = world.folder / name
        place.mkdir(mode=0o711)
        program = await asyncio.to_thread(world.lent.postgres, place)
        postgres = Process(program, world.folder / f"{name}.log", partial(postgres_answers, program.url))
        await postgres.start()
        stack.push_async_callback(_end, postgres)
        await asyncio.to_thread(migrate, program.url)
    port = free_port()
    web = world.program(f"gateway-{name}", world.lent.gateway_argv(port), DATABASE_URL=postgres.program.url)
    gateway = Process(web, world.folder / f"gateway-{name}.log", partial(is_ready, port))
    await gateway.start()
    stack.push_async_callback(_end, gateway)
    engine = connect_postgres(Settings(DATABASE_URL=postgres.program.url), "bench")
    stack.push_async_callback(engine.dispose)
    fresh = FreshCheckouts(load_catalog(Settings()), CHUNK)
    return Side(name, postgres, gateway, port, engine, fresh, world.shoppers)


async def _end(process: Process) -> None:
    process.may_die = True
    await process.end(signal.SIGTERM)
