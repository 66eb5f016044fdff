"""When the session cookie counts: never where another site could have sent it."""

from pathlib import Path

import pytest

from shared.auth import User, Verifier
from shared.settings import Settings
from tests.issuer import Issuer, a_request, publish

JSON = {"content_type": "application/json"}
OWN = {"host": "shop.example", "origin": "https://shop.example"}


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def a_verifier(folder: Path, issuer: Issuer, origins: str = "*") -> Verifier:
    return Verifier(Settings(jwks=publish(folder, issuer), origins=origins))


@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_the_cookie_alone_is_enough_to_read(tmp_path: Path, issuer: Issuer, method: str) -> None:
    request = a_request(method=method, cookie=f"theme=dark; __session={issuer.token()}")
    assert await a_verifier(tmp_path, issuer).find_user(request) == User("anna", is_admin=False)


@pytest.mark.parametrize(
    ("headers", "counts"),
    [
        ({**JSON, **OWN}, True),
        ({**JSON, "host": "shop.example:443", "origin": "https://shop.example"}, True),
        ({**JSON, "host": "localhost:3000", "origin": "http://localhost:3000"}, True),
        ({**JSON, "host": "Shop.Example", "origin": "https://shop.example"}, True),
        ({"content_type": "application/json; charset=utf-8", **OWN}, True),
        ({**JSON, "host": "shop.example", "sec_fetch_site": "same-origin"}, True),
        ({**JSON, "host": "api.shop.example", "origin": "https://listed.example"}, True),
        ({**JSON, "host": "api.shop.example", "origin": "https://shop.example"}, False),
        ({**JSON, "host": "shop.example:8443", "origin": "https://shop.example"}, False),
        ({**JSON, "host": "shop.example", "origin": "https://shop.example.evil.example"}, False),
        ({**JSON, "host": "shop.example", "origin": "https://shop.example@evil.example"}, False),
        ({**JSON, "host": "shop.example", "origin": "null"}, False),
        ({**JSON, "host": "shop.example", "origin": "*"}, False),
        ({**JSON, "host": "shop.example", "origin": "https://[half.example"}, False),
        ({**JSON, "host": "shop.example", "origin": ""}, False),
        ({**JSON, "host": "", "origin": ""}, False),
        ({**JSON, "host": "shop.example", "origin": "https://evil.example", "sec_fetch_site": "same-origin"}, False),
        ({**JSON, "host": "shop.example", "sec_fetch_site": "same-site"}, False),
        ({**JSON, "host": "shop.example", "sec_fetch_site": "none"}, False),
        ({**JSON, "host": "shop.example"}, False),
        ({**OWN}, False),
        ({**OWN, "content_type": "text/plain"}, False),
        ({**OWN, "content_type": "text/plain; application/json"}, False),
        ({**OWN, "content_type": "application/x-www-form-urlencoded"}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize("method", ["POST", "PATCH", "PUT", "DELETE"])
async def test_to_write_the_cookie_counts_only_from_our_own_page(
    tmp_path: Path, issuer: Issuer, headers: dict[str, str], counts: bool, method: str
) -> None:
    verifier = a_verifier(tmp_path, issuer, origins="*,https://listed.example")
    request = a_request(method=method, cookie=f"__session={issuer.token()}", **headers)
    assert (await verifier.find_user(request) is not None) is counts


@pytest.mark.parametrize("bearer", ["Bearer rubbish", "bearer rubbish", "Bearer ", "Bearer"])
async def test_a_bearer_header_wins_over_the_cookie_even_when_it_is_invalid(
    tmp_path: Path, issuer: Issuer, bearer: str
) -> None:
    request = a_request(cookie=f"__session={issuer.token()}", authorization=bearer)
    assert await a_verifier(tmp_path, issuer).find_user(request) is None


async def test_the_bearers_user_is_the_user(tmp_path: Path, issuer: Issuer) -> None:
    request = a_request(issuer.token(sub="bob"), cookie=f"__session={issuer.token()}")
    assert await a_verifier(tmp_path, issuer).authenticate(request) == User("bob", is_admin=False)
