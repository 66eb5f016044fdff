"""Amounts in events: what is remembered is no way around a check. Events themselves: small and immutable."""

from dataclasses import FrozenInstanceError
from decimal import Decimal

import pytest
from pydantic import TypeAdapter, ValidationError

from shared import events
from shared.events import CheckoutCompleted, Money, decode, encode
from tests.builders import a_checkout

_MONEY: TypeAdapter[Decimal] = TypeAdapter(Money)


@pytest.mark.parametrize("text", ["-1", "1.001", "1000000.01", "NaN", "Infinity", "1e9", "", "x"])
def test_a_bad_amount_is_refused_each_time(text: str) -> None:
    for _ in range(3):
        with pytest.raises(ValidationError):
            _MONEY.validate_json(f'"{text}"')


def test_a_good_amount_is_the_same_each_time_and_makes_no_bad_one_good() -> None:
    assert [_MONEY.validate_json('"49.90"') for _ in range(3)] == [Decimal("49.90")] * 3
    assert str(_MONEY.validate_json('"49.90"')) == "49.90"
    assert str(_MONEY.validate_json('"49.9"')) == "49.9"
    with pytest.raises(ValidationError):
        _MONEY.validate_json('"-49.90"')


def test_only_so_many_amounts_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    remembered: dict[str, Decimal] = {}
    monkeypatch.setattr(events, "_amounts", remembered)
    monkeypatch.setattr(events, "_MANY_AMOUNTS", 3)
    assert [_MONEY.validate_json(f'"{cents / 100:.2f}"') for cents in range(9)] == [
        Decimal(cents) / 100 for cents in range(9)
    ]
    assert list(remembered) == ["0.00", "0.01", "0.02"]


def test_a_decoded_event_has_no_room_for_more_and_cannot_be_changed() -> None:
    event = decode(encode(a_checkout()))
    assert isinstance(event, CheckoutCompleted)
    for part in (event, event.names, *event.lines):
        assert not hasattr(part, "__dict__")
    with pytest.raises(FrozenInstanceError):
        event.total = Decimal(1)  # type: ignore[misc]
