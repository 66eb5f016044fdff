"""Whatever two users with two browsers may do, as rules that Hypothesis makes histories of.

Two carts, two keys, any amounts, and time in steps of ten seconds: what a history takes itself is less, so that the
shop is never ahead of the model where something ends.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from typing import Any

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from services.cart.model import Cart as RealCart
from shared.postgres import connect_postgres
from shared.settings import Settings
from tests.model.calls import Call, CartSeen, Move, PutCart, ReadCart, ReadLife, ReadOrders, Submit, Wait
from tests.model.checkout_model import CART_TTL, IDENTITY, WINDOW, canonical
from tests.model.conftest import IS_FULL, connect_quickly, hurry
from tests.model.intents import KEYS
from tests.model.judge import Judge
from tests.model.real_driver import RealDriver

USERS = ("ada", "bob")
SESSIONS = ("5e5510c0-0000-4000-8000-00000000000a", "5e5510c0-0000-4000-8000-00000000000b")
TEN_SECONDS = 10_000  # ms

amounts = st.builds(
    lambda headphones, pads: canonical({"1": headphones, "3": pads}), st.integers(0, 2), st.integers(0, 2)
)
nth = st.integers(0, 5)


class Browsers(RuleBasedStateMachine):
    """Whatever two users with two browsers do is answered as the model answers it."""

    driver: RealDriver
    run: Callable[[Coroutine[Any, Any, Any]], Any]  # on the one event loop that all histories share
    last_look: Any = ReadOrders(USERS)

    @initialize()
    def begin(self) -> None:
        self.open_shop()
        self.generations: dict[str, list[str]] = {session: [] for session in SESSIONS}
        self.etags: dict[str, list[str]] = {session: [RealCart().etag] for session in SESSIONS}

    def open_shop(self) -> None:
        """Nothing was ever bought."""
        self.run(self.driver.forget())
        self.judge = Judge()

    @rule(session=st.sampled_from(SESSIONS), items=amounts)
    def put(self, session: str, items: Any) -> None:
        self._make(PutCart(session, items))

    @rule(session=st.sampled_from(SESSIONS), items=amounts, back=nth)
    def put_if_match(self, session: str, items: Any, back: int) -> None:
        self._make(PutCart(session, items, _back(self.etags[session], back)))

    @rule(user=st.sampled_from(USERS), items=amounts.filter(bool), key=st.sampled_from((None, *KEYS)))
    def buy(self, user: str, items: Any, key: str | None) -> None:
        self._make(Submit(user, items, key))

    @rule(
        user=st.sampled_from(USERS),
        items=amounts.filter(bool),
        key=st.sampled_from((None, None, *KEYS)),
        session=st.sampled_from(SESSIONS),
        back=st.none() | nth,
    )
    def buy_with_cart(self, user: str, items: Any, key: str | None, session: str, back: int | None) -> None:
        known = self.generations[session]
        generation = _back(known, back) if back is not None and known else None
        self._make(Submit(user, items, key, session, generation))

    @rule(
        user=st.sampled_from(USERS),
        session=st.sampled_from(SESSIONS),
        key=st.sampled_from((None, None, None, *KEYS)),
        is_carrying=st.booleans(),
    )
    def check_out(self, user: str, session: str, key: str | None, is_carrying: bool) -> None:
        """Buys exactly what is in the cart."""
        cart = self.judge.model.cart(session)
        if cart.items:
            self._make(Submit(user, cart.items, key, session, self.generations[session][-1] if is_carrying else None))

    @precondition(lambda self: self.judge.orders)
    @rule(user=st.sampled_from(USERS), back=nth, to=st.sampled_from(("paid", "cancelled", "cancelled")))
    def move(self, user: str, back: int, to: Any) -> None:
        order_id: Any = _back(list(self.judge.orders), back)
        self._make(Move(user, order_id, to))

    @precondition(lambda self: self.judge.model.now < IDENTITY - 2 * CART_TTL)
    @rule(ms=st.sampled_from((TEN_SECONDS, WINDOW - TEN_SECONDS, WINDOW, CART_TTL - WINDOW, CART_TTL)))
    def wait(self, ms: int) -> None:
        self._make(Wait(ms))

    def _make(self, call: Any) -> None:
        looks: list[Call] = [look for session in SESSIONS for look in (ReadCart(session), ReadLife(session))]
        for step in (call, *looks, self.last_look):
            answer = self._act(step)
            match step, answer:
                case ReadCart(session), CartSeen(generation=generation, etag=etag):
                    if generation is not None and generation not in self.generations[session]:
                        self.generations[session].append(generation)
                    if etag not in self.etags[session]:
                        self.etags[session].append(etag)

    def _act(self, step: Any) -> Any:
        answer = self.run(self.driver.make(step))
        self.judge.hear(step, answer)
        return answer


def _back(known: list[Any], back: int) -> Any:
    """The last one, the one before, ..., the first."""
    return known[max(-1 - back, -len(known))]


def run_histories(
    browsers: type[Browsers], shop: type[RealDriver], settings: Settings, *, most: int, steps: int
) -> None:
    """Looks for a history that `shop` answers otherwise than the model of `browsers`: `most` of up to `steps` each.

    They are the same each time, unless everything is run.
    """
    bounds = hypothesis_settings(
        max_examples=most,
        stateful_step_count=steps,
        derandomize=not IS_FULL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        closing = AsyncExitStack()
        try:
            redis = runner.run(closing.enter_async_context(connect_quickly(settings)))
            engine = hurry(connect_postgres(settings, "test"))
            closing.push_async_callback(engine.dispose)
            machine = {"driver": shop(redis, engine, settings), "run": staticmethod(runner.run)}
            run_state_machine_as_test(type(browsers.__name__, (browsers,), machine), settings=bounds)
        finally:
            runner.run(closing.aclose())
