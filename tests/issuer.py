"""A token issuer of the tests' own: keys of every kind, tokens good and bad, and the JWKS that vouches for them."""

import json
import time
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi import Request
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | Ed25519PrivateKey


def _new_key(algorithm: str) -> tuple[PrivateKey, dict[str, Any]]:
    if algorithm == "RS256":
        rsa_key = rsa.generate_private_key(65537, 2048)
        return rsa_key, RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True)
    if algorithm == "ES256":
        ec_key = ec.generate_private_key(ec.SECP256R1())
        return ec_key, ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True)
    key = Ed25519PrivateKey.generate()
    return key, OKPAlgorithm.to_jwk(key.public_key(), as_dict=True)


class Issuer:
    """One private key that signs, named by a key id and published as a JWK."""

    def __init__(self, kid: str = "till-key-1", algorithm: str = "EdDSA") -> None:
        self.kid, self.algorithm = kid, algorithm
        self.key, jwk = _new_key(algorithm)
        self.jwk: dict[str, Any] = {**jwk, "kid": kid}

    def token(self, **claims: Any) -> str:
        """A token of `anna`, good for a minute; a claim given as None is left out."""
        full = {"sub": "anna", "exp": time.time() + 60, "nbf": time.time() - 1} | claims
        kept = {name: value for name, value in full.items() if value is not None}
        return jwt.PyJWS().encode(json.dumps(kept).encode(), self.key, self.algorithm, {"kid": self.kid})


def jwks(*issuers: Issuer) -> bytes:
    """The public keys of `issuers` as they are published."""
    return json.dumps({"keys": [issuer.jwk for issuer in issuers]}).encode()


def publish(folder: Path, *issuers: Issuer) -> str:
    """Writes the JWKS into `folder`; its path is a value for TILLROLL_JWKS."""
    path = folder / "published-keys.json"
    path.write_bytes(jwks(*issuers))
    return str(path)


def a_request(token: str | None = None, method: str = "GET", **headers: str) -> Request:
    """A request with `token` as its Bearer; headers are given with underscores."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    if token is not None:
        named["authorization"] = f"Bearer {token}"
    raw = [(name.encode(), value.encode("latin-1")) for name, value in named.items()]
    return Request({"type": "http", "method": method, "path": "/api/orders", "headers": raw})
