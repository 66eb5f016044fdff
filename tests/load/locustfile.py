"""The load as Locust runs it, in an environment of its own: it imports nothing of ours and knows the public API alone.

tests/load/run.py starts it, with the plan and the journal in the folder that LOAD_FOLDER names.
"""

from collections.abc import Callable
from typing import Any
from uuid import uuid4

import gevent
from journal import JOURNAL
from locust import FastHttpUser, between, constant, events, task
from locust.exception import StopUser
from storefront import attempt, check_out, fill_cart

LAST_ANSWERS_WITHIN = 40  # seconds; three attempts of 8 s and the waits between them
ON_THEIR_WAY: set[Any] = set()


class Browse(FastHttpUser):
    """Looks at products and leaves."""

    wait_time = between(0.1, 0.5)

    @task(3)
    def look_at_all(self) -> None:
        self.client.get("/api/products")

    @task(2)
    def look_at_one(self) -> None:
        self.client.get(f"/api/products/{JOURNAL.a_product()}", name="/api/products/{id}")

    @task(1)
    def look_at_a_category(self) -> None:
        self.client.get("/api/products?category=Audio", name="/api/products?category=")


class Cart(FastHttpUser):
    """Fills a cart, reads it back, changes its mind and empties it."""

    wait_time = between(0.1, 0.5)

    @task
    def change_its_mind(self) -> None:
        session = str(uuid4())
        for items in JOURNAL.some_items(), JOURNAL.some_items(), []:
            fill_cart(self.client, session, items)
            with self.client.get(f"/api/cart/{session}", name="/api/cart/{id}", catch_response=True) as answer:
                if answer.status_code != 200 or answer.json().get("data") != items:
                    answer.failure(f"{answer.status_code}: the cart is not what was put into it")


class CheckoutStorm(FastHttpUser):
    """Fills a cart and buys it, one after the other, without a pause."""

    wait_time = constant(0)

    @task
    def buy(self) -> None:
        checkout = next_checkout(self.environment)
        see_through(checkout, lambda: [check_out(self.client, checkout)])


class DuplicateStorm(FastHttpUser):
    """Buys once and sends it four times at once: a double click, an effect that fires twice, a client that retries."""

    wait_time = constant(0)
    concurrency = 16

    @task
    def buy(self) -> None:
        checkout = next_checkout(self.environment)
        headers = {"Idempotency-Key": f"load-{uuid4()}"}

        def submit_all() -> list[dict[str, Any]]:
            sent = [gevent.spawn(attempt, self.client, checkout, headers) for _ in range(1 + JOURNAL.duplicates)]
            gevent.joinall(sent, raise_error=True)
            return [each.value for each in sent]

        see_through(checkout, submit_all)


class FlashSale(FastHttpUser):
    """Everybody wants the same at the same moment, each user once."""

    wait_time = constant(0)
    network_timeout = 8.0

    @task
    def buy(self) -> None:
        checkout = next_checkout(self.environment)
        see_through(checkout, lambda: [check_out(self.client, checkout)])


class ReplayedShopper(CheckoutStorm):
    """Live traffic beside a replay."""

    wait_time = between(0.02, 0.1)


class Replayer(FastHttpUser):
    """An operator who delivers the whole stream again and again."""

    fixed_count = 1
    wait_time = constant(1)

    @task
    def replay(self) -> None:
        run = self._ask("post", "", {"source": "stream", "filter": {}, "rate": 2000})
        planned = self._wait_for(run["run_id"], "planned")
        self._ask("post", f"/{run['run_id']}/run", {})
        JOURNAL.write_replay({**planned, **self._wait_for(run["run_id"], "finished")})

    def _wait_for(self, run_id: str, status: str) -> dict[str, Any]:
        while (run := self._ask("get", f"/{run_id}"))["status"] != status:
            gevent.sleep(0.2)
        return run

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        answer = self.client.request(
            method.upper(),
            f"/api/admin/operations/replays{path}",
            json=None if body is None else {**body, "why": "load test"},
            headers={"Authorization": f"Bearer {JOURNAL.operator_token}"},
            name="replay",
        )
        answer.raise_for_status()
        data: dict[str, Any] = answer.json()["data"]
        return data


def next_checkout(environment: Any) -> dict[str, Any]:
    """What to buy next. When there is nothing left this user goes home, and the last answer ends the run."""
    checkout = JOURNAL.next_checkout()
    if checkout is not None:
        return checkout
    if JOURNAL.are_all_answered and environment.runner.state == "running":
        gevent.spawn_later(0.5, environment.runner.quit)
    raise StopUser


def see_through(checkout: dict[str, Any], submit: Callable[[], list[dict[str, Any]]]) -> None:
    """Writes down the answers to every submission. Locust ends users in the middle of what they do; not of this."""

    def buy() -> None:
        JOURNAL.write(checkout, submit())

    purchase = gevent.spawn(buy)
    ON_THEIR_WAY.add(purchase)
    purchase.rawlink(ON_THEIR_WAY.discard)
    purchase.join()


@events.quitting.add_listener
def write_figures(environment: Any, **_: Any) -> None:
    """What the thresholds are held against, once the last purchase has its answer. The users go on meanwhile."""
    JOURNAL.close_shop()
    gevent.joinall(list(ON_THEIR_WAY), timeout=LAST_ANSWERS_WITHIN)
    figures = {
        f"{method} {name}": {
            "requests": entry.num_requests,
            "failed_share": entry.fail_ratio,
            "p50_ms": entry.get_response_time_percentile(0.5),
            "p99_ms": entry.get_response_time_percentile(0.99),
        }
        for (name, method), entry in environment.stats.entries.items()
    }
    JOURNAL.write_figures(figures)
    environment.process_exit_code = 0  # the thresholds decide, and the oracle
