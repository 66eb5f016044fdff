"""What a token must prove. Keys are real; nothing is fetched."""

import base64
import json
import logging
import time
from pathlib import Path
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization

from shared.auth import MAX_TOKEN, UntrustedIssuerError, User, Verifier, require_admin
from shared.errors import ApiError
from shared.settings import Mode, Settings
from tests.issuer import Issuer, a_request, publish

ANNA = User("anna", is_admin=False)


def a_verifier(folder: Path, *issuers: Issuer, **settings: Any) -> Verifier:
    return Verifier(Settings(jwks=publish(folder, *issuers), **settings))


def segment(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@pytest.mark.parametrize("algorithm", ["RS256", "ES256", "EdDSA"])
async def test_a_token_of_a_published_key_names_its_user(tmp_path: Path, algorithm: str) -> None:
    issuer = Issuer(algorithm=algorithm)
    assert await a_verifier(tmp_path, issuer).authenticate(a_request(issuer.token())) == ANNA


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({"exp": None}, "a token without an end would be good for ever"),
        ({"exp": time.time() - 60}, "expired"),
        ({"exp": "soon"}, "an end that is no number"),
        ({"exp": float("inf")}, "an end that no clock reaches"),
        ({"nbf": time.time() + 86_400}, "not good yet"),
        ({"sub": None}, "nobody"),
        ({"sub": ""}, "an empty user id"),
        ({"sub": 7}, "a number is no user id"),
        ({"sub": "an\x00na"}, "Postgres holds no NUL"),
        ({"sub": "a" * 256}, "longer than an index carries"),
        ({"sub": "an\ud800na"}, "a lone surrogate is no text"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
async def test_a_token_with_unusable_claims_is_nobody(tmp_path: Path, claims: dict[str, Any], reason: str) -> None:
    issuer = Issuer()
    verifier = a_verifier(tmp_path, issuer)
    assert await verifier.find_user(a_request(issuer.token(**claims))) is None, reason
    with pytest.raises(ApiError) as refusal:
        await verifier.authenticate(a_request(issuer.token(**claims)))
    assert (refusal.value.status, refusal.value.text) == (401, "Unauthorized")


async def test_clocks_may_differ_by_a_few_seconds(tmp_path: Path) -> None:
    issuer = Issuer()
    verifier = a_verifier(tmp_path, issuer)
    assert await verifier.find_user(a_request(issuer.token(nbf=time.time() + 3))) == ANNA
    assert await verifier.find_user(a_request(issuer.token(exp=time.time() - 3))) == ANNA


async def test_the_longest_user_id_is_a_user(tmp_path: Path) -> None:
    issuer = Issuer()
    user = await a_verifier(tmp_path, issuer).find_user(a_request(issuer.token(sub="ä" * 255)))
    assert user == User("ä" * 255, is_admin=False)


async def test_the_algorithm_is_the_keys_and_never_the_tokens(tmp_path: Path) -> None:
    issuer = Issuer(algorithm="RS256")
    public = issuer.key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    claims = {"sub": "anna", "exp": time.time() + 60}
    hmac = jwt.get_algorithm_by_name("HS256")
    signed = f"{segment({'alg': 'HS256', 'kid': issuer.kid})}.{segment(claims)}"
    confused = f"{signed}.{base64.urlsafe_b64encode(hmac.sign(signed.encode(), public)).rstrip(b'=').decode()}"
    unsigned = f"{segment({'alg': 'none', 'kid': issuer.kid})}.{segment(claims)}."
    stronger = jwt.encode(claims, issuer.key, "RS512", {"kid": issuer.kid})
    verifier = a_verifier(tmp_path, issuer)
    for forged in (confused, unsigned, stronger):
        assert await verifier.find_user(a_request(forged)) is None
    assert await verifier.find_user(a_request(issuer.token())) == ANNA


async def test_a_key_that_is_published_for_another_use_signs_nothing(tmp_path: Path) -> None:
    secret = Issuer("hmac")
    secret.jwk = {"kty": "oct", "k": base64.urlsafe_b64encode(b"s" * 32).decode(), "kid": "hmac"}
    sealing = Issuer("sealing")
    sealing.jwk["use"] = "enc"
    other = Issuer("other", "RS256")
    other.jwk["alg"] = "RS512"
    verifier = a_verifier(tmp_path, secret, sealing, other)
    forged = jwt.encode({"sub": "anna", "exp": time.time() + 60}, b"s" * 32, "HS256", {"kid": "hmac"})
    assert await verifier.find_user(a_request(forged)) is None
    assert await verifier.find_user(a_request(sealing.token())) is None
    assert await verifier.find_user(a_request(other.token())) is None


async def test_another_key_under_a_published_name_proves_nothing(tmp_path: Path) -> None:
    assert await a_verifier(tmp_path, Issuer()).find_user(a_request(Issuer().token())) is None


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "..",
        "a.b.c",
        "ä.ö.ü",
        segment([]) + ".e30.AAAA",
        segment({"kid": ["till-key-1"], "alg": "EdDSA"}) + ".e30.AAAA",
        segment({"alg": "EdDSA"}) + ".e30.AAAA",
        base64.urlsafe_b64encode(b"[" * 9000).decode() + ".e30.AAAA",
        base64.urlsafe_b64encode(b'{"kid":' + b"9" * 9000 + b"}").decode() + ".e30.AAAA",
        "A" * 100_000,
    ],
    ids=lambda token: token[:12] or "empty",
)
async def test_rubbish_is_nobody_and_no_fault(tmp_path: Path, token: str) -> None:
    assert await a_verifier(tmp_path, Issuer()).find_user(a_request(token)) is None


