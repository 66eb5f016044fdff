"""GET /api/orders/events through a whole gateway: own orders as they move, resumed where they were left."""

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.contract.place import Place
from tests.contract.shopper import HEADPHONES, KEYBOARD, Shopper, assert_data, assert_error, line
from tests.contract.test_outages import away
from tests.events import LineSource

ITEMS = [line(KEYBOARD), line(HEADPHONES)]


class Listening:
    """Streams that are closed at the end of the test."""

    def __init__(self, place: Place, stack: ExitStack) -> None:
        self.place = place
        self._stack = stack
        self._sources: list[LineSource] = []  # one that nobody holds any more is closed

    def listen(self, shopper: Shopper, last_seen: str | None = None) -> LineSource:
        headers = {"Authorization": f"Bearer {shopper.token}"}
        if last_seen is not None:
            headers["Last-Event-ID"] = last_seen
        stream = self.place.http.stream("GET", "/api/orders/events", headers=headers)
        self._sources.append(LineSource(self._stack.enter_context(stream)))
        return self._sources[-1]


@pytest.fixture
def listening(place: Place) -> Iterator[Listening]:
    with ExitStack() as stack:
        yield Listening(place, stack)


def test_each_hears_of_their_own_orders_alone_and_resumes_without_a_gap_or_a_repeat(
    listening: Listening, anna: Shopper, bob: Shopper
) -> None:
    known = anna.bought(ITEMS)
    hers, his = listening.listen(anna), listening.listen(bob)
    assert hers.response.headers["Cache-Control"] == "no-store"
    assert (hers.next().data, his.next().data) == ([known], [])
    assert 1000 <= hers.retry <= 5000

    order = anna.bought([line(KEYBOARD, 2)])
    told = hers.next()
    assert (told.name, told.data) == ("order", order)
    hers.response.close()
    assert_data(anna.cancel(order["id"]))
    assert_data(anna.pay(known["id"]))
    resumed = listening.listen(anna, told.id)
    assert [resumed.next().data, resumed.next().data] == [
        {**order, "status": "cancelled"},
        {**known, "status": "paid"},
    ]
    own = bob.bought(ITEMS)
    assert his.next().data == own, "nothing of hers came between"


def test_an_id_that_is_long_gone_begins_anew(listening: Listening, anna: Shopper) -> None:
    known = anna.bought(ITEMS)
    state = listening.listen(anna, "1-0").next()
    assert (state.name, state.data) == ("orders", [known])


def test_a_stream_needs_a_user(visitor: Shopper) -> None:
    assert_error(visitor.send("GET", "/api/orders/events"), 401, "Unauthorized")


def test_the_cookie_counts_as_for_every_other_read(place: Place, anna: Shopper) -> None:
    with place.http.stream("GET", "/api/orders/events", headers={"Cookie": f"__session={anna.token}"}) as response:
        assert LineSource(response).next().data == []


def test_one_stream_too_many_is_429_and_other_routes_go_on(listening: Listening, anna: Shopper, bob: Shopper) -> None:
    for _ in range(8):
        listening.listen(anna).next()
    answer = anna.send("GET", "/api/orders/events")
    assert_error(answer, 429, "Too many open streams of yours, please retry")
    assert int(answer.headers["Retry-After"]) >= 1
    assert anna.orders() == []
    assert listening.listen(bob).next().data == []


def test_redis_away_ends_the_stream_and_it_is_resumed_when_redis_is_back(
    local: Place, listening: Listening, anna: Shopper
) -> None:
    assert local.servers is not None
    order = anna.bought(ITEMS)
    source = listening.listen(anna)
    source.next()
    with away(local.servers.redis, anna):
        assert source.next_or_end() is None
        assert 1000 <= source.retry <= 5000
        answer = anna.send("GET", "/api/orders/events")
        assert_error(answer, 503, "Live order status is unavailable right now")
        assert answer.headers["Retry-After"] == "1"
    assert_data(anna.pay(order["id"]))
    assert listening.listen(anna, source.last_id).next().data == {**order, "status": "paid"}
