"""What an operator meets: entries that cannot be recorded, planted in the stream of a running system."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID, uuid4

import redis as redis_client

from shared.events import Status, encode
from shared.streams import STREAM
from tests.acceptance.system import System
from tests.builders import HEADPHONES, KEYBOARDS, a_change, a_checkout, fields_of
from tests.servers import wait_until


@contextmanager
def stream_of(system: System) -> Iterator["redis_client.Redis"]:
    """The system's Redis."""
    client = redis_client.Redis.from_url(system.state.redis_url)
    yield client
    client.close()


def buy(system: System, user: str, count: int = 1) -> list[UUID]:
    """Accepts `count` checkouts of `user`'s straight in the stream, one entry each; their event ids."""
    ids = [uuid4() for _ in range(count)]
    with stream_of(system) as client, client.pipeline(transaction=False) as pipeline:
        for event_id in ids:
            pipeline.xadd(STREAM, fields_of(a_checkout(user), event_id, _now()))
        pipeline.execute()
    return ids


def lose_a_byte(system: System, user: str) -> UUID:
    """A checkout whose payload lost its last brace on the way; its event id can be read."""
    event_id = uuid4()
    fields = fields_of(a_checkout(user), event_id, _now())
    _plant(system, fields | {"payload": fields["payload"][:-1]})
    return event_id


def plant_each_kind(system: System) -> None:
    """One dead letter of each common reason."""
    [known] = buy(system, "mara@example.com")
    other = a_checkout("mara@example.com", HEADPHONES, fingerprint="7a" * 32)
    _plant(system, fields_of(other, known, _now()))
    _plant(system, fields_of(a_change(known, Status.PAID, "someone@example.com"), None, _now()))
    _plant(system, fields_of(a_checkout("jonas@example.com", KEYBOARDS), None, _now()) | {"event_id": "order-7"})
    _plant(system, {"event_id": str(uuid4()), "payload": encode(a_checkout("lena@example.com"))})
    _plant(system, {"event_id": str(uuid4()), "accepted_at": _now(), "payload": b"\x80\x04\x95pickled"})


def wait_until_taken(system: System) -> None:
    """Returns when the consumer has acked every entry."""

    def is_taken() -> bool:
        found = system.status()
        return bool(found["lag"] == 0 and found["pending"] == 0)

    wait_until(is_taken, "the consumer has taken everything")


def _plant(system: System, fields: dict[str, Any]) -> None:
    with stream_of(system) as client:
        client.xadd(STREAM, fields)


def _now() -> int:
    return int(time.time() * 1000)
