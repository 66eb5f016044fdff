"""Longer histories in which Redis is lost again and again, by any two shoppers: Hypothesis looks for one that the
model answers otherwise."""

import asyncio
from contextlib import AsyncExitStack

from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, precondition, rule, run_state_machine_as_test

from services.cart.model import Cart as RealCart
from shared.postgres import connect_postgres
from shared.settings import Settings
from tests.model.conftest import IS_FULL, connect_quickly
from tests.model.losing_shop import Answer, Call, Lose, LosingJudge, LosingShop, ReadShop, Record, Reload
from tests.model.test_long_histories import SESSIONS, USERS, Browsers


class Losses(Browsers):
    """Two users with two browsers, one consumer, and a Redis that is not to be trusted."""

    driver: LosingShop
    judge: LosingJudge
    last_look = ReadShop(USERS)

    @initialize()
    def begin(self) -> None:
        self.run(self.driver.open())
        self.judge = LosingJudge()
        self.generations: dict[str, list[str]] = {session: [] for session in SESSIONS}
        self.etags: dict[str, list[str]] = {session: [RealCart().etag] for session in SESSIONS}

    @precondition(lambda self: self.judge.model.log)
    @rule(count=st.integers(1, 4))
    def record(self, count: int) -> None:
        self._make(Record(count))

    @precondition(lambda self: self.judge.model.orders)
    @rule(recorded=st.integers(0, 3), is_at_once=st.sampled_from((True, True, False)))
    def lose(self, recorded: int, is_at_once: bool) -> None:
        self._make(Record(recorded))
        self._make(Lose())
        if is_at_once:
            self._make(Reload())

    @rule()
    def reload(self) -> None:
        self._make(Reload(is_late=self.judge.model.is_loaded))

    def _act(self, step: Call) -> Answer:
        answer: Answer = self.run(self.driver.act(step))
        self.judge.hear_all(step, answer)
        return answer


def test_long_histories_with_losses_are_answered_as_the_model_answers_them(settings: Settings) -> None:
    bounds = hypothesis_settings(
        max_examples=400 if IS_FULL else 7,
        stateful_step_count=40 if IS_FULL else 25,
        derandomize=not IS_FULL,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    with asyncio.Runner() as runner:
        closing = AsyncExitStack()
        try:
            redis = runner.run(closing.enter_async_context(connect_quickly(settings)))
            engine = connect_postgres(settings, "test")
            closing.push_async_callback(engine.dispose)
            shop = {"driver": LosingShop(redis, engine, settings), "run": staticmethod(runner.run)}
            run_state_machine_as_test(type("Losses", (Losses,), shop), settings=bounds)
        finally:
            runner.run(closing.aclose())
