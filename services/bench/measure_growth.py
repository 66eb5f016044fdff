"""The cost of an order and of a list while one database grows, beside one that stays small.

Each has a PostgreSQL of its own with the settings that the product ships with, so that a machine that does something
else disturbs both. Decides what is measured when; growth.py judges.
"""

import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from services.bench.environment import describe_environment
from services.bench.grow import FreshCheckouts, grow, readers
from services.bench.growth import GROWN, SIDES, SMALL, Growth, Step
from services.bench.growth_parts import Sides, measure_inserts, measure_lists, measure_reconcile
from services.bench.growth_sides import Say, open_side
from services.bench.shoppers import prepare_shoppers
from services.bench.world import Lent, World, open_world
from services.bench.wrk import require_wrk
from services.cart.catalog import load_catalog
from shared.settings import Settings

_READERS = 2000
_TIGHT = ("-c", "shared_buffers=128MB")  # PostgreSQL's default, where indexes leave the cache soonest


async def measure_growth(sizes: Sequence[int], seconds: float, folder: Path, lent: Lent, say: Say) -> Growth:
    """One database that grows through `sizes`; `seconds` of lists a round. Raises TillrollError."""
    require_wrk()
    begun = time.monotonic()
    (folder / "shoppers").mkdir()
    names = sorted({name for size in sizes for name in readers(size, _READERS)})
    everybody = prepare_shoppers(folder / "shoppers", load_catalog(Settings()), names=names)
    async with AsyncExitStack() as stack:
        say("starting the servers")
        world = await open_world(folder, lent, everybody)
        stack.push_async_callback(world.stop)
        sides = {name: await open_side(world, name, stack) for name in SIDES}
        growth = Growth(await describe_environment(world), await sides[GROWN].settings())
        await grow(sides[SMALL].url, 0, min(sizes), say)
        sides[SMALL].take_readers(readers(min(sizes), _READERS), everybody, folder)
        present = 0
        for size in sizes:
            await grow(sides[GROWN].url, present, size, say)
            present = size
            await measure_size(world, sides, size, seconds, growth, say)
    growth.seconds = time.monotonic() - begun
    return growth


async def measure_size(world: World, sides: Sides, size: int, seconds: float, growth: Growth, say: Say) -> None:
    """Everything at one size of the grown database, then orders again with little memory."""
    grown = sides[GROWN]
    grown.take_readers(readers(size, _READERS), world.shoppers, world.folder)
    grown.fresh = FreshCheckouts(load_catalog(Settings()), size)
    step = Step(size)
    await measure_lists(world, sides, step, seconds, say)
    await measure_inserts(sides, step, say)
    await measure_reconcile(sides, step, say)
    growth.steps.append(step)
    say(f"{size:>9} grown again with {_TIGHT[1]}")
    await grown.start_again(*_TIGHT)
    tight = Step(size)
    await measure_inserts(sides, tight, say)
    growth.tight.append(tight)
    await grown.start_again()
