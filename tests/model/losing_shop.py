"""The real shop with its consumer and its losses: the driver's calls, and those of who runs it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from uuid import UUID

from redis.asyncio import Redis
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from services.orders.claims import ensure_group
from services.orders.entries import Entry, entries_of, id_parts, keep_raw
from services.orders.intake import Intake
from services.orders.queries import list_orders
from services.orders.reload_names import check_names, reload_names
from shared.errors import Unavailable
from shared.settings import Settings
from shared.streams import ACCEPTED_AT, NAMES_LOADED, STREAM
from tests.model import calls
from tests.model.calls import Move, Submit, SubmitSeen, Wait
from tests.model.checkout_model import Items, canonical
from tests.model.judge import Disagreement, Judge
from tests.model.losing_model import LosingModel, NotLoaded
from tests.model.real_driver import RealDriver


@dataclass(frozen=True)
class Record:
    """The consumer takes the oldest `count` events that it has not taken."""

    count: int


@dataclass(frozen=True)
class Lose:
    """Redis' disk is erased."""


@dataclass(frozen=True)
class Reload:
    """The consumer looks after the names; `is_late`: it is a second one, and the first has done it already."""

    is_late: bool = False


@dataclass(frozen=True)
class ReadShop:
    """GET /api/orders of each of `users`."""

    users: tuple[str, ...]


Call = calls.Call | Record | Lose | Reload | ReadShop


class Refused(NamedTuple):
    """503: what became of the call is known here, nothing."""


class Row(NamedTuple):
    """An order as its owner sees it."""

    user: str
    items: Items
    status: str


class ShopSeen(NamedTuple):
    """By id."""

    orders: Mapping[UUID, Row]


Answer = calls.Answer | Refused | ShopSeen


class LosingShop(RealDriver):
    """A shop with one consumer, which works when it is told to."""

    def __init__(self, redis: Redis, engine: AsyncEngine, settings: Settings) -> None:
        super().__init__(redis, engine, settings)
        self._raw: Redis = Redis(connection_pool=redis.connection_pool)
        keep_raw(self._raw)
        self._intake = Intake(engine, self._raw, settings)
        self._taken = "0-0"
        self._waits: list[tuple[str, int]] = []  # newest entry at that time, ms

    async def open(self) -> None:
        """Nothing was ever bought, and the consumer is up."""
        await self.forget()
        async with self.engine.begin() as connection:
            for table in _WRITTEN:
                await connection.execute(text(f"DELETE FROM {table}"))
        self._taken, self._waits = "0-0", []
        await ensure_group(self._raw)
        await self.redis.set(NAMES_LOADED, "0-0")

    async def act(self, call: Call) -> Answer:
        """The shop's answer to `call`."""
        match call:
            case Record(count):
                await self._record(count)
            case Lose():
                await self.forget()
                await self.redis.delete(NAMES_LOADED)
                self._taken, self._waits = "0-0", []
            case Reload(is_late):
                await ensure_group(self._raw)
                await (reload_names if is_late else check_names)(self.engine, self._raw, self._settings)
            case ReadShop(users):
                return await self._read_shop(users)
            case Wait(ms):
                await self.age(ms)
                self._waits.append((await self._newest(), ms))
                async with self.engine.begin() as connection:
                    await connection.execute(_OLDER, {"ms": ms})
            case _:
                return await self._ask(call)
        return None

    async def _ask(self, call: calls.Call) -> Answer:
        try:
            answer = await self.make(call)
        except Unavailable:
            return Refused()
        if isinstance(call, Submit):
            await self._tick()
        return answer

    async def _tick(self) -> None:
        """To the next millisecond: of two orders of one millisecond, the archive does not know which was first."""
        seconds, microseconds = await self.redis.time()
        while (int(seconds), int(microseconds) // 1000) == _ms(await self.redis.time()):
            pass

    async def _record(self, count: int) -> None:
        entries = entries_of(await self._raw.xrange(STREAM, min=f"({self._taken}", count=count)) if count else []
        if entries:
            await self._intake.take([self._aged(entry) for entry in entries])
            self._taken = entries[-1].entry_id

    def _aged(self, entry: Entry) -> Entry:
        """As old as the time that has passed since would have made it."""
        older = sum(ms for newest, ms in self._waits if id_parts(entry.entry_id) <= id_parts(newest))
        at = ACCEPTED_AT.encode()
        fields = tuple((name, b"%d" % (int(value) - older) if name == at else value) for name, value in entry.fields)
        return Entry(entry.entry_id, fields, entry.stream)

    async def _newest(self) -> str:
        newest: Any = await self._raw.xrevrange(STREAM, count=1)
        return newest[0][0].decode() if newest else "0-0"

    async def _read_shop(self, users: tuple[str, ...]) -> ShopSeen:
        found = {}
        for user in users:
            for order in (await list_orders(self.redis, self.engine, user)).orders:
                items = canonical({line["id"]: line["quantity"] for line in order.items})
                found[order.id] = Row(order.user_id, items, order.status)
        return ShopSeen(found)


def _ms(time: Any) -> tuple[int, int]:
    return int(time[0]), int(time[1]) // 1000


_WRITTEN = ("order_items", "orders", "order_statuses", "events", "event_owners", "dead_letters")
"""Tables that a play writes, items before their orders. Where there are few rows, deleting them is cheap."""

_OLDER = text("UPDATE events SET accepted_at = accepted_at - :ms * interval '1 millisecond'")


@dataclass
class LosingJudge(Judge):
    """Holds what a shop with losses did against the model of it."""

    model: LosingModel = field(default_factory=LosingModel)
    keyed: dict[tuple[str, str], UUID] = field(default_factory=dict)  # the order that was accepted with that key
    given: set[UUID] = field(default_factory=set)

    def hear_all(self, call: Call, answer: Answer) -> None:
        """As `hear`, with the calls of who runs the shop."""
        match call:
            case Record(count):
                self.model.record(count)
            case Lose():
                self.model.lose()
                self.orders = {real: number for real, number in self.orders.items() if number not in self.model.gone}
            case Reload():
                self.model.reload()
            case ReadShop(users):
                assert isinstance(answer, ShopSeen)
                self._compare_shop(users, answer.orders)
            case Submit() | Move() if isinstance(answer, Refused):
                if self.model.is_loaded:
                    raise Disagreement(f"{call} was refused")
            case _:
                assert not isinstance(answer, Refused | ShopSeen), call
                try:
                    self.hear(call, answer)
                except NotLoaded:
                    raise Disagreement(f"{call}: the shop says {answer} while names are missing") from None
                if isinstance(call, Submit) and isinstance(answer, SubmitSeen) and answer.outcome == "accepted":
                    self._judge_id(call, answer.order_id)

    def _judge_id(self, call: Submit, order_id: UUID) -> None:
        """A key gives its lost order the same id again; no other submission is given an id that was another's."""
        name = (call.user, call.key or "")
        if self.keyed.get(name, order_id) != order_id or (order_id in self.given and name not in self.keyed):
            raise Disagreement(f"{call}: {order_id} is new; before, that key had {self.keyed.get(name)}")
        self.given.add(order_id)
        if call.key is not None:
            self.keyed[name] = order_id

    def _compare_shop(self, users: tuple[str, ...], seen: Mapping[UUID, Row]) -> None:
        expected = {
            number: Row(order.user, order.items, order.status)
            for number, order in enumerate(self.model.orders)
            if order.user in users and number not in self.model.gone
        }
        if {self.orders.get(order_id): row for order_id, row in seen.items()} != expected or len(seen) != len(expected):
            raise Disagreement(f"the shop shows {seen}, the model {expected}")
