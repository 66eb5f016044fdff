"""Keys that are fetched: rotation, an issuer that is away, and the local issuer's first key."""

import asyncio
import logging
import stat
import time
from collections.abc import AsyncIterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import jwt
import pytest

from shared.auth import (
    KEYS_FRESH_FOR,
    REFETCH_AFTER,
    REMEMBER_FOR,
    REMEMBERED_TOKENS,
    UntrustedIssuerError,
    User,
    Verifier,
)
from shared.issuer import issue_development_token
from shared.settings import Mode, Settings
from tests.issuer import Issuer, a_request, jwks

ANNA = User("anna", is_admin=False)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class JwksServer:
    """A real HTTP server that publishes `issuers` and counts how often it was asked."""

    def __init__(self) -> None:
        self.issuers: list[Issuer] = [Issuer()]
        self.status, self.asked = "200 OK", 0
        self.was_asked, self.may_answer = asyncio.Event(), asyncio.Event()
        self.may_answer.set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._answer, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/.well-known/jwks.json"

    async def stop(self) -> None:
        self.server.close()
        await self.server.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        self.asked += 1
        self.was_asked.set()
        body = jwks(*self.issuers)
        await self.may_answer.wait()
        writer.write(
            f"HTTP/1.1 {self.status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body
        )
        await writer.drain()
        writer.close()


@pytest.fixture
async def server() -> AsyncIterator[JwksServer]:
    server = JwksServer()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def verifier(server: JwksServer, clock: Clock) -> AsyncIterator[Verifier]:
    verifier = Verifier(Settings(jwks=server.url), clock)
    yield verifier
    await verifier.close()


async def test_a_new_key_is_fetched_when_a_token_names_it(server: JwksServer, clock: Clock, verifier: Verifier) -> None:
    assert await verifier.find_user(a_request(server.issuers[0].token())) == ANNA
    server.issuers.append(Issuer("till-key-2"))
    clock.now += REFETCH_AFTER.total_seconds()
    assert await verifier.find_user(a_request(server.issuers[1].token())) == ANNA
    assert server.asked == 2


async def test_invented_key_ids_do_not_become_requests_to_the_issuer(server: JwksServer, verifier: Verifier) -> None:
    strangers = [a_request(Issuer(f"invented-{number}").token()) for number in range(50)]
    assert await asyncio.gather(*(verifier.find_user(stranger) for stranger in strangers)) == [None] * 50
    assert server.asked == 1


async def test_a_verified_token_is_remembered_and_a_withdrawn_key_still_soon_ends(
    server: JwksServer, clock: Clock, verifier: Verifier
) -> None:
    request = a_request(server.issuers[0].token(exp=4_000_000_000))
    assert await verifier.find_user(request) == ANNA
    server.issuers = [Issuer("till-key-2")]
    clock.now += REFETCH_AFTER.total_seconds()
    assert await verifier.find_user(a_request(server.issuers[0].token(sub="bob"))) == User("bob", is_admin=False)
    assert await verifier.find_user(request) == ANNA, "remembered, although its key is gone"
    clock.now += REMEMBER_FOR.total_seconds()
    assert await verifier.find_user(request) is None


async def test_a_withdrawn_key_ends_without_a_token_of_the_new_one(
    server: JwksServer, clock: Clock, verifier: Verifier
) -> None:
    request = a_request(server.issuers[0].token(exp=4_000_000_000))
    assert await verifier.find_user(request) == ANNA
    server.issuers = [Issuer("till-key-2")]
    clock.now += KEYS_FRESH_FOR.total_seconds()
    assert await verifier.find_user(request) is None


async def test_a_remembered_token_ends_with_its_own_exp(server: JwksServer, clock: Clock, verifier: Verifier) -> None:
    nearly_over = a_request(server.issuers[0].token(exp=int(time.time()) - 3))
    assert await verifier.find_user(nearly_over) == ANNA, "within the leeway"
    assert not [user for user, until in verifier._remembered.values() if until > clock.now]


async def test_the_memory_of_tokens_is_bounded(server: JwksServer, verifier: Verifier) -> None:
    for number in range(REMEMBERED_TOKENS + 5):
        verifier._remember(number.to_bytes(32), ANNA, 60)
    assert len(verifier._remembered) == REMEMBERED_TOKENS


