"""Longer histories in which Redis is lost again and again, by any two shoppers: Hypothesis looks for one that the
model answers otherwise."""

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from shared.settings import Settings
from tests.model.browsers import USERS, Browsers, run_histories
from tests.model.conftest import IS_FULL
from tests.model.losing_shop import Answer, Call, Lose, LosingJudge, LosingShop, ReadShop, Record, Reload


class Losses(Browsers):
    """Two users with two browsers, one consumer, and a Redis that is not to be trusted."""

    driver: LosingShop
    judge: LosingJudge
    last_look = ReadShop(USERS)

    def open_shop(self) -> None:
        self.run(self.driver.open())
        self.judge = LosingJudge()

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
    most, steps = (400, 40) if IS_FULL else (7, 25)
    run_histories(Losses, LosingShop, settings, most=most, steps=steps)
