"""Through success, errors and outages: no log, no metric and no span of any process holds a secret or a shopper."""

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlsplit
from uuid import uuid4

import asyncpg
import httpx
import pytest
import redis

from services.cart.store import cart_key
from services.cli.system import free_port
from shared.issuer import issue_development_token
from shared.settings import Settings
from shared.streams import STREAM, order_key, overlay_key
from tests.acceptance.system import System
from tests.builders import a_checkout, fields_of
from tests.nginx import SERVICES, Nginx
from tests.otlp import Collector, collecting
from tests.servers import Servers, run_apart, wait_until
from tests.stripe_fake import event_body, signed
from tests.waiting import until

MAIL = "zelda.quixote@mail.example"
SESSION = "5ec2e700-0000-4000-8000-0000005ec2e7"
KEY = "key-of-zelda-5ec2e7"
DATABASE_PASSWORD, REDIS_PASSWORD = "pg-pass-5ec2e7", "redis-pass-5ec2e7"
STRIPE_KEY, STRIPE_SECRET = "sk_test_5ec2e7CardOfTheShop", "whsec_5ec2e7SignsTheMoney"
ITEMS = [{"id": "2", "quantity": 1}]
ORDER = {"total": 149, "items": ITEMS}


class Shop:
    """A running system on servers that are reached with passwords, behind nginx, and Zelda's requests to it."""

    def __init__(self, system: System, nginx: Nginx, servers: Servers, collector: Collector) -> None:
        self.system = system
        self.nginx = nginx
        self.collector = collector
        self.servers = servers
        self.token = issue_development_token(Settings(data_dir=system.folder), MAIL)
        self.admin = issue_development_token(Settings(data_dir=system.folder), f"admin.{MAIL}", True)
        self.cookie = ""

    def send(self, method: str, path: str, body: object = None, url: str | None = None, **headers: str) -> int:
        """One request of hers through nginx; the status."""
        sent = {"Authorization": f"Bearer {self.token}", "X-Cart-Session": SESSION, "Idempotency-Key": KEY}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        answer = httpx.request(
            method,
            f"{url or self.nginx.url}{path}",
            content=body if isinstance(body, bytes) else json.dumps(body).encode() if body is not None else None,
            headers={"Content-Type": "application/json", "Cookie": f"__session={self.token}{self.cookie}"} | sent,
            timeout=20,
            trust_env=False,
        )
        if "cart_session" in answer.cookies:
            self.cookie = f"; cart_session={answer.cookies['cart_session']}"
        return answer.status_code

    def secrets(self) -> dict[str, str]:
        """What must stand nowhere, each in a spelling that is hers alone."""
        return {
            "user": MAIL,
            "user, quoted": quote(MAIL),
            "user's name": "zelda",
            "token": self.token.rpartition(".")[2],
            "token's claims": self.token.split(".")[1],
            "admin's token": self.admin.rpartition(".")[2],
            "cart session": SESSION,
            "cart's generation": self.cookie.rpartition(".")[2],
            "idempotency key": KEY,
            "database password": DATABASE_PASSWORD,
            "Redis password": REDIS_PASSWORD,
            "Stripe's key": STRIPE_KEY,
            "the webhook's secret": STRIPE_SECRET,
            "any of them": "5ec2e7",
        }

    def logs(self) -> dict[str, str]:
        """Every log of every process, the metrics and the spans."""
        files = [*self.system.folder.glob("logs/*.log"), self.nginx.log, self.servers.redis.log]
        found = {path.name: path.read_text(errors="replace") for path in (*files, self.servers.postgres.log)}
        found["terminal"] = self.system.output.partition("Place a first order")[0]
        for name, url in (("gateway", self.system.state.gateway_url), ("consumer", self.system.state.consumer_url)):
            found[f"{name}'s metrics"] = httpx.get(f"{url}/metrics", trust_env=False).text
        found["spans"] = "\n".join(span.told for span in self.collector.spans)
        return found


@pytest.fixture
def shop(servers: Servers, settings: Settings, place: Path) -> Iterator[Shop]:
    database, socket = urlsplit(servers.database_url), servers.redis_url.removeprefix("unix://")
    env = {
        "DATABASE_URL": f"postgresql://postgres:{DATABASE_PASSWORD}@{database.path}?{database.query}",
        "REDIS_URL": f"unix://default:{REDIS_PASSWORD}@{socket}",
        "TILLROLL_STRIPE_SECRET_KEY": STRIPE_KEY,
        "TILLROLL_STRIPE_WEBHOOK_SECRET": STRIPE_SECRET,
        "TILLROLL_STRIPE_API_URL": f"http://127.0.0.1:{free_port()}",  # it is away
    }
    env["TILLROLL_LOG_EACH"] = "true"
    with collecting() as collector, System(place / "till", env=env | collector.environment) as system:
        system.start()
        here = f"127.0.0.1:{system.port}"
        upstreams = dict.fromkeys(SERVICES, here) | {"orders": f"127.0.0.1:{free_port()}"}  # one service is away
        nginx = Nginx(place / "nginx", upstreams)
        try:
            yield Shop(system, nginx, servers, collector)
        finally:
            nginx.stop()
    servers.clean()