@pytest.mark.parametrize("status", ["500 Oops", "302 Found", "404 Not Found"])
async def test_an_issuer_that_answers_no_keys_is_401_with_a_warning(
    server: JwksServer, verifier: Verifier, status: str, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = status
    with caplog.at_level(logging.WARNING):
        assert await verifier.find_user(a_request(server.issuers[0].token())) is None
    assert "jwks_unavailable" in caplog.text


async def test_an_issuer_that_is_away_is_401_and_comes_back_by_itself(
    server: JwksServer, clock: Clock, verifier: Verifier, caplog: pytest.LogCaptureFixture
) -> None:
    await server.stop()
    with caplog.at_level(logging.WARNING):
        assert await verifier.find_user(a_request(server.issuers[0].token())) is None
    assert "jwks_unavailable" in caplog.text
    server.server = await asyncio.start_server(server._answer, "127.0.0.1", server.port)
    clock.now += 1
    assert await verifier.find_user(a_request(server.issuers[0].token())) == ANNA


async def test_the_last_known_keys_count_while_the_issuer_is_away(
    server: JwksServer, clock: Clock, verifier: Verifier
) -> None:
    assert await verifier.find_user(a_request(server.issuers[0].token())) == ANNA
    server.status = "503 Busy"
    clock.now += 10 * KEYS_FRESH_FOR.total_seconds()
    assert await verifier.find_user(a_request(server.issuers[0].token())) == ANNA
    assert server.asked == 2


async def test_a_slow_refresh_delays_nobody_whose_key_is_known(
    server: JwksServer, clock: Clock, verifier: Verifier
) -> None:
    assert await verifier.find_user(a_request(server.issuers[0].token())) == ANNA
    clock.now += KEYS_FRESH_FOR.total_seconds()
    server.may_answer.clear()
    server.was_asked.clear()
    refreshing = asyncio.create_task(verifier.find_user(a_request(server.issuers[0].token(sub="bob"))))
    async with asyncio.timeout(5):
        await server.was_asked.wait()
        carla = await verifier.find_user(a_request(server.issuers[0].token(sub="carla")))
    assert carla == User("carla", is_admin=False)
    assert not refreshing.done()
    server.may_answer.set()
    assert await refreshing == User("bob", is_admin=False)


def _first_token(data_dir: str) -> str:
    return issue_development_token(Settings(data_dir=Path(data_dir)), "anna", admin=True)


async def test_processes_that_race_for_the_first_key_all_get_the_same(tmp_path: Path) -> None:
    with ProcessPoolExecutor(6) as processes:
        tokens = list(processes.map(_first_token, [str(tmp_path)] * 24))
    assert len({jwt.get_unverified_header(token)["kid"] for token in tokens}) == 1
    verifier = Verifier(Settings(data_dir=tmp_path))
    for token in tokens:
        assert await verifier.find_user(a_request(token)) == User("anna", is_admin=True)
    folder = tmp_path / "issuer"
    assert sorted(path.name for path in folder.iterdir()) == ["jwks.json", "key.pem"]
    assert stat.S_IMODE((folder / "key.pem").stat().st_mode) == 0o600


async def test_a_service_that_started_first_trusts_the_issuers_first_token_at_once(tmp_path: Path) -> None:
    settings = Settings(
        data_dir=tmp_path, token_issuer="https://till.example", authorized_parties="https://shop.example"
    )
    verifier = Verifier(settings)
    assert await verifier.find_user(a_request(Issuer().token())) is None, "there are no keys yet"
    assert await verifier.find_user(a_request(issue_development_token(settings, "anna"))) == ANNA


def test_the_development_issuer_is_silent_in_production(tmp_path: Path) -> None:
    settings = Settings(mode=Mode.PRODUCTION, data_dir=tmp_path, jwks="https://clerk.shop.example/jwks.json")
    with pytest.raises(UntrustedIssuerError, match="does not issue tokens in production mode"):
        issue_development_token(settings, "anna")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("user_id", ["", "a" * 256, "an\x00na"])
def test_no_token_is_issued_for_a_user_that_no_event_could_carry(tmp_path: Path, user_id: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        issue_development_token(Settings(data_dir=tmp_path), user_id)
