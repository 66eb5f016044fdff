"""The local token issuer for development: one key in the data folder, tokens of Clerk's shape. Refuses production."""

import base64
import hashlib
import json
import os
import tempfile
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from jwt.algorithms import OKPAlgorithm
from pydantic import TypeAdapter

from shared.auth import Role, UntrustedIssuerError, development_keys
from shared.events import UserId
from shared.settings import Mode, Settings

DEVELOPMENT_LIFETIME = timedelta(days=1)

_USER_ID: TypeAdapter[str] = TypeAdapter(UserId)


def issue_development_token(settings: Settings, user_id: str, admin: bool = False, role: Role | None = None) -> str:
    """A token of the local issuer for `user_id`, good for a day. Makes the issuer's key at the first call.

    Raises UntrustedIssuerError in production mode, pydantic's ValidationError for a user id that no event could carry.
    """
    if settings.mode is Mode.PRODUCTION:
        raise UntrustedIssuerError("The local development issuer does not issue tokens in production mode.")
    key, kid = _development_key(development_keys(settings).parent)
    now = int(time.time())
    claims: dict[str, Any] = {
        "sub": _USER_ID.validate_python(user_id),
        "iss": settings.token_issuer or "tillroll-development",
        "iat": now,
        "nbf": now,
        "exp": now + int(DEVELOPMENT_LIFETIME.total_seconds()),
    }
    if settings.authorized_parties:
        claims["azp"] = settings.authorized_parties[0]
    if admin or role:
        claims["metadata"] = {"role": "admin" if admin else role}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": kid})


def _development_key(folder: Path) -> tuple[Ed25519PrivateKey, str]:
    """The issuer's key and its id; of processes that race for the first one, all get the same key."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    pem = folder / "key.pem"
    if not pem.exists():
        fresh = Ed25519PrivateKey.generate().private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        draft = _write_draft(folder, fresh)
        try:
            os.link(draft, pem)  # unlike a rename, fails when another process was first
        except FileExistsError:
            pass
        finally:
            draft.unlink()
    key = serialization.load_pem_private_key(pem.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise UntrustedIssuerError(f"{pem} is not an Ed25519 key.")
    public = OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)
    thumbprint = json.dumps({"crv": public["crv"], "kty": public["kty"], "x": public["x"]}, separators=(",", ":"))
    kid = base64.urlsafe_b64encode(hashlib.sha256(thumbprint.encode()).digest()).rstrip(b"=").decode()
    jwks = json.dumps({"keys": [{**public, "kid": kid, "alg": "EdDSA", "use": "sig"}]}).encode()
    published = folder / "jwks.json"
    if not published.exists() or published.read_bytes() != jwks:
        os.replace(_write_draft(folder, jwks), published)
    return key, kid


def _write_draft(folder: Path, content: bytes) -> Path:
    """A complete file beside its destination, readable by its owner only."""
    handle, name = tempfile.mkstemp(dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)