def test_no_log_no_metric_and_no_span_holds_a_secret_or_a_shopper(shop: Shop) -> None:
    with redis.Redis.from_url(shop.servers.redis_url) as client:
        all_goes_well(shop)
        what_the_shopper_does_wrong(shop)
        what_was_broken_before(shop, client)
        what_stripe_says(shop)
    what_postgres_refuses(shop)
    outages(shop)
    logs = shop.logs()
    told = "\n".join(logs.values())
    for event in (
        "dead_letter",
        "stripe_unavailable",
        "payment_unusable",
        "redis_unavailable",
        "postgres_unavailable",
        "overlay_field_unreadable",
    ):
        assert event in told, f"the test went through {event}"
    assert "unexpected_fault" in told
    assert {"request", "recorded"} <= {json.loads(line)["event"] for line in logs["gateway.log"].splitlines()} | {
        json.loads(line)["event"] for line in logs["consumer.log"].splitlines()
    }, "every line is JSON"
    the_spans_tell_of_all_of_it(shop.collector)
    leaks = [
        f"{what} in {name}: {line.strip()[:300]}"
        for name, text in logs.items()
        for line in text.splitlines()
        for what, secret in shop.secrets().items()
        if secret and secret.lower() in line.lower()
    ]
    assert not leaks, "\n".join(leaks)


def the_spans_tell_of_all_of_it(collector: Collector) -> None:
    """Also of what failed: there messages would be told."""
    names = {span.name for span in collector.spans}
    assert any(name.startswith("PUT /api/cart/{") for name in names)
    assert {"POST /api/orders", "accept order", "change status", "record batch"} <= names
    failed = [span for span in collector.spans if span.told.count("STATUS_CODE_ERROR")]
    assert any(span.name.startswith(("INSERT", "SELECT")) for span in failed), "a statement"
    assert any(span.name.endswith(".lua") for span in failed), "a script"
    assert any(span.name == "POST /api/orders" for span in failed)


def all_goes_well(shop: Shop) -> None:
    gateway = shop.system.url
    assert shop.send("PUT", f"/api/cart/{SESSION}", {"items": ITEMS}) == 200
    assert "." in shop.cookie
    assert shop.send("POST", "/api/orders", ORDER) == 201
    assert shop.send("POST", "/api/orders", ORDER) == 200
    assert shop.send("GET", "/api/orders", url=gateway) == 200
    wait_until(lambda: len(shop.system.recorded(MAIL)) == 1, "the order is recorded")
    [order_id] = shop.system.recorded(MAIL)
    assert shop.send("PATCH", "/api/orders", {"id": order_id}, gateway) == 200
    assert shop.send("GET", f"/api/admin/orders?user={MAIL}", url=gateway, Authorization=f"Bearer {shop.admin}") == 200
    query = {"query": "{orders{id}}", "variables": {"mail": MAIL}}
    assert shop.send("POST", "/api/graphql", query) in (200, 503)


def what_the_shopper_does_wrong(shop: Shop) -> None:
    gateway = shop.system.url
    assert shop.send("POST", "/api/orders", {**ORDER, "total": 298, "items": ITEMS * 2}) == 422
    assert shop.send("POST", "/api/orders", {**ORDER, "total": MAIL}) == 400
    assert shop.send("POST", "/api/orders", f'{{"{MAIL}'.encode()) == 400
    assert shop.send("POST", "/api/orders", ORDER, Idempotency_Key=f"{KEY} {MAIL}") == 400
    assert shop.send("PUT", f"/api/cart/{SESSION}{MAIL}", {"items": []}) == 400
    assert shop.send("GET", f"/api/orders?session_id={KEY}", url=gateway) == 404
    assert shop.send("GET", "/api/orders", url=gateway, Authorization=f"Bearer {shop.token}x") == 401
    assert shop.send("GET", f"/api/products/{MAIL}") == 400
    assert shop.send("GET", f"/{MAIL}?{SESSION}") == 404
    assert shop.send("POST", "/api/graphql", {"query": f"{{orders(user:{json.dumps(MAIL)}){{id}}}}"}) == 400
    assert shop.send("GET", f"/api/admin/orders?user={MAIL}", url=gateway) == 403
    assert shop.send("POST", "/api/orders", b"x" * 70_000) == 413
    assert shop.send("GET", f"/api/orders?session_id={SESSION}") == 503, "nginx cannot reach that service"


