"""For each mutation of services/certify/sabotage.py the tests that must fail with it."""

_CONSUMER = "tests/acceptance/test_consumer_killed_loses_nothing.py::"
_ACCEPT = "tests/integration/test_accept_order.py::"

DIRECTED = {
    "ack-before-commit": _CONSUMER + "test_kill_9_in_the_middle_of_a_batch_loses_and_doubles_nothing",
    "no-on-conflict": "tests/integration/test_record_events.py::test_a_redelivered_batch_changes_nothing",
    "random-event-id": _ACCEPT + "test_a_key_that_outlives_its_memory_gets_the_same_order_id",
    "group-at-the-end": _CONSUMER + "test_a_consumer_records_what_was_accepted_before_its_first_start_and_after",
    "no-claim": _CONSUMER + "test_another_consumer_finishes_what_a_killed_one_left",
    "overlay-after-postgres": "tests/integration/test_orders_reads.py"
    "::test_an_order_that_is_recorded_while_it_is_read_is_never_missing",
    "trim-by-maxlen": "tests/integration/test_backlog_is_kept.py",
    "user-left-out": _ACCEPT + "test_another_user_with_the_same_name_never_meets_the_order",
    "status-without-compare": "tests/integration/test_change_status.py"
    "::test_of_two_racing_moves_exactly_one_is_accepted",
    "late-money-dropped": "tests/integration/test_stripe_webhook.py"
    "::test_paid_after_cancel_is_a_dead_letter_with_an_alarm_and_the_order_stays_cancelled",
}
