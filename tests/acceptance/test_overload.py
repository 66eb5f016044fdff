"""More than the machine can do: who cannot be served is told so at once, and what was accepted is recorded."""

import asyncio
import socket
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import asyncpg
import httpx
import psutil
import pytest
import redis

from services.cli.system import HOST
from shared.issuer import issue_development_token
from shared.settings import Settings
from tests.acceptance.system import System
from tests.servers import run_apart, wait_until
from tests.waiting import until

PLACES = 16  # TILLROLL_MAX_IN_FLIGHT
TOO_BUSY = "Too busy right now, please retry"
KEYBOARD = {"total": 149, "items": [{"id": "2", "quantity": 1}]}
MEGABYTE = 1024 * 1024


@pytest.fixture(scope="module")
def small() -> Iterator[System]:
    """A system whose gateway works on few requests at once."""
    with tempfile.TemporaryDirectory(prefix="tillroll-test-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o711)  # as root, PostgreSQL runs as another user
        with System(Path(name) / "till", env={"TILLROLL_MAX_IN_FLIGHT": str(PLACES)}) as system:
            yield system.start()


class Crowd:
    """Shoppers who each order one keyboard, at once; `answers` in the order in which they came."""

    def __init__(self, system: System, name: str, size: int) -> None:
        settings = Settings(data_dir=system.folder)
        self.system = system
        self.users = [f"{name}-{number}" for number in range(size)]
        self.tokens = {user: issue_development_token(settings, user) for user in self.users}
        self.answers: list[tuple[str, httpx.Response]] = []
        self.http = httpx.AsyncClient(
            base_url=system.url, timeout=60, trust_env=False, limits=httpx.Limits(max_connections=size)
        )

    async def order(self, user: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.tokens[user]}", "Idempotency-Key": f"key-of-{user}"}
        answer = await self.http.post("/api/orders", json=KEYBOARD, headers=headers)
        self.answers.append((user, answer))
        return answer

    async def order_until_accepted(self, user: str) -> str:
        """As an honest client does it: after a 503, and after a kept connection that was just being closed."""
        while True:
            with suppress(httpx.TransportError):
                answer = await self.order(user)
                if answer.is_success:
                    order_id: str = answer.json()["data"]["id"]
                    return order_id
                assert_told_to_retry(answer)
                await asyncio.sleep(int(answer.headers["Retry-After"]))  # it obeys, and the burst stays a burst

    async def all_but_the_places_are_answered(self) -> bool:
        return len(self.answers) >= len(self.users) - PLACES

    def accepted(self) -> dict[str, str]:
        return {user: answer.json()["data"]["id"] for user, answer in self.answers if answer.is_success}

    def recorded(self, users: list[str]) -> dict[str, list[str]]:
        """User -> the ids of all orders that Postgres holds for them; users without any are left out."""
        found: dict[str, list[str]] = defaultdict(list)

        async def read() -> None:
            connection = await asyncpg.connect(self.system.state.database_url)
            query = "SELECT user_id, id::text FROM orders WHERE user_id = ANY($1)"
            for user, order_id in await connection.fetch(query, users):
                found[user].append(order_id)
            await connection.close()

        run_apart(read())
        return dict(found)


def assert_told_to_retry(answer: httpx.Response) -> None:
    assert answer.status_code == 503, answer.text
    assert answer.headers["Retry-After"] == "1"
    assert set(answer.json()) == {"error"}


async def test_who_finds_no_place_is_answered_before_anybody_who_has_one(small: System) -> None:
    """Redis stands still, so that nobody who was let in can be answered: what is answered meanwhile was turned away."""
    crowd = Crowd(small, "waiting", 150)
    async with crowd.http, asyncio.TaskGroup() as group:
        small.pause("redis")
        try:
            for user in crowd.users:
                group.create_task(crowd.order(user))
            await until(crowd.all_but_the_places_are_answered)
            turned_away = list(crowd.answers)
            async with httpx.AsyncClient(trust_env=False) as platform:
                assert (await platform.get(f"{small.url}/health")).status_code == 200
        finally:
            small.go_on("redis")
    for _, answer in turned_away:
        assert_told_to_retry(answer)
        assert answer.json() == {"error": TOO_BUSY}
    let_in = crowd.answers[len(turned_away) :]
    assert len(let_in) == PLACES
    assert TOO_BUSY not in {answer.json().get("error") for _, answer in let_in}
    accepted = crowd.accepted()
    wait_until(lambda: accepted.keys() <= crowd.recorded(list(accepted)).keys(), "what was accepted is recorded")
    assert crowd.recorded([user for user, _ in turned_away]) == {}, "503 at the door: nothing was done"


async def test_a_burst_far_past_capacity_is_shed_and_in_the_end_everybody_has_one_order(small: System) -> None:
    gateway = psutil.Process(small.state.children["gateway"].process.pid)
    before = gateway.memory_info().rss
    crowd = Crowd(small, "burst", 400)
    async with crowd.http:
        ids = await asyncio.gather(*map(crowd.order_until_accepted, crowd.users))
    kinds = Counter(answer.status_code for _, answer in crowd.answers)
    assert kinds[503] > 0, kinds
    assert kinds[201] <= len(crowd.users) == len(set(ids))
    assert gateway.memory_info().rss - before < 64 * MEGABYTE
    expected = {user: [order_id] for user, order_id in crowd.accepted().items()}
    wait_until(lambda: small.status()["lag"] == small.status()["pending"] == 0, "everything is recorded")
    assert crowd.recorded(crowd.users) == expected
    assert 'tillroll_shed_total{why="in_flight"}' in metrics(small)


def metrics(system: System) -> str:
    return httpx.get(f"{system.url}/metrics", trust_env=False).text


def test_bodies_that_come_drop_by_drop_take_nobodys_place(small: System) -> None:
    head = b"POST /api/orders HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n{"
    with ExitStack() as stack:
        slow = [
            stack.enter_context(socket.create_connection((HOST, small.port), timeout=30)) for _ in range(2 * PLACES)
        ]
        for connection in slow:
            connection.sendall(head)
        assert small.order("patient", {"2": 1}, 149).status_code == 201
        for connection in slow:
            answer = b""
            while part := connection.recv(4096):
                answer += part
            assert answer.startswith(b"HTTP/1.1 408 "), answer
            assert answer.endswith(b'{"error":"Request body too slow"}')


def test_without_memory_carts_give_way_first_and_orders_last_and_nothing_is_lost(small: System) -> None:
    cart = f"{small.url}/api/cart/3f0c1f9e-8a41-4c1e-9d6f-1b2a3c4d5e6f"

    def put(items: list[dict[str, object]]) -> httpx.Response:
        return httpx.put(cart, json={"items": items}, trust_env=False)

    with redis.Redis.from_url(small.state.redis_url) as client:

        def leave_room(share_used: float) -> None:
            client.config_set("maxmemory", int(client.info("memory")["used_memory"] / share_used))

        assert put(KEYBOARD["items"]).status_code == 200
        try:
            leave_room(0.95)
            wait_until(lambda: put(KEYBOARD["items"]).status_code == 503, "carts are shed")
            assert_told_to_retry(put(KEYBOARD["items"]))
            first = small.order("early", {"2": 1}, 149, Idempotency_Key="early-key")
            assert first.status_code == 201, first.text
            assert put([]).status_code == 200, "an emptied cart makes room"
            leave_room(1.5)
            refused = small.order("late", {"2": 1}, 149, Idempotency_Key="late-key")
            assert_told_to_retry(refused)
            assert_told_to_retry(put(KEYBOARD["items"]))
            assert httpx.get(cart, trust_env=False).json() == {"data": []}
            wait_until(lambda: small.recorded("early") == [first.json()["data"]["id"]], "recording needs no memory")
            assert [order["id"] for order in small.orders("early")] == small.recorded("early")
        finally:
            client.config_set("maxmemory", 0)
    again = small.order("late", {"2": 1}, 149, Idempotency_Key="late-key")
    assert again.status_code == 201, "a refusal did nothing"
    wait_until(lambda: put(KEYBOARD["items"]).status_code == 200, "carts are welcome again")
    wait_until(lambda: small.recorded("late") == [again.json()["data"]["id"]], "the order is recorded")
