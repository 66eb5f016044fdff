"""Who is asking: tokens verified offline against the issuer's public keys.

Tokens have Clerk's shape: `sub`, `exp`, `nbf`, `azp`; an admin has `"role": "admin"` (an operator or a viewer its
own word) in the `metadata` claim (Clerk's `{"metadata": "{{user.public_metadata}}"}`) or in `public_metadata`. Never
logs a token, never asks the issuer about one, and never answers 500 for one.
"""

import hashlib
import json
import logging
import time
from asyncio import Lock
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Any

import httpx
import jwt
from fastapi import Request
from pydantic import TypeAdapter

from shared.errors import ApiError, TillrollError
from shared.events import UserId
from shared.settings import Mode, Settings

COOKIE = "__session"
MAX_TOKEN = 16 * 1024  # characters; more is refused before any work
LEEWAY = timedelta(seconds=5)  # clocks of issuer and verifier differ; Clerk's own default
REMEMBER_FOR = timedelta(seconds=60)  # a verified token is believed this long, so that a withdrawn key soon ends
REMEMBERED_TOKENS = 10_000
KEYS_FRESH_FOR = timedelta(minutes=5)
REFETCH_AFTER = timedelta(seconds=10)  # tokens with invented key ids must not become requests to the issuer
RETRY_FETCH_AFTER = timedelta(seconds=1)
FETCH_WITHIN = timedelta(seconds=3)  # below the first storefront's 8 s
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
ALGORITHMS = {("RSA", ""): "RS256", ("EC", "P-256"): "ES256", ("OKP", "Ed25519"): "EdDSA"}

# What a hostile token may raise on its way through base64, JSON and the key's own checks.
_UNREADABLE = (jwt.PyJWTError, ValueError, TypeError, ArithmeticError, RecursionError)
_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)

log = logging.getLogger(__name__)


class UntrustedIssuerError(TillrollError):
    """The settings would let the local development issuer vouch for users in production, or trust no issuer."""


class Role(StrEnum):
    """What somebody who is no admin may do in operations: an operator act on the log, a viewer look at it."""

    OPERATOR = "operator"
    VIEWER = "viewer"


@dataclass(frozen=True, slots=True)
class User:
    """A signed-in user: the token's `sub`, whether its role is admin, else which of the lesser roles it has."""

    id: str
    is_admin: bool
    role: Role | None = None


def require_admin(user: User) -> None:
    """Raises the contract's 403 for everybody else."""
    if not user.is_admin:
        raise ApiError(403, "Admin access required")


def require_viewer(user: User) -> None:
    """Lets every operator's role in; raises 403 for everybody else."""
    if not user.is_admin and user.role is None:
        raise ApiError(403, "Operator access required")


def require_operator(user: User) -> None:
    """Lets those in who may act on the log; raises 403 for viewers and everybody else."""
    if not user.is_admin and user.role is not Role.OPERATOR:
        raise ApiError(403, "Operator access required")


class Verifier:
    """Finds the user of a request. Raises UntrustedIssuerError when the settings name no issuer to trust."""

    def __init__(self, settings: Settings, clock: Callable[[], float] = time.monotonic) -> None:
        self._settings = settings
        self._clock = clock
        self._keys = _IssuerKeys(_trusted_source(settings), clock)
        self._remembered: OrderedDict[bytes, tuple[User, float]] = OrderedDict()

    async def authenticate(self, request: Request) -> User:
        """The user of `request`; raises the contract's 401."""
        user = await self.find_user(request)
        if user is None:
            raise ApiError(401, "Unauthorized")
        return user

    async def find_user(self, request: Request) -> User | None:
        """The user of `request`, or None for a visitor and for credentials that prove nothing."""
        token = _token_of(request, self._settings.origins)
        if not token or len(token) > MAX_TOKEN:
            return None
        digest = hashlib.sha256(token.encode()).digest()
        known = self._remembered.get(digest)
        if known is not None and self._clock() < known[1]:
            return known[0]
        return await self._verify(token, digest)

    async def close(self) -> None:
        """Closes the connection to the issuer."""
        await self._keys.close()

    async def _verify(self, token: str, digest: bytes) -> User | None:
        try:
            kid = jwt.get_unverified_header(token).get("kid")
            key = await self._keys.find(kid) if isinstance(kid, str) else None
            if key is None:
                return None
            claims = jwt.decode(
                token,
                key,
                algorithms=[key.algorithm_name],
                leeway=LEEWAY,
                issuer=self._settings.token_issuer,
                options={"require": ["exp", "sub"], "verify_aud": False},
            )
            parties = self._settings.authorized_parties
            if parties and claims.get("azp") not in parties:
                return None
            is_admin, role = _rights_in(claims)
            user = User(_USER_ID.validate_python(claims["sub"]), is_admin, role)
            seconds_left = int(claims["exp"]) - time.time()
        except _UNREADABLE as fault:
            log.debug("token_refused", extra={"fault": type(fault).__name__})
            return None
        self._remember(digest, user, min(seconds_left, REMEMBER_FOR.total_seconds()))
        return user

    def _remember(self, digest: bytes, user: User, seconds: float) -> None:
        self._remembered[digest] = (user, self._clock() + seconds)
        self._remembered.move_to_end(digest)
        while len(self._remembered) > REMEMBERED_TOKENS:
            self._remembered.popitem(last=False)


