"""Stripe as a shop meets it: an HTTP server that judges requests as Stripe does, and signs the webhooks it delivers."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qsl

import stripe
from pydantic import SecretStr

from shared.settings import Settings

SECRET_KEY = "sk_test_tillroll"
WEBHOOK_SECRET = "whsec_tillroll"

_REFUSED = {"type": "invalid_request_error"}


class FakeStripe:
    """Its state. `outage` is what it answers instead: a status, or seconds that nobody waits for."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.sessions: dict[str, dict[str, Any]] = {}
        self.requests: list[dict[str, str]] = []
        self.outage: int | float | None = None
        self._answered: dict[str, tuple[list[tuple[str, str]], dict[str, Any]]] = {}
        self._numbers = count(1)
        self._lock = Lock()

    def settings(self, settings: Settings) -> Settings:
        """`settings` of a shop that is paid here."""
        return settings.model_copy(
            update={
                "stripe_secret_key": SecretStr(SECRET_KEY),
                "stripe_webhook_secret": SecretStr(WEBHOOK_SECRET),
                "stripe_api_url": self.url,
            }
        )

    def answer(self, path: str, headers: Any, body: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of one POST."""
        pairs = parse_qsl(body, keep_blank_values=True)
        if isinstance(self.outage, int):
            return self.outage, {"error": {"type": "api_error", "message": "outage"}}
        if headers.get("Authorization") != f"Bearer {SECRET_KEY}":
            return 401, {"error": {**_REFUSED, "message": "Invalid API Key provided"}}
        if path != "/v1/checkout/sessions":
            return 404, {"error": {**_REFUSED, "message": f"Unrecognized request URL {path}"}}
        with self._lock:
            self.requests.append(dict(pairs))
            key = headers.get("Idempotency-Key", "")
            if key in self._answered:
                asked, made = self._answered[key]
                if asked != pairs:
                    return 400, {"error": {"type": "idempotency_error", "message": "other parameters"}}
                return 200, made
            if fault := _fault(dict(pairs), key):
                return 400, {"error": {**_REFUSED, "message": fault}}
            made = self._make(dict(pairs))
            self._answered[key] = pairs, made
            return 200, made

    def paid(self, session_id: str, **changed: Any) -> bytes:
        """The body of the event that says that the session was paid; `changed` members of the session."""
        session = {**self.sessions[session_id], "payment_status": "paid", "status": "complete", **changed}
        return event_body("checkout.session.completed", session, next(self._numbers))

    def _make(self, asked: dict[str, str]) -> dict[str, Any]:
        number = next(self._numbers)
        session_id = f"cs_test_{number:040d}"
        lines = _members(asked, "line_items")
        session = {
            "id": session_id,
            "object": "checkout.session",
            "mode": "payment",
            "status": "open",
            "payment_status": "unpaid",
            "amount_total": sum(
                int(asked[f"line_items[{line}][quantity]"]) * int(asked[f"line_items[{line}][price_data][unit_amount]"])
                for line in lines
            ),
            "currency": asked["line_items[0][price_data][currency]"],
            "client_reference_id": asked.get("client_reference_id"),
            "expires_at": int(asked["expires_at"]),
            "metadata": {name: asked[f"metadata[{name}]"] for name in _members(asked, "metadata")},
            "url": f"https://checkout.stripe.example/c/pay/{session_id}",
        }
        self.sessions[session_id] = session
        return session


def event_body(kind: str, session: Any, number: int = 0) -> bytes:
    """An event as Stripe sends it."""
    event = {"id": f"evt_{number}", "object": "event", "type": kind, "data": {"object": session}, "livemode": False}
    return json.dumps(event).encode()


def signed(body: bytes, secret: str = WEBHOOK_SECRET, at: float | None = None) -> dict[str, str]:
    """The headers of a webhook that Stripe signed."""
    timestamp = int(time.time() if at is None else at)
    header = stripe.WebhookSignature.generate_signature_header(body.decode(), secret, timestamp)
    return {"Stripe-Signature": header, "Content-Type": "application/json"}


def _fault(asked: dict[str, str], key: str) -> str | None:
    metadata = {name: asked[f"metadata[{name}]"] for name in _members(asked, "metadata")}
    lives = int(asked.get("expires_at", "0")) - time.time()
    lines = _members(asked, "line_items")
    checks = {
        "Idempotency-Key": 0 < len(key) <= 255,
        "mode": asked.get("mode") == "payment",
        "metadata: at most 50 keys": len(metadata) <= 50,
        "metadata: a name has at most 40 characters": all(len(name) <= 40 for name in metadata),
        "metadata: a value has 1 to 500 characters": all(0 < len(value) <= 500 for value in metadata.values()),
        "line_items: 1 to 100": 0 < len(lines) <= 100,
        "line_items: names": all(asked.get(f"line_items[{n}][price_data][product_data][name]") for n in lines),
        "line_items: amounts": all(asked.get(f"line_items[{n}][price_data][unit_amount]", "").isdigit() for n in lines),
        "expires_at: 30 minutes to 24 hours": 30 * 60 <= lives <= 24 * 3600,
        "success_url": "://" in asked.get("success_url", ""),
        "client_reference_id": len(asked.get("client_reference_id", "")) <= 200,
    }
    return next((name for name, holds in checks.items() if not holds), None)


def _members(asked: dict[str, str], name: str) -> list[str]:
    found = (re.match(rf"{name}\[([^\]]+)\]", key) for key in asked)
    return list(dict.fromkeys(match[1] for match in found if match))


@contextmanager
def open_stripe() -> Iterator[FakeStripe]:
    """A running one."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # http.server's own name
            body = self.rfile.read(int(self.headers.get("Content-Length", "0"))).decode()
            if isinstance(fake.outage, float):
                time.sleep(fake.outage)  # a thread of its own
                self.close_connection = True
                return
            status, answer = fake.answer(self.path, self.headers, body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    fake = FakeStripe(f"http://127.0.0.1:{server.server_address[1]}")
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield fake
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
