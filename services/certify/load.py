"""The shop floor: begins the plan's purchases at a rate and knows every shopper on it. Judges nothing.

It can be emptied for a moment, for faults that must meet no request.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import count

from services.certify.deadline import within
from services.certify.history import History
from services.certify.http_client import Door, NoAnswer, Response
from services.certify.plan import Purchase, Shelf, plan_purchase
from services.certify.shopper import Shopper

CONCURRENCY = 64  # purchases whose first answer has not come
AGAIN_WITHIN = 120.0  # seconds for all late retries together
_AGAIN_AT_ONCE = 16


class Load:
    """The shoppers of one run. `checkouts` take POST /api/orders, `gateways` every route; `tokens` by user."""

    def __init__(
        self, seed: int, shelf: Shelf, checkouts: Sequence[Door], gateways: Sequence[Door], tokens: Mapping[str, str]
    ) -> None:
        self.history = History()
        self.checkouts, self.gateways, self.tokens = checkouts, gateways, tokens
        self.begun = 0
        self.duplicates = 0
        self._seed, self._shelf = seed, shelf
        self._shoppers: dict[int, Shopper] = {}
        self._open = asyncio.Event()
        self._open.set()
        self._in_flight = 0
        self._is_empty = asyncio.Event()
        self._is_empty.set()

    @property
    def in_flight(self) -> int:
        """Requests that have no answer yet."""
        return self._in_flight

    async def run(self, purchases: int, rate: float, enough: asyncio.Event) -> None:
        """Begins purchases, `rate` a second (after an outage faster), until there are so many and `enough` is set;
        returns when all have ended."""
        start = time.monotonic()
        lanes = asyncio.Semaphore(CONCURRENCY)
        async with asyncio.TaskGroup() as group:
            for number in count():
                if number >= purchases and enough.is_set():
                    break
                await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
                await lanes.acquire()
                shopper = Shopper(self, plan_purchase(self._seed, number, self._shelf))
                first = group.create_task(shopper.arrive())
                first.add_done_callback(lambda _: lanes.release())
                group.create_task(shopper.stay(first))

    def note_begin(self, shopper: Shopper) -> None:
        """From here on the purchase counts: its first submission is on its way."""
        purchase = shopper.purchase
        self.history.purchases[purchase.number] = purchase
        self._shoppers[purchase.number] = shopper
        self.begun += 1
        self.duplicates += len(purchase.submissions) - 1

    async def send(
        self, door: Door, method: str, path: str, headers: Mapping[str, str], body: object, seconds: float
    ) -> Response:
        """One request, as soon as the floor is open; raises NoAnswer."""
        await self._open.wait()
        self._in_flight += 1
        self._is_empty.clear()
        try:
            return await door.send(method, path, headers, body, seconds)
        finally:
            self._in_flight -= 1
            if not self._in_flight:
                self._is_empty.set()

    @asynccontextmanager
    async def empty_floor(self) -> AsyncIterator[None]:
        """Inside, no request is under way and none begins."""
        self._open.clear()
        try:
            await self._is_empty.wait()
            yield
        finally:
            self._open.set()

    async def submit_again(self, purchases: Sequence[Purchase], phase: str, seconds: float = AGAIN_WITHIN) -> None:
        """One more submission of each (with retries), a few at a time; raises DoesNotRun, which says how many pend."""
        lanes = asyncio.Semaphore(_AGAIN_AT_ONCE)
        left = len(purchases)

        async def one(purchase: Purchase, door: int) -> None:
            nonlocal left
            async with lanes:
                await self._shoppers[purchase.number].submit(door, phase=phase)
                left -= 1

        async def everyone() -> None:
            async with asyncio.TaskGroup() as group:
                for door, purchase in enumerate(purchases):
                    group.create_task(one(purchase, door))

        await within(seconds, everyone(), lambda: f"{left} of {len(purchases)} late retries have no answer")

    def close(self) -> None:
        """Closes the doors' connections."""
        for door in {*self.checkouts, *self.gateways}:
            door.close()


async def read_catalog(door: Door) -> Shelf:
    """What the shop sells; raises NoAnswer."""
    response = await door.send("GET", "/api/products", {})
    if response.status != 200:
        raise NoAnswer(f"{door.name} answered {response.status} for the catalogue")
    return Shelf.of(response.data)
