"""What a seed decides, and what the history alone gives away."""

from typing import Any

import pytest

from services.certify.faults import AT_THE_END, FAULTS
from services.certify.history import FORGOTTEN, Answer, History, MoveAnswer, judge_history
from services.certify.plan import Move, Protection, Shelf, plan_purchase
from services.certify.schedule import UnknownFault, plan_faults

SHELF = Shelf.of(
    [
        {"id": "1", "price": 129, "stock": 25},
        {"id": "2", "price": 149, "stock": 15},
        {"id": "3", "price": 39, "stock": 8},
        {"id": "4", "price": 10, "stock": 0},
    ]
)
PLAN = [plan_purchase(42, number, SHELF) for number in range(4000)]


def test_a_seed_decides_every_purchase_and_another_seed_decides_others() -> None:
    assert [plan_purchase(42, number, SHELF) for number in range(4000)] == PLAN
    assert [plan_purchase(43, number, SHELF) for number in range(4000)] != PLAN


def test_no_two_purchases_of_a_user_have_the_same_items() -> None:
    assert len({(purchase.user, purchase.items) for purchase in PLAN}) == len(PLAN)


def test_three_in_ten_are_submitted_again_and_half_as_many_duplicates_as_purchases_come() -> None:
    again = sum(len(purchase.submissions) > 1 for purchase in PLAN)
    duplicates = sum(len(purchase.submissions) - 1 for purchase in PLAN)
    assert 0.27 < again / len(PLAN) < 0.33
    assert 0.45 < duplicates / len(PLAN) < 0.6


def test_neighbours_share_the_text_of_a_key_and_nothing_else_shares_it() -> None:
    keyed = [purchase for purchase in PLAN if purchase.key is not None]
    assert len({purchase.key for purchase in keyed}) * 2 == len(keyed)
    assert len({(purchase.key, purchase.user) for purchase in keyed}) == len(keyed)


def test_only_a_key_outlives_a_cancel_and_only_a_named_purchase_is_submitted_late() -> None:
    for purchase in PLAN:
        if any(request.move is Move.CANCELLED for request in purchase.moves):
            assert purchase.key is not None
        if purchase.protection is Protection.BARE:
            assert all(submission.delay <= 1.5 for submission in purchase.submissions)


def test_a_seed_decides_the_schedule_and_long_runs_meet_every_kind() -> None:
    schedule = plan_faults(7, 600, "all")
    assert schedule == plan_faults(7, 600, "all")
    assert schedule != plan_faults(8, 600, "all")
    defaults = {name for name, fault in FAULTS.items() if fault.is_default}
    assert {planned.name for planned in schedule} == defaults
    assert {planned.hold for planned in schedule if planned.name.startswith("postgres-") and planned.hold > 3} == {20}
    times = [planned.at for planned in schedule if planned.at is not None]
    assert times == sorted(times)
    assert max(times) < 600
    assert [planned.name for planned in schedule if planned.at is None] == list(AT_THE_END)


def test_faults_are_chosen_by_number_or_name() -> None:
    assert plan_faults(7, 60, "none") == []
    assert len([planned for planned in plan_faults(7, 60, "5") if planned.at is not None]) in (4, 5)
    assert [planned.name for planned in plan_faults(7, 60, "redis-kill, redis-kill")] == ["redis-kill", "redis-kill"]
    with pytest.raises(UnknownFault, match="'flood'"):
        plan_faults(7, 60, "flood")


def _history(*answers: tuple[int, int, str, float], **more: Any) -> History:
    """Answers as (purchase, status, order id, second it was sent); each takes half a second."""
    noted = []
    for number, status, order_id, sent in answers:
        purchase = PLAN[number]
        order = {"id": order_id, "userId": purchase.user, "total": float(purchase.total), "items": purchase.lines}
        given = order if status in (200, 201) else None
        noted.append(Answer(number, "gateway-1", sent, sent + 0.5, status, given, **more))
    return History({number: PLAN[number] for number, *_ in answers}, noted)


def _rules(history: History, lost: tuple[str, ...] = ()) -> list[str]:
    return [finding.rule for finding in judge_history(history, lost)]


def test_one_201_and_equal_200s_are_clean() -> None:
    assert (
        _rules(_history((0, 201, "a", 0), (0, 200, "a", 0.1), (0, 503, "", 1), (0, 0, "", 2), (1, 201, "b", 0))) == []
    )


def test_two_ids_for_a_purchase_and_two_purchases_for_an_id_are_found() -> None:
    assert "one id a key" in _rules(_history((0, 201, "a", 0), (0, 200, "b", 1)))
    assert _rules(_history((0, 201, "a", 0), (1, 200, "a", 1))) == ["one key an id"]


def test_a_second_201_and_a_201_after_the_order_was_known_are_found() -> None:
    assert "201 once" in _rules(_history((0, 201, "a", 0), (0, 201, "a", 0.1)))
    assert _rules(_history((0, 200, "a", 0), (0, 201, "a", 5))) == ["write once"]
    assert _rules(_history((0, 201, "a", 0), (0, 201, "a", 5), phase=FORGOTTEN)) == []


def test_an_id_that_was_lost_with_the_disk_may_be_replaced_once() -> None:
    assert _rules(_history((0, 201, "a", 0), (0, 201, "b", 5)), lost=("a",)) == []
    assert "one id a key" in _rules(_history((0, 201, "a", 0), (0, 201, "b", 5), (0, 200, "c", 9)), lost=("a",))


def test_another_users_order_and_other_items_are_no_answer() -> None:
    history = _history((0, 201, "a", 0))
    assert history.answers[0].order is not None
    wrong = {**history.answers[0].order, "userId": "somebody else"}
    history.answers = [Answer(0, "gateway-1", 0, 1, 201, wrong)]
    assert _rules(history) == ["answers are the purchase"]


@pytest.mark.parametrize("status", [400, 401, 409, 422, 500])
def test_a_sound_submission_is_never_refused_or_broken(status: int) -> None:
    assert _rules(_history((0, status, "", 0))) == ["sound requests are not refused"]


def test_a_payment_is_never_in_conflict_and_a_cancel_may_be() -> None:
    history = _history((0, 201, "a", 0))
    history.moves.append(MoveAnswer(0, "a", Move.CANCELLED, "gateway-1", 409))
    assert _rules(history) == []
    history.moves.append(MoveAnswer(0, "a", Move.PAID, "gateway-1", 409))
    assert _rules(history) == ["sound requests are not refused"]
