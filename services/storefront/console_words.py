"""Numbers, times and refusals in the words of an operator. What is unknown is called unknown, never 0."""

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from shared.errors import ApiError

UNKNOWN = "unknown"
_FOR_DEVELOPERS = re.compile(r"\[type=[^\]]*\]|For further information visit \S+")
_ADVICE: Mapping[int, str] = {
    400: "Nothing was changed. Go back, correct what is named above and send it again.",
    403: "Your role may look, not act, or this form is too old. Reload the page; ask an admin for the operator role.",
    404: "It may have been trimmed or discarded, or the address is mistyped. Look for it in the list.",
    409: "Nothing was changed: somebody or something else was quicker. Reload the page to see the present state.",
    413: "The form was larger than 64 KiB. Use `tillroll` at the terminal for this one.",
    429: "Wait a second and send it again.",
    503: (
        "The API, Redis or Postgres did not answer in time. What you asked for may or may not have happened; the audit "
        "trail tells. Sending it again is safe: a dead letter is requeued once, a replay goes on where it was."
    ),
}


def advice(fault: ApiError) -> str:
    """What to do about a refusal."""
    return _ADVICE.get(fault.status, "Go back and try again; if it stays, look into the logs of the services.")


def count(number: float | None) -> str:
    """`12 345`, or `unknown`."""
    return UNKNOWN if number is None else f"{number:,.0f}".replace(",", "\u202f")


def rate(number: float | None) -> str:
    """Something a second."""
    return UNKNOWN if number is None else f"{number:,.1f}".replace(",", "\u202f")


def total(numbers: Mapping[str, float] | None) -> float | None:
    """Of all kinds; unknown stays unknown."""
    return None if numbers is None else sum(numbers.values())


def seconds(number: float | None) -> str:
    """A duration, as exact as anybody reads it."""
    if number is None:
        return UNKNOWN
    if number < 60:
        return f"{number:.1f}".removesuffix(".0") + " s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} days"


def trend(number: float | None) -> str:
    """Which way the lag goes."""
    if number is None:
        return "trend unknown"
    if abs(number) < 0.05:
        return "steady"
    return f"{'growing' if number > 0 else 'falling'} by {abs(number):.1f} a second"


def moment(text: str | None) -> str:
    """An ISO time as `2026-11-22 17:39:04` in UTC."""
    if not text:
        return ""
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def entry_moment(entry_id: str) -> str:
    """When an entry was written, which its id tells; '' for an id of another clock."""
    try:
        return moment(datetime.fromtimestamp(int(entry_id.partition("-")[0]) / 1000, UTC).isoformat())
    except (ValueError, OverflowError, OSError):
        return ""


def plain(value: Any) -> str:
    """A field of an entry as text; what is no text is told in base64."""
    return f"base64:{value['base64']}" if isinstance(value, dict) else str(value)


def pretty(text: str) -> str | None:
    """JSON with line breaks; None when it is none."""
    try:
        return json.dumps(json.loads(text), indent=2, ensure_ascii=False)
    except (ValueError, RecursionError):
        return None


def told(value: Any) -> str:
    """A JSON object in one line, for tables: `reason: undecodable, state: buried`."""
    if isinstance(value, dict):
        return ", ".join(f"{name}: {told(part)}" for name, part in value.items())
    if isinstance(value, list):
        return f"[{', '.join(told(part) for part in value)}]"
    return str(value)


def detail(text: str) -> str:
    """What is wrong with an entry, without the names of our own types before it."""
    first, _, rest = text.partition("\n")
    lines = rest if " validation error" in first and rest else text
    return " ".join(_FOR_DEVELOPERS.sub("", lines).split())


def sentence(value: str) -> str:
    """`already_there` as `already there`."""
    return value.replace("_", " ")


def clock(at: float) -> str:
    """Seconds since 1970 as a time of day in UTC."""
    return datetime.fromtimestamp(at, UTC).strftime("%H:%M:%S")


def by_name(fields: list[list[Any]]) -> dict[str, Any]:
    """Fields by name where the name is text; of equal names the last counts, as for the consumer."""
    return {name: value for name, value in fields if isinstance(name, str)}


def order_of(fields: Mapping[str, Any]) -> str:
    """The order that an entry is about: the one its event names, else the event itself."""
    try:
        event = json.loads(plain(fields.get("payload", "")))
    except (ValueError, RecursionError):
        event = None
    named = event.get("order_id") if isinstance(event, dict) else None
    return str(named or plain(fields.get("event_id", "")))


def gist(fields: Mapping[str, Any]) -> str:
    """What an entry says, in a line; its payload as it came where no event can be read in it."""
    payload = plain(fields.get("payload", ""))
    try:
        event = json.loads(payload)
        parts = [str(event["type"]), str(event["user_id"])]
        if "lines" in event:
            parts += [
                ", ".join(f"{line['title']} × {line['quantity']}" for line in event["lines"]),
                str(event["total"]),
            ]
        parts += [str(event[name]) for name in ("status", "order_id") if name in event]
    except (ValueError, RecursionError, KeyError, TypeError):
        return payload
    return " · ".join(parts)


def without(filters: Mapping[str, str], *names: str) -> dict[str, str]:
    """The filters but those of `names`."""
    return {name: value for name, value in filters.items() if name not in names}
