"""Whatever comes first, at once or again, of POST, GraphQL, payment and success page: one checkout, one paid order.

Every history is a seed: it chooses who takes part, and whose command Redis answers next. 50 of them, 500 with
TILLROLL_SLOW=1.
"""

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import uuid4

import httpx
import pytest

from shared.settings import AofPolicy, Settings
from tests.payments import PaidShop, Recorder, purchase
from tests.turnstile import GatedRedis, Turnstile

HISTORIES = 500 if os.environ.get("TILLROLL_SLOW") == "1" else 50
CREATE = "mutation($t:Float!,$i:[CartItemInput!]!,$k:String){createOrder(total:$t,items:$i,idempotencyKey:$k){id}}"


@dataclass
class Shopper:
    """One checkout of one user, and what its clients were told. Some send its one `key`, all or none name `cart`."""

    shop: PaidShop
    recorder: Recorder
    turnstile: Turnstile
    random: Random
    user: str
    items: dict[str, int]
    key: str | None
    cart: str | None
    session_id: str = ""
    ids: set[str] = field(default_factory=set)
    statuses: list[int] = field(default_factory=list)
    done: list[str] = field(default_factory=list)

    def _names(self) -> dict[str, str]:
        keyed = {"idempotency_key": self.key} if self.key and self.random.random() < 0.6 else {}
        if self.cart is None:
            return keyed
        return {**keyed, "x_cart_session": self.random.choice([self.cart, self.cart.partition(".")[0]])}

    async def post(self) -> None:
        answer = await self.shop.order(self.user, self.items, **self._names())
        self.done.append(f"post {answer.status_code}")
        assert answer.status_code in (200, 201), answer.text
        self.statuses.append(answer.status_code)
        self.ids.add(answer.json()["data"]["id"])

    async def create(self) -> None:
        named = self._names()
        order, key = purchase(self.items), named.pop("idempotency_key", None)
        variables = {"t": order["total"], "i": order["items"], "k": key}
        answer = await self.shop.call(
            self.user, "POST", "/api/graphql", {"query": CREATE, "variables": variables}, **named
        )
        self.done.append("createOrder")
        assert answer.status_code == 200, answer.text
        self.ids.add(answer.json()["data"]["createOrder"]["id"])

    async def open(self) -> None:
        answer = await self.shop.open(self.user, self.items, **self._names())
        self.done.append(f"open {answer.status_code}")
        if answer.status_code == 409:
            assert answer.json()["error"] == "The order is paid already"
            self.ids.add(answer.json()["orderId"])
            return
        assert answer.status_code == 200, answer.text
        self.ids.add(answer.json()["data"]["orderId"])
        if not self.session_id:
            self.session_id = answer.json()["data"]["id"]
            for _ in range(self.random.randint(1, 3)):
                self.turnstile.start(self.pay())
            for _ in range(self.random.randint(0, 2)):
                self.turnstile.start(self.reload())
        assert answer.json()["data"]["id"] == self.session_id

    async def pay(self) -> None:
        answer = await self.shop.pay(self.session_id)
        self.done.append("webhook")
        assert (answer.status_code, answer.json()) == (200, {"received": True})

    async def reload(self) -> None:
        answer = await self.shop.find(self.user, self.session_id)
        self.done.append(f"reload {answer.status_code}")
        assert answer.status_code in (200, 404), answer.text
        if answer.status_code == 200:
            self.ids.add(answer.json()["data"]["id"])
        assert (await self.shop.find("mallory", self.session_id)).status_code == 404

    async def record(self) -> None:
        await self.turnstile.turn()
        self.done.append(f"recorded {await self.recorder.record(self.random.randint(1, 3))}")


@pytest.fixture
async def gate(shop: PaidShop, settings: Settings) -> AsyncIterator[GatedRedis]:
    """The app's Redis, one command at a time."""
    state: Any = shop.http._transport.app.app.state  # type: ignore[attr-defined]
    plain = state.redis
    state.redis = GatedRedis.from_url(settings.redis_url.get_secret_value(), protocol=2)
    await plain.config_set("appendfsync", "no")  # the order of commands is judged here, not their durability
    yield state.redis
    await plain.config_set("appendfsync", AofPolicy.ALWAYS)
    await state.redis.aclose()
    state.redis = plain


async def play(seed: int, shop: PaidShop, gate: GatedRedis, recorder: Recorder) -> None:
    random = Random(seed)
    cart = None
    items = random.choice([{"1": 1}, {"3": 2}, {"1": 2, "2": 1}])
    if random.random() < 0.5:
        body = {"items": purchase(items)["items"]}
        answer = await shop.http.put(f"/api/cart/{uuid4()}", json=body)
        shop.http.cookies.clear()
        cart = str(answer.cookies["cart_session"])
    key = f"till-roll-{seed}" if random.random() < 0.6 else None
    gate.turnstile = Turnstile(seed)
    ada = Shopper(shop, recorder, gate.turnstile, random, f"ada-{seed}", items, key, cart)
    acts = [ada.open, random.choice([ada.post, ada.create])]
    acts += random.choices([ada.post, ada.create, ada.open, ada.record], k=random.randint(1, 4))
    for act in acts:
        gate.turnstile.start(act())
    try:
        await gate.turnstile.run()
    finally:
        gate.turnstile = None
    await judge(ada)


async def judge(ada: Shopper) -> None:
    while await ada.recorder.record():
        pass
    told = f"{ada.user}: key {ada.key}, cart {ada.cart}: {' > '.join(ada.done)}"
    [order_id] = ada.ids
    assert await ada.recorder.rows(ada.user) == [(order_id, ada.user, "paid", ada.session_id)], told
    assert ada.statuses.count(201) <= 1, told
    assert await ada.recorder.letters() == [], told
    found = await ada.shop.find(ada.user, ada.session_id)
    [listed] = (await ada.shop.call(ada.user, "GET", "/api/orders")).json()["data"]
    assert found.json()["data"] == listed, told
    again = await ada.shop.pay(ada.session_id)
    assert again.status_code == 200
    assert await ada.recorder.record() == 0, f"{told}: a repetition is printed"


async def test_in_any_order_one_checkout_is_one_paid_order(
    shop: PaidShop, gate: GatedRedis, recorder: Recorder
) -> None:
    for seed in range(HISTORIES):
        try:
            await play(seed, shop, gate, recorder)
        except (AssertionError, ValueError, httpx.HTTPError) as fault:
            raise AssertionError(f"history {seed}: {fault}") from fault
