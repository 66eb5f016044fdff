"""The floor of accepting: a bare ASGI app on the same server, with the product's own script and nothing else.

Tokens are verified once and remembered; the script calls of one turn of the event loop go as one pipeline on one
connection. It refuses what it must (a wrong token, an unknown product, a wrong total) and answers known keys.
"""

import asyncio
import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import jwt
import pydantic_core
from redis.asyncio import Redis

from services.checkout.names import key_name, payment_slot, window_slot
from shared.events import iso_date
from shared.streams import NAMES_LOADED, STREAM, name_key, order_key, overlay_key, user_digest

ROOT = Path(__file__).parents[2]
SCRIPT = (ROOT / "services" / "checkout" / "accept_order.lua").read_text()
_IDENTITY = 7 * 86_400_000  # ms
_WINDOW = 30_000  # ms

Send = Callable[[dict[str, Any]], Awaitable[None]]
Receive = Callable[[], Awaitable[dict[str, Any]]]


class Refused(Exception):
    """A status and its text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class Coalesced:
    """All calls of one turn of the event loop as one pipeline on one connection."""

    def __init__(self, redis_url: str) -> None:
        self._redis: Redis = Redis.from_url(redis_url, protocol=2, single_connection_client=True)
        self._sha = hashlib.sha1(SCRIPT.encode()).hexdigest()
        self._waiting: list[tuple[list[Any], asyncio.Future[Any]]] = []
        self._sender: asyncio.Task[None] | None = None

    def run(self, keys: list[str], arguments: list[Any]) -> "asyncio.Future[Any]":
        """The script's answer."""
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(([self._sha, len(keys), *keys, *arguments], answer))
        if self._sender is None:
            self._sender = asyncio.create_task(self._send())
        return answer

    async def _send(self) -> None:
        try:
            while self._waiting:
                batch, self._waiting = self._waiting, []
                pipeline = self._redis.pipeline(transaction=False)
                for command, _ in batch:
                    pipeline.execute_command("EVALSHA", *command)
                answers = await pipeline.execute(raise_on_error=False)
                for (_, waiting), answer in zip(batch, answers, strict=True):
                    if waiting.done():
                        continue
                    if isinstance(answer, Exception):
                        waiting.set_exception(answer)
                    else:
                        waiting.set_result(answer)
        finally:
            self._sender = None

    async def load(self) -> None:
        """Gives Redis the script."""
        await self._redis.script_load(SCRIPT)

    async def close(self) -> None:
        """Closes the connection."""
        await self._redis.aclose()


class Floor:
    """The ASGI app."""

    def __init__(self, redis_url: str, jwks: Path) -> None:
        self.redis = Coalesced(redis_url)
        self.keys = {key["kid"]: jwt.PyJWK(key) for key in json.loads(jwks.read_text())["keys"]}
        self.users: dict[bytes, str] = {}
        products = json.loads((ROOT / "services" / "cart" / "catalog.json").read_text())
        self.products = {product["id"]: product for product in products}

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        try:
            if scope["path"] != "/api/orders":
                status, body = 200, b"{}"
            else:
                status, body = await self._accept(scope, receive)
        except Refused as fault:
            status, body = fault.status, pydantic_core.to_json({"error": str(fault)})
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    async def _live(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await self.redis.load()
                await send({"type": "lifespan.startup.complete"})
            else:
                await self.redis.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _accept(self, scope: dict[str, Any], receive: Receive) -> tuple[int, bytes]:
        token = key = b""
        for name, value in scope["headers"]:
            if name == b"authorization":
                token = value
            elif name == b"idempotency-key":
                key = value
        user = self.users.get(token) or self._verify(token)
        message = await receive()
        content = message["body"]
        while message["more_body"]:
            message = await receive()
            content += message["body"]
        try:
            body = pydantic_core.from_json(content)
            lines, payload_lines, total = body["items"], [], 0
            for line in lines:
                product, quantity = self.products[line["id"]], line["quantity"]
                payload_lines.append(
                    {
                        "product_id": product["id"],
                        "title": product["title"],
                        "unit_price": f"{product['price']:.2f}",
                        "quantity": quantity,
                    }
                )
                total += product["price"] * quantity
        except (ValueError, KeyError, TypeError) as fault:
            raise Refused(400, "Invalid order payload") from fault
        if total != body["total"]:
            raise Refused(400, "Order total does not match catalog prices")
        print_ = hashlib.sha256(content).hexdigest()
        event_id, window = key_name(user, key.decode()), window_slot(user, print_)
        payload = pydantic_core.to_json(
            {
                "type": "checkout.completed",
                "version": 1,
                "user_id": user,
                "lines": payload_lines,
                "total": f"{total:.2f}",
                "fingerprint": print_,
                "names": {"key": str(event_id), "payment_session": None, "carts": [], "window": str(window)},
                "payment_session_id": None,
            }
        )
        answer = await self.redis.run(*_call(user, print_, str(event_id), str(window), payload))
        if answer[0] == b"not_loaded":
            raise Refused(503, "Orders cannot be accepted right now, please retry")
        is_new = answer[0] == b"accepted"
        order = {
            "id": str(event_id),
            "userId": user,
            "total": total,
            "date": iso_date(int(answer[1])) if is_new else None,
            "status": "processing",
            "items": lines,
        }
        return (201 if is_new else 200), pydantic_core.to_json({"data": order})

    def _verify(self, header: bytes) -> str:
        token = header.removeprefix(b"Bearer ").decode("latin-1")
        try:
            key = self.keys[jwt.get_unverified_header(token)["kid"]]
            claims = jwt.decode(token, key, algorithms=[key.algorithm_name], options={"require": ["exp", "sub"]})
        except (jwt.PyJWTError, KeyError) as fault:
            raise Refused(401, "Unauthorized") from fault
        self.users[header] = str(claims["sub"])
        return self.users[header]


def _call(user: str, print_: str, event_id: str, window: str, payload: bytes) -> tuple[list[str], list[Any]]:
    """Keys and arguments of a checkout with a key and no cart (accept_order.lua says what each is)."""
    slot = payment_slot(user, print_)
    names = name_key(event_id), name_key(slot)
    keys = [NAMES_LOADED, STREAM, overlay_key(user), order_key(event_id), name_key(window), *names]
    described = [user_digest(user), print_, event_id, _IDENTITY, _WINDOW]
    no_cart = ["version", "", 0, b"", "[]", 86_400_000, "", "", ""]
    no_payment = ["", "", "", "", "", b""]
    return keys, [2, 2, "consult", "", event_id, payload, *described, *no_cart, "", 2, *no_payment]


def create_app() -> Floor:
    """The app over REDIS_URL, trusting the keys in TILLROLL_JWKS (for `uvicorn --factory`)."""
    return Floor(os.environ["REDIS_URL"], Path(os.environ["TILLROLL_JWKS"]))
