"""Somebody who writes a role, or another's name, into a token gets in nowhere."""

import base64
import json
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.contract.shopper import KEYBOARD, Shopper, a_key, assert_data, assert_error, line

DOORS = [
    ("GET", "/api/admin/orders", None),
    ("GET", "/api/admin/products/1/orders", None),
    ("GET", "/api/admin/operations/stream", None),
    ("GET", "/api/admin/operations/dead-letters", None),
    ("POST", "/api/admin/operations/resume", {"why": "because I can"}),
    ("POST", "/api/admin/operations/replays", {"why": "because I can"}),
]


def _segment(value: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def _parts(token: str | None) -> tuple[dict[str, Any], dict[str, Any], str]:
    assert token is not None
    head, claims, signature = token.split(".")
    read = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in (head, claims)]
    return read[0], read[1], signature


def _forgeries(anna: Shopper, **claims: Any) -> list[str]:
    """Anna's token with other claims: under its old signature, under none, under a key of her own, under a secret."""
    head, known, signature = _parts(anna.token)
    said = {**known, **claims}
    own = {"kid": head["kid"]}
    return [
        f"{_segment(head)}.{_segment(said)}.{signature}",
        f"{_segment({**head, 'alg': 'none'})}.{_segment(said)}.",
        f"{_segment({**head, 'alg': 'HS256'})}.{_segment(said)}.{signature}",
        jwt.encode(said, Ed25519PrivateKey.generate(), algorithm="EdDSA", headers=own),
        jwt.encode(said, "a secret of at least thirty-two bytes", algorithm="HS256", headers=own),
    ]


@pytest.mark.parametrize(("method", "path", "body"), DOORS, ids=[path for _, path, _ in DOORS])
def test_a_role_that_somebody_wrote_into_a_token_opens_no_door(
    anna: Shopper, method: str, path: str, body: dict[str, str] | None
) -> None:
    for place in ("metadata", "public_metadata"):
        for token in _forgeries(anna, **{place: {"role": "admin"}}):
            answer = anna.send(method, path, body, {"Authorization": f"Bearer {token}"})
            assert_error(answer, 401, "Unauthorized")
    assert anna.send(method, path, body).status_code == 403, "her own token is good, and opens it as little"


def test_another_users_name_in_a_token_shows_and_moves_none_of_their_orders(anna: Shopper, bob: Shopper) -> None:
    key = a_key()
    order = bob.bought([line(KEYBOARD)], key=key)
    for token in _forgeries(anna, sub=bob.user, exp=int(time.time()) + 3600):
        headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": key}
        assert_error(anna.send("GET", "/api/orders", None, headers), 401, "Unauthorized")
        assert_error(anna.send("PATCH", "/api/orders", {"id": order["id"]}, headers), 401, "Unauthorized")
        assert_error(anna.send("POST", f"/api/orders/{order['id']}/cancel", None, headers), 401, "Unauthorized")
        body = {"items": [line(KEYBOARD)], "total": 149}
        assert_error(anna.send("POST", "/api/orders", body, headers), 401, "Unauthorized")
    assert assert_data(bob.order([line(KEYBOARD)], key=key)) == order
