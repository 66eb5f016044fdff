"""Who checks out what, under which name: the load, known on both sides without a word between client and oracle.

Checkout number n belongs to one user, one body and one key; checkouts.lua sends it, the oracle asks for it.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import jwt
from cryptography.hazmat.primitives.asymmetric import rsa
from jwt.algorithms import RSAAlgorithm

from services.cart.catalog import Catalog
from services.checkout.names import key_name

USERS = 1001  # each comes again and again, as shoppers within one minute do, and by turns to each of two processes
PREFIX = "shopper-"
OPERATOR = "operator"
LINES = 3
_QUANTITIES = 8  # of each product: the least stock of the packaged catalogue
_LIFETIME = 86_400  # seconds


@dataclass(frozen=True)
class Shoppers:
    """The users, what they buy (the same user the same thing only after all others bought everything), the files."""

    users: tuple[str, ...]
    bodies: tuple[str, ...]
    totals: tuple[Decimal, ...]
    tokens_file: Path
    bodies_file: Path
    jwks_file: Path
    operator_token: str
    """Of somebody who may replay."""

    def names(self, numbers: Iterable[int]) -> Iterator[tuple[UUID, Decimal]]:
        """Name and total of the checkouts that follow the `numbers`."""
        for number in numbers:
            user = self.users[number % len(self.users)]
            total = self.totals[number // len(self.users) % len(self.totals)]
            yield key_name(user, key_of(number + 1)), total


def key_of(number: int) -> str:
    """The Idempotency-Key of checkout `number`, from 1."""
    return f"checkout-{number}"


def prepare_shoppers(
    folder: Path, catalog: Catalog, users: int = USERS, names: Sequence[str] | None = None
) -> Shoppers:
    """Writes tokens (of `names`, or of so many users), bodies and the JWKS that vouches for the tokens.

    RS256: what Clerk signs with.
    """
    names = tuple(names or (f"{PREFIX}{number:05d}" for number in range(users)))
    key = rsa.generate_private_key(65537, 2048)
    claims = {"exp": int(time.time()) + _LIFETIME, "nbf": int(time.time()) - 60}
    tokens = [jwt.encode({"sub": name, **claims}, key, "RS256", {"kid": "bench"}) for name in names]
    operator = jwt.encode({"sub": OPERATOR, "metadata": {"role": "operator"}, **claims}, key, "RS256", {"kid": "bench"})
    jwk = {**RSAAlgorithm.to_jwk(key.public_key(), as_dict=True), "kid": "bench", "alg": "RS256", "use": "sig"}
    products = catalog.products()[:LINES]
    bodies, totals = [], []
    for choice in range(_QUANTITIES ** len(products)):
        items, total = [], Decimal(0)
        for place, product in enumerate(products):
            quantity = 1 + choice // _QUANTITIES**place % _QUANTITIES
            items.append({"id": product.id, "quantity": quantity})
            total += product.price * quantity
        bodies.append(json.dumps({"items": items, "total": float(total)}))
        totals.append(total)
    files = folder / "tokens", folder / "bodies", folder / "jwks.json"
    for file, text in zip(files, ("\n".join(tokens), "\n".join(bodies), json.dumps({"keys": [jwk]})), strict=True):
        file.write_text(text + "\n")
    return Shoppers(names, tuple(bodies), tuple(totals), *files, operator)
