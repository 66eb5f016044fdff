"""Entries that no gateway would write, put into the stream by hand, and what has to become of each kind. Pure.

They are what a stock FastStream consumer drops, mangles or is stopped by, and what a faulty or hostile writer sends.
"""

from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from random import Random
from typing import Literal
from uuid import UUID, uuid4

from services.certify.oracle import DIRECT_USER
from shared.events import CheckoutCompleted, Line, Status, StatusChanged, encode

MARK = b"certify"
"""Field that names the kind of an entry; a consumer ignores fields that it does not know."""

RECORDED = "recorded"
"""Instead of a reason: the entry is odd, but sound, and its order must be there."""

_FASTSTREAM_HEADER = b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\x12\x00\x00\x00\x14\x00\x00"
_NON_ASCII_HEADER = b"\x89BIN\r\n\x1a\n\x00\x01\x00\x00\x00\x12\x00\x00\x00\x20\x00\x01\x00\x01x\x00\x04caf\xc3\xa9{}"


@dataclass(frozen=True, slots=True)
class Target:
    """A recorded order that an entry may contradict."""

    order_id: UUID
    user: str
    status: str


Fields = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Poison:
    """One kind: how to make it, the reason for which it is set aside, the status of the order that it needs."""

    kind: str
    reason: str
    make: Callable[[Random, Target], Fields]
    needs: str | None = None


def _sound(chance: Random, _target: Target) -> dict[bytes, bytes]:
    event = CheckoutCompleted(
        user_id=f"{DIRECT_USER}{chance.getrandbits(64):016x}",
        lines=(Line(product_id="1", title="Wireless Headphones", unit_price=Decimal(129), quantity=1),),
        total=Decimal(129),
        fingerprint=f"{chance.getrandbits(256):064x}",
    )
    return _fields(uuid4(), encode(event))


def _fields(event_id: UUID | str, payload: bytes) -> dict[bytes, bytes]:
    return {b"event_id": str(event_id).encode(), b"payload": payload, b"accepted_at": b"1773480413000"}


def _with(**changed: bytes | None) -> Callable[[Random, Target], Fields]:
    """A sound entry with fields added, changed, or (None) left out."""

    def make(chance: Random, target: Target) -> Fields:
        fields = _sound(chance, target) | {name.encode(): value for name, value in changed.items() if value is not None}
        return [pair for pair in fields.items() if changed.get(pair[0].decode(), b"") is not None]

    return make


def _only(*pairs: tuple[bytes, bytes]) -> Callable[[Random, Target], Fields]:
    return lambda _chance, _target: list(pairs)


def _payload(**changed: bytes) -> Callable[[Random, Target], Fields]:
    """A sound entry whose payload has some bytes replaced: `old=new` by position of the pair."""

    def make(chance: Random, target: Target) -> Fields:
        fields = _sound(chance, target)
        assert changed["old"] in fields[b"payload"]
        return list((fields | {b"payload": fields[b"payload"].replace(changed["old"], changed["new"])}).items())

    return make


def _other_content(chance: Random, target: Target) -> Fields:
    return list((_sound(chance, target) | {b"event_id": str(target.order_id).encode()}).items())


def _stranger(chance: Random, target: Target) -> Fields:
    move = StatusChanged(user_id=f"{DIRECT_USER}mallory", order_id=target.order_id, status=Status.PAID)
    return list(_fields(uuid4(), encode(move)).items())


def _move(status: Literal[Status.PAID, Status.CANCELLED]) -> Callable[[Random, Target], Fields]:
    def make(_chance: Random, target: Target) -> Fields:
        move = StatusChanged(user_id=target.user, order_id=target.order_id, status=status)
        return list(_fields(uuid4(), encode(move)).items())

    return make


def _twice_the_id(chance: Random, target: Target) -> Fields:
    return [(b"event_id", b"the first of two"), *_sound(chance, target).items()]


KINDS = (
    Poison("raw JSON as a FastStream body", "missing_event_id", _only((b"__data__", b'{"event_id":"1"}'))),
    Poison("a body with a string called data", "missing_event_id", _only((b"__data__", b'{"data":"{}"}'))),
    Poison("a FastStream message", "missing_event_id", _only((b"__data__", _FASTSTREAM_HEADER + b"{}"))),
    Poison("a FastStream message, header not ASCII", "missing_event_id", _only((b"__data__", _NON_ASCII_HEADER))),
    Poison("a body that is not UTF-8", "missing_event_id", _only((b"__data__", b"\xff\xfe\x00"))),
    Poison("a field name that is not UTF-8", "missing_event_id", _only((b"\xff", b"\xfe"))),
    Poison("an extra field called data", RECORDED, _with(data=b'{"total": 1}')),
    Poison("an extra field that is not UTF-8", RECORDED, _with(note=b"\xff\xfe")),
    Poison("two fields called event_id", RECORDED, _twice_the_id),
    Poison("no event id", "missing_event_id", _with(event_id=None)),
    Poison("an event id that is none", "invalid_event_id", _with(event_id=b"42\n")),
    Poison("no acceptance time", "missing_accepted_at", _with(accepted_at=None)),
    Poison("an acceptance time out of range", "invalid_accepted_at", _with(accepted_at=b"999999999999999")),
    Poison("no payload", "missing_payload", _with(payload=None)),
    Poison("a payload that is not UTF-8", "undecodable", _with(payload=b"\xff\xfe{")),
    Poison("half a payload", "undecodable", _with(payload=b'{"type":"checkout.completed","ver')),
    Poison("deep JSON", "undecodable", _with(payload=b"[" * 50_000)),
    Poison("a huge payload", "undecodable", _with(payload=b'"' + b"x" * 200_000 + b'"')),
    Poison(
        "a NUL in the user", "undecodable", _payload(old=DIRECT_USER.encode(), new=DIRECT_USER.encode() + b"\\u0000")
    ),
    Poison("half a surrogate pair", "undecodable", _payload(old=b"Wireless", new=b"\\ud800")),
    Poison("a version of tomorrow", "undecodable", _payload(old=b'"version":1', new=b'"version":2')),
    Poison("an unknown event", "undecodable", _payload(old=b"checkout.completed", new=b"checkout.dreamt")),
    Poison("a quantity of wrong type", "undecodable", _payload(old=b'"quantity":1', new=b'"quantity":"one"')),
    Poison("a total that overflows", "undecodable", _payload(old=b'"total":"129"', new=b'"total":"1e400"')),
    Poison("a known id with other content", "key_reused", _other_content, needs="any"),
    Poison("a stranger's move", "not_owner", _stranger, needs="any"),
    Poison("paid after the cancel", "paid_after_cancel", _move(Status.PAID), needs="cancelled"),
    Poison("cancelled after the payment", "cancelled_after_paid", _move(Status.CANCELLED), needs="paid"),
)
BY_KIND = {poison.kind: poison for poison in KINDS}
