"""Entries that no accepting service writes: strategies to invent them, and the corpus of shapes that are always run."""

import json
from pathlib import Path
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from services.orders.dead_letters import raw_fields
from shared.events import Event, Status
from tests.builders import a_change, a_checkout, a_joined_key, fields_of, names

Fields = tuple[tuple[bytes, bytes], ...]

CORPUS = Path(__file__).parent / "corpus"
MEGABYTE = 1_000_000
ORDERS = [UUID(int=number, version=5) for number in range(1, 7)]  # few, so that ids meet again

# What breaks parsers, databases or comparisons, as JSON text that may stand for any value of a payload.
ODD_JSON = [
    *(b"null", b"true", b"-1", b"0", b"1e400", b"1e-400", b"-0.0", b"NaN", b"Infinity", b"9" * 5000, b"1E+5", b"2.0"),
    *(b'""', b'"\\u0000"', b'"\\ud800"', b'"\xff"', b'"\xed\xa0\x80"', b'"sNaN"', b'"0E-999999"', b'"0E+999999"'),
    *(b'"4_27"', b'"\xd9\xa4"', b'"999999.999"', b"[]", b"{}", b"[" * 300 + b"]" * 300, b'"' + b"x" * 10_240 + b'"'),
    *(b'"\\u007f\\u2028"', b'"order.deleted"', b"99999999999999999999", b'"\xf0\x9f\x9b\x92"'),
]
SPLICES = [
    b"\x00",
    b"\xff\xfe",
    b"\xc3",
    b"\xef\xbb\xbf",
    b"[" * 200,
    b"}",
    b'"',
    b",",
    b'"user_id":"eve",',
    b"\\u0000",
]
NAMES = [b"event_id", b"payload", b"accepted_at"]


def corpus() -> dict[str, Fields]:
    """Name of the file -> the fields it holds, in the form in which a dead letter keeps them."""
    return {path.stem: raw_fields(json.loads(path.read_text())) for path in sorted(CORPUS.glob("*.json"))}


def huge() -> dict[str, Fields]:
    """Shapes that are too large for a file."""
    sound = _pairs(fields_of(a_checkout("huge"), UUID(int=77, version=5)))
    payload = dict(sound)[b"payload"]
    return {
        "a megabyte of rubbish": _with(sound, b"payload", b"\xff\x00" * (MEGABYTE // 2)),
        "a megabyte that is an event": _with(sound, b"payload", payload[:-1] + b" " * MEGABYTE + b"}"),
        "a megabyte of nesting": _with(sound, b"payload", b"[" * MEGABYTE),
        "a megabyte of one number": _with(sound, b"payload", b"9" * MEGABYTE),
        "a name of a megabyte": ((b"n" * MEGABYTE, b""), *_with(sound, b"event_id", b"x")),
        "ten thousand fields": tuple((b"%d" % number, b"\xff") for number in range(10_000)),
    }


@st.composite
def entries(draw: st.DrawFn) -> Fields:
    """Fields that are sound but for a few faults, or nothing but noise."""
    if draw(st.integers(0, 9)) == 0:
        return tuple(draw(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=200)), min_size=1, max_size=6)))
    fields = list(_pairs(fields_of(draw(_events()), draw(st.sampled_from(ORDERS)))))
    for _ in range(draw(st.integers(0, 3))):
        _spoil(draw, fields)
    return tuple(fields) or ((b"", b""),)


def _events() -> st.SearchStrategy[Event]:
    order, key = st.sampled_from(ORDERS), st.sampled_from(ORDERS)
    return st.one_of(
        st.builds(lambda key: a_checkout("user_ada", names=names(key=key)), key),
        st.builds(a_change, order, st.sampled_from([Status.PAID, Status.CANCELLED])),
        st.builds(a_joined_key, order, key),
    )


def _spoil(draw: st.DrawFn, fields: list[tuple[bytes, bytes]]) -> None:
    where = draw(st.integers(0, len(fields)))
    match draw(st.sampled_from(["drop", "value", "name", "repeat", "add", "json", "json", "splice"])):
        case "drop" if where < len(fields):
            del fields[where]
        case "value" if where < len(fields):
            fields[where] = (fields[where][0], draw(st.binary(max_size=60)))
        case "name" if where < len(fields):
            fields[where] = (draw(st.binary(max_size=12)), fields[where][1])
        case "repeat":
            fields.insert(where, (draw(st.sampled_from(NAMES)), draw(st.binary(max_size=40))))
        case "add":
            fields.insert(where, (draw(st.sampled_from([b"", b"data", b"\xff\x00"])), draw(st.binary(max_size=40))))
        case "json":
            _edit_payload(fields, lambda payload: _replace_value(draw, payload))
        case "splice":
            _edit_payload(fields, lambda payload: _splice(draw, payload))


def _replace_value(draw: st.DrawFn, payload: bytes) -> bytes:
    """One value of the event, at any depth, becomes an odd one; or its key comes twice."""
    try:
        event = json.loads(payload)
    except ValueError:
        return payload
    places = list(_places(event))
    if not places:
        return payload
    holder, name = draw(st.sampled_from(places))
    odd, mark = draw(st.sampled_from(ODD_JSON)), "\x01here\x01"
    if isinstance(holder, dict) and draw(st.booleans()):
        holder[mark], written = holder[name], json.dumps(str(name)).encode()
    else:
        holder[name], written = mark, odd
        return json.dumps(event).encode().replace(json.dumps(mark).encode(), written)
    text = json.dumps(event).encode()
    return (
        text.replace(json.dumps(mark).encode(), written) if draw(st.booleans()) else text[:-1] + b',"x":' + odd + b"}"
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    found: list[tuple[Any, Any]] = []
    if isinstance(value, dict | list):
        for name in list(value) if isinstance(value, dict) else range(len(value)):
            found.append((value, name))
            found += _places(value[name])
    return found


def _splice(draw: st.DrawFn, payload: bytes) -> bytes:
    at = draw(st.integers(0, len(payload)))
    return payload[:at] + draw(st.sampled_from(SPLICES)) + payload[at + draw(st.integers(0, 8)) :]


def _edit_payload(fields: list[tuple[bytes, bytes]], edit: Any) -> None:
    for index, (name, value) in enumerate(fields):
        if name == b"payload":
            fields[index] = (name, edit(value))


def _pairs(fields: dict[str, Any]) -> Fields:
    return tuple(
        (name.encode(), value if isinstance(value, bytes) else str(value).encode()) for name, value in fields.items()
    )


def _with(fields: Fields, name: bytes, value: bytes) -> Fields:
    return tuple((known, value if known == name else old) for known, old in fields)