async def test_a_token_of_more_than_16_kib_is_refused_even_with_a_good_signature(tmp_path: Path) -> None:
    issuer = Issuer()
    verifier = a_verifier(tmp_path, issuer)
    assert await verifier.find_user(a_request(issuer.token(note="n" * 8000))) == ANNA
    bloated = issuer.token(note="n" * MAX_TOKEN)
    assert len(bloated) > MAX_TOKEN
    assert await verifier.find_user(a_request(bloated)) is None


@pytest.mark.parametrize(
    ("claims", "is_admin"),
    [
        ({"metadata": {"role": "admin"}}, True),
        ({"public_metadata": {"role": "admin"}}, True),
        ({"metadata": {"role": "clerk"}}, False),
        ({"metadata": {"role": ["admin"]}}, False),
        ({"metadata": "admin"}, False),
        ({"role": "admin"}, False),
        ({"unsafe_metadata": {"role": "admin"}}, False),
        ({}, False),
    ],
)
async def test_an_admin_is_who_the_issuers_public_metadata_says(
    tmp_path: Path, claims: dict[str, Any], is_admin: bool
) -> None:
    issuer = Issuer()
    user = await a_verifier(tmp_path, issuer).authenticate(a_request(issuer.token(**claims)))
    assert user.is_admin is is_admin
    if is_admin:
        require_admin(user)
    else:
        with pytest.raises(ApiError) as refusal:
            require_admin(user)
        assert (refusal.value.status, refusal.value.text) == (403, "Admin access required")


@pytest.mark.parametrize(
    ("settings", "claims", "is_accepted"),
    [
        ({"token_issuer": "https://clerk.shop.example"}, {"iss": "https://clerk.shop.example"}, True),
        ({"token_issuer": "https://clerk.shop.example"}, {"iss": "https://clerk.other.example"}, False),
        ({"token_issuer": "https://clerk.shop.example"}, {}, False),
        ({"authorized_parties": "https://shop.example"}, {"azp": "https://shop.example"}, True),
        ({"authorized_parties": "https://shop.example"}, {"azp": "https://evil.example"}, False),
        ({"authorized_parties": "https://shop.example"}, {"azp": ["https://shop.example"]}, False),
        ({"authorized_parties": "https://shop.example"}, {}, False),
    ],
)
async def test_issuer_and_authorized_party_count_when_they_are_set(
    tmp_path: Path, settings: dict[str, Any], claims: dict[str, Any], is_accepted: bool
) -> None:
    issuer = Issuer()
    user = await a_verifier(tmp_path, issuer, **settings).find_user(a_request(issuer.token(**claims)))
    assert (user is not None) is is_accepted


@pytest.mark.parametrize(
    "text", [b"", b"not json", b"[]", b'{"keys": {}}', b'{"keys": [7, {"kid": 1}]}', b"[" * 99_999]
)
async def test_an_unusable_jwks_is_401_with_a_warning_and_never_a_fault(
    tmp_path: Path, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "keys.json"
    path.write_bytes(text)
    with caplog.at_level(logging.WARNING):
        assert await Verifier(Settings(jwks=str(path))).find_user(a_request(Issuer().token())) is None
    if text != b'{"keys": [7, {"kid": 1}]}':
        assert "jwks_unavailable" in caplog.text


async def test_no_token_reaches_the_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    issuer = Issuer()
    verifier = a_verifier(tmp_path, issuer)
    tokens = [issuer.token(), issuer.token(exp=1), Issuer().token(), Issuer("unknown").token(), "a.b.c"]
    with caplog.at_level(logging.DEBUG):
        for token in tokens:
            await verifier.find_user(a_request(token))
    for token in tokens:
        assert token not in caplog.text
    for record in caplog.records:
        assert not any(token in str(vars(record)) for token in tokens)


@pytest.mark.parametrize(
    ("jwks", "sentence"),
    [
        (None, "TILLROLL_JWKS must name the token issuer's keys in production mode."),
        ("http://issuer.example/jwks", "TILLROLL_JWKS must be an https URL or a file in production mode."),
        (".tillroll/issuer/jwks.json", "TILLROLL_JWKS names the local development issuer, which"),
    ],
)
def test_production_refuses_to_trust_the_wrong_issuer(jwks: str | None, sentence: str) -> None:
    with pytest.raises(UntrustedIssuerError, match=sentence.replace(".", r"\.")):
        Verifier(Settings(mode=Mode.PRODUCTION, jwks=jwks))


async def test_production_trusts_an_https_issuer_and_a_file(tmp_path: Path) -> None:
    await Verifier(Settings(mode=Mode.PRODUCTION, jwks="https://clerk.shop.example/.well-known/jwks.json")).close()
    issuer = Issuer()
    assert await a_verifier(tmp_path, issuer, mode=Mode.PRODUCTION).find_user(a_request(issuer.token())) == ANNA
