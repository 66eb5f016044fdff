"""Longer histories than can all be gone through: Hypothesis looks for one that the model answers otherwise."""

from shared.settings import Settings
from tests.model.browsers import Browsers, run_histories
from tests.model.conftest import IS_FULL
from tests.model.real_driver import RealDriver


def test_long_histories_are_answered_as_the_model_answers_them(settings: Settings) -> None:
    most, steps = (2000, 60) if IS_FULL else (60, 30)
    run_histories(Browsers, RealDriver, settings, most=most, steps=steps)