def what_was_broken_before(shop: Shop, client: "redis.Redis") -> None:
    """Records, overlay and stream hold what nobody can read, with her name in it."""
    event = a_checkout(MAIL)
    sound = fields_of(event, uuid4())
    payload: bytes = sound["payload"]
    client.xadd(STREAM, {**sound, "payload": payload[:-1]})
    client.xadd(STREAM, {**sound, "payload": payload.replace(b'"quantity":1', b'"quantity":"many"')})
    client.xadd(STREAM, {**sound, "event_id": MAIL})
    client.xadd(STREAM, {"event_id": KEY, MAIL: shop.token})
    client.xadd(STREAM, {**sound, "payload": payload.replace(b"427.00", b"0E-999999")})
    client.hset(overlay_key(MAIL), MAIL, payload)
    client.hset(overlay_key(MAIL), str(uuid4()), payload)
    assert shop.send("GET", "/api/orders", url=shop.system.url) == 200
    key = KEY + "-broken"
    assert shop.send("POST", "/api/orders", ORDER, Idempotency_Key=key, X_Cart_Session="") == 201
    newest = max(client.scan_iter(order_key("*")), key=lambda name: int(client.hget(name, "accepted_at") or 0))
    client.hset(newest, "payload", payload.replace(MAIL.encode(), MAIL.encode() + b"\\u0000"))
    assert shop.send("POST", "/api/orders", ORDER, Idempotency_Key=key, X_Cart_Session="") == 500
    client.hset(cart_key(SESSION), "version", "x")
    assert shop.send("GET", f"/api/cart/{SESSION}") == 500
    client.delete(cart_key(SESSION))
    wait_until(lambda: len(dead_letters(shop)) == 5, "all five are dead letters")


def what_stripe_says(shop: Shop) -> None:
    """Her session cannot be opened, and money comes with her name that fits nothing."""
    assert shop.send("POST", "/api/checkout/sessions", ORDER, Idempotency_Key=KEY + "-card") == 503
    body = event_body("checkout.session.completed", {"id": KEY, "payment_status": "paid", "metadata": {"mail": MAIL}})
    assert shop.send("POST", "/api/webhooks/stripe", body, Stripe_Signature=f"t=1,v1={MAIL}") == 400
    signature = signed(body, STRIPE_SECRET)["Stripe-Signature"]
    assert shop.send("POST", "/api/webhooks/stripe", body, Stripe_Signature=signature) == 200
    wait_until(lambda: "foreign_payment" in dead_letters(shop), "it is a dead letter")


def what_postgres_refuses(shop: Shop) -> None:
    """A constraint that knows her: what Postgres says about the row must not be told on."""
    name = f"another.{MAIL}"
    shop.token = issue_development_token(Settings(data_dir=shop.system.folder), name)
    execute(shop, f"ALTER TABLE orders ADD CONSTRAINT nobody CHECK (user_id <> '{name}')")
    try:
        assert shop.send("POST", "/api/orders", ORDER) == 201
        wait_until(lambda: "refused_by_postgres" in dead_letters(shop)[-1:], "it is a dead letter")
    finally:
        execute(shop, "ALTER TABLE orders DROP CONSTRAINT nobody")


def outages(shop: Shop) -> None:
    postgres_dies_over_her_statements(shop)
    consumer = shop.system.state.consumer_url
    wait_until(lambda: httpx.get(f"{consumer}/ready", trust_env=False).status_code == 503, "the batch is held")
    shop.servers.redis.kill()
    assert shop.send("POST", "/api/orders", ORDER) == 503
    assert shop.send("PUT", f"/api/cart/{SESSION}", {"items": ITEMS}) == 503
    assert shop.send("GET", f"/api/cart/{SESSION}") == 503
    shop.servers.redis.start()
    shop.servers.postgres.start()
    wait_until(lambda: len(shop.system.recorded(f"another.{MAIL}")) == 1, "what was accepted is recorded")


def postgres_dies_over_her_statements(shop: Shop) -> None:
    """A batch with her order and a read of her orders wait for a lock when it happens: both have her as a parameter."""
    key = KEY + "-without-postgres"

    async def run() -> None:
        connection = await asyncpg.connect(shop.servers.database_url)
        await connection.execute("BEGIN; LOCK TABLE orders IN ACCESS EXCLUSIVE MODE")
        with ThreadPoolExecutor() as threads:
            read = threads.submit(shop.send, "GET", "/api/orders", url=shop.system.url)
            assert shop.send("POST", "/api/orders", ORDER, Idempotency_Key=key, X_Cart_Session="") == 201
            waiting = "SELECT count(*) > 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            await until(lambda: connection.fetchval(waiting))
            shop.servers.postgres.kill()
            assert read.result() == 503
        connection.terminate()

    run_apart(run())


def dead_letters(shop: Shop) -> list[str]:
    found: list[str] = []

    async def read() -> None:
        connection = await asyncpg.connect(shop.servers.database_url)
        found.extend(row[0] for row in await connection.fetch("SELECT reason FROM dead_letters ORDER BY id"))
        await connection.close()

    run_apart(read())
    return found


def execute(shop: Shop, statement: str) -> None:
    async def run() -> None:
        connection = await asyncpg.connect(shop.servers.database_url)
        await connection.execute(statement)
        await connection.close()

    run_apart(run())