def _token_of(request: Request, origins: list[str]) -> str | None:
    """The presented token: a Bearer header, even a useless one, wins over the cookie."""
    scheme, _, bearer = request.headers.get("authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return bearer.strip()
    cookie = request.cookies.get(COOKIE)
    if cookie is None or request.method in SAFE_METHODS or _is_own_request(request, origins):
        return cookie
    return None


def _is_own_request(request: Request, origins: list[str]) -> bool:
    """Whether our own page sent this as JSON: a cookie alone would let any site act for the user (CSRF)."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" and is_own_origin(request, origins)


def is_own_origin(request: Request, origins: list[str]) -> bool:
    """Whether the browser says that a page of this origin, or of one of `origins` by name, sent this."""
    origin = request.headers.get("origin")
    if origin is None:
        return request.headers.get("sec-fetch-site") == "same-origin"
    if origin in origins and origin != "*":
        return True
    scheme, _, site = origin.lower().partition("://")
    default_port = {"http": ":80", "https": ":443"}.get(scheme)
    if default_port is None or not site:
        return False
    return site.removesuffix(default_port) == request.headers.get("host", "").lower().removesuffix(default_port)


def _rights_in(claims: dict[str, Any]) -> tuple[bool, Role | None]:
    """The greatest role that the token names."""
    places = (claims.get("metadata"), claims.get("public_metadata"))
    named = [place.get("role") for place in places if isinstance(place, dict)]
    if "admin" in named:
        return True, None
    return False, next((role for role in Role if role in named), None)


class _IssuerKeys:
    """The issuer's public keys by key id, read again when they are old or a token names one that is not there."""

    def __init__(self, source: str | Path, clock: Callable[[], float]) -> None:
        self._source = source
        self._clock = clock
        self._http = httpx.AsyncClient(timeout=FETCH_WITHIN.total_seconds()) if isinstance(source, str) else None
        self._keys: dict[str, jwt.PyJWK] = {}
        self._stale_at = self._fetch_allowed_at = clock()
        self._fetching = Lock()

    async def find(self, kid: str) -> jwt.PyJWK | None:
        """The key `kid`, or None. While the issuer cannot be reached, its last known keys still count."""
        is_usable = kid in self._keys and (self._clock() < self._stale_at or self._fetching.locked())
        if not is_usable:
            async with self._fetching:
                is_still_wanted = kid not in self._keys or self._clock() >= self._stale_at
                if is_still_wanted and self._clock() >= self._fetch_allowed_at:
                    await self._fetch()
        return self._keys.get(kid)

    async def close(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _fetch(self) -> None:
        try:
            self._keys = _read_keys(await self._read())
        except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError, RecursionError) as fault:
            log.warning(
                "jwks_unavailable", extra={"jwks": str(self._source), "fault": f"{type(fault).__name__}: {fault}"}
            )
            wait = RETRY_FETCH_AFTER
        else:
            self._stale_at = self._clock() + KEYS_FRESH_FOR.total_seconds()
            wait = REFETCH_AFTER
        if self._http is not None:  # a file costs nothing to read again
            self._fetch_allowed_at = self._clock() + wait.total_seconds()

    async def _read(self) -> bytes:
        if self._http is None:
            return Path(self._source).read_bytes()  # noqa: ASYNC240  one small local file
        answer = await self._http.get(str(self._source))
        return answer.raise_for_status().content


def _read_keys(text: bytes) -> dict[str, jwt.PyJWK]:
    """The usable keys of a JWKS; raises ValueError when it is none. Each key bears its one algorithm."""
    document = json.loads(text)
    if not isinstance(document, dict) or not isinstance(document.get("keys"), list):
        raise ValueError("not a JWKS: no list of keys")
    found: dict[str, jwt.PyJWK] = {}
    for entry in document["keys"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("kid"), str) or entry.get("use", "sig") != "sig":
            continue
        algorithm = ALGORITHMS.get((str(entry.get("kty")), str(entry.get("crv", ""))))
        if algorithm is None or entry.get("alg", algorithm) != algorithm:
            continue
        try:
            found[entry["kid"]] = jwt.PyJWK(entry, algorithm=algorithm)
        except jwt.PyJWTError as fault:
            log.warning("jwk_unusable", extra={"kid": entry["kid"], "fault": type(fault).__name__})
    return found


def development_keys(settings: Settings) -> Path:
    """Where the local issuer (shared/issuer.py) publishes its JWKS, its private key beside it."""
    return settings.data_dir / "issuer" / "jwks.json"


def _trusted_source(settings: Settings) -> str | Path:
    local = development_keys(settings)
    if settings.jwks is None:
        if settings.mode is Mode.PRODUCTION:
            raise UntrustedIssuerError("TILLROLL_JWKS must name the token issuer's keys in production mode.")
        return local
    if "://" not in settings.jwks:
        if settings.mode is Mode.PRODUCTION and Path(settings.jwks).resolve() == local.resolve():
            raise UntrustedIssuerError(
                "TILLROLL_JWKS names the local development issuer, which production mode does not trust."
            )
        return Path(settings.jwks)
    if settings.mode is Mode.PRODUCTION and not settings.jwks.startswith("https://"):
        raise UntrustedIssuerError("TILLROLL_JWKS must be an https URL or a file in production mode.")
    return settings.jwks
