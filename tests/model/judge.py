"""Holds what was observed of the real shop against the model: real ids stand for the model's numbers, one to one."""

from dataclasses import dataclass, field, replace
from typing import TypeVar
from uuid import UUID

from shared.streams import user_digest
from tests.model.calls import (
    Answer,
    Call,
    CartSeen,
    LifeSeen,
    Move,
    MoveSeen,
    OrderSeen,
    OrdersSeen,
    PutCart,
    PutSeen,
    ReadCart,
    ReadLife,
    ReadOrders,
    Submit,
    SubmitSeen,
    Wait,
)
from tests.model.checkout_model import CartName, CheckoutModel

SLACK = 10_000  # ms that a history itself may take

_Real = TypeVar("_Real")
_Name = TypeVar("_Name")


class Disagreement(Exception):
    """What the real shop did is not what the model does."""


@dataclass
class Judge:
    """The model after some calls, and what it has learnt about which real id is which number."""

    model: CheckoutModel = field(default_factory=CheckoutModel)
    orders: dict[UUID, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)

    def copy(self) -> "Judge":
        """Independent of this one."""
        model = self.model
        return Judge(
            CheckoutModel(
                model.now,
                dict(model.carts),
                [replace(order) for order in model.orders],
                dict(model.names),
                model.generations,
            ),
            dict(self.orders),
            dict(self.generations),
        )

    def hear(self, call: Call, answer: Answer, *, is_lost: bool = False) -> None:
        """The model makes the call too; raises Disagreement when its answer is another. `is_lost`: nobody saw one."""
        match call, answer:
            case PutCart(session, items, if_match), _:
                put = self.model.put(session, items, if_match=self._version(if_match))
                if not is_lost:
                    assert isinstance(answer, PutSeen)
                    same(call, answer.outcome, put.outcome)
                    self._same_generation(call, answer.generation, put.generation)
            case Submit(user, items, key, session, generation), _:
                cart = None if session is None else CartName(session, self._generation(generation))
                told = self.model.submit(user, items, key=key, cart=cart)
                if not is_lost:
                    assert isinstance(answer, SubmitSeen)
                    same(call, answer.outcome, told.outcome)
                    bind(call, self.orders, answer.order_id, told.order)
            case Move(user, order_id, to), _:
                move = self.model.cancel if to == "cancelled" else self.model.pay
                status = move(user, self.orders.get(order_id, len(self.model.orders)))
                if not is_lost:
                    assert isinstance(answer, MoveSeen)
                    same(call, answer.status, status)
            case ReadCart(session), CartSeen() as seen:
                self._compare_cart(call, session, seen)
            case ReadLife(session), LifeSeen(left):
                expected = max(0, self.model.cart(session).expires_at - self.model.now)
                if abs(left - expected) > SLACK:
                    raise Disagreement(f"{call}: {left} ms in the shop, {expected} ms in the model")
            case ReadOrders(users), OrdersSeen(orders):
                self._compare_orders(call, users, orders)
            case Wait(ms), None:
                self.model.now += ms
            case _:
                raise AssertionError((call, answer))

    def _compare_cart(self, call: Call, session: str, seen: CartSeen) -> None:
        cart = self.model.cart(session)
        same(call, seen.items, cart.items)
        same(call, seen.version, cart.version)
        same(call, seen.has_checked_out, cart.has_checked_out)
        self._same_generation(call, seen.generation, cart.generation)
        same(call, len(seen.bought), len(cart.bought))
        for (user, items, order_id), bought in zip(seen.bought, cart.bought, strict=True):
            same(call, (user, items), (user_digest(bought.user), bought.items))
            bind(call, self.orders, order_id, bought.order)

    def _compare_orders(self, call: Call, users: tuple[str, ...], seen: tuple[OrderSeen, ...]) -> None:
        for order in seen:
            number = self.orders.get(order.order_id)
            if number is None:  # accepted for a client that vanished before it was told: any such order will do
                bound = set(self.orders.values())
                number = next(
                    (
                        number
                        for number, own in enumerate(self.model.orders)
                        if number not in bound and (own.user, own.items, own.status) == order[1:4]
                    ),
                    -1,
                )
                if number < 0:
                    raise Disagreement(f"{call}: {order} should not be")
                self.orders[order.order_id] = number
            own = self.model.orders[number]
            same(call, order[1:], (own.user, own.items, own.status, own.key is not None))
        same(call, len(seen), sum(order.user in users for order in self.model.orders))

    def _same_generation(self, call: Call, real: str | None, number: int | None) -> None:
        if real is None or number is None:
            same(call, real, number)
        else:
            bind(call, self.generations, real, number)

    def _generation(self, real: str | None) -> int | None:
        if real is None:
            return None
        if real not in self.generations:
            raise Disagreement(f"generation {real} is not known yet")
        return self.generations[real]

    def _version(self, etag: str | None) -> tuple[int | None, int] | None:
        if etag is None:
            return None
        generation, version = etag.strip('"').split(".")
        return self._generation(None if generation == "0" else generation), int(version)


def same(call: object, seen: object, expected: object) -> None:
    """Raises when the shop's answer is not the model's."""
    if seen != expected:
        raise Disagreement(f"{call}: the shop says {seen}, the model {expected}")


def bind(call: object, known: dict[_Real, _Name], real: _Real, name: _Name) -> None:
    """`real` stands for `name` from now on; raises when one of the two stands for something else already."""
    if real not in known and name not in known.values():
        known[real] = name
    elif known.get(real) != name:
        raise Disagreement(f"{call}: the shop says {real}, which is {known.get(real)}; the model says {name}")
