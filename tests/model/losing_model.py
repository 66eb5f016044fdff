"""The model of one checkout with a log, an archive, and a Redis whose data can be lost. Pure, as the model it extends.

What a loss takes is taken from the model, too: `gone` orders exist for nobody any more, the others are as recorded.
"""

from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple

from tests.model.checkout_model import Answer, CartName, CheckoutModel, Items, Order

Name = tuple[object, ...]


class Fact(NamedTuple):
    """One event; `names` are those that it gave to its order, each with the moment of its end."""

    what: Literal["accepted", "joined", "paid", "cancelled"]
    order: int
    key: str | None = None
    names: tuple[tuple[Name, int], ...] = ()


class NotLoaded(Exception):
    """503: the names of past checkouts are not all known, so nothing is accepted and nothing moved."""


@dataclass
class LosingModel(CheckoutModel):
    """`log` is what is accepted and not recorded, oldest first; `recorded` the orders as the rows have them."""

    log: list[Fact] = field(default_factory=list)
    archive: list[Fact] = field(default_factory=list)
    recorded: dict[int, Order] = field(default_factory=dict)
    gone: set[int] = field(default_factory=set)
    is_loaded: bool = True
    naming: list[tuple[Name, int]] = field(default_factory=list)

    def submit(self, user: str, items: Items, *, key: str | None = None, cart: CartName | None = None) -> Answer:
        """POST /api/orders; raises NotLoaded."""
        self._check()
        self.naming = []
        answer = super().submit(user, items, key=key, cart=cart)
        if self.naming:  # names were given: to a new checkout, or a key to a known one
            what: Literal["accepted", "joined"] = "accepted" if answer.outcome == "accepted" else "joined"
            self.log.append(Fact(what, answer.order, key, tuple(self.naming)))
        return answer

    def record(self, count: int) -> None:
        """The oldest `count` events of the log become rows."""
        taken, self.log = self.log[:count], self.log[count:]
        for fact in taken:
            match fact.what:
                case "accepted":
                    order = self.orders[fact.order]
                    self.recorded[fact.order] = replace(order, key=fact.key, status="processing")
                case "joined":
                    self.recorded[fact.order].key = fact.key
                case status:
                    self.recorded[fact.order].status = status
        self.archive += taken

    def lose(self) -> None:
        """Redis is empty."""
        self.log, self.carts, self.names, self.is_loaded = [], {}, {}, False
        self.gone = set(range(len(self.orders))) - set(self.recorded)
        for number, order in self.recorded.items():
            self.orders[number] = replace(order)

    def reload(self) -> None:
        """Names come back from the archive, as they were given, those of checkouts first; what is there stays."""
        for fact in sorted(self.archive, key=lambda fact: fact.what != "accepted"):
            for name, end in fact.names:
                if (name[0] == "key" or self._is_live(fact.order)) and self._find(name) is None and end > self.now:
                    self.names[name] = (fact.order, end)
        self.is_loaded = True

    def _move(self, user: str, order: int, status: Literal["paid", "cancelled"]) -> str:
        self._check()
        if order in self.gone:
            return "unknown"
        before = self.orders[order].status if order < len(self.orders) else None
        after = super()._move(user, order, status)
        if (before, after) == ("processing", status):
            self.log.append(Fact(status, order))
        return after

    def _bind(self, name: Name, order: int, ttl: int) -> None:
        self.naming.append((name, self.now + ttl))
        super()._bind(name, order, ttl)

    def _check(self) -> None:
        if not self.is_loaded:
            raise NotLoaded
