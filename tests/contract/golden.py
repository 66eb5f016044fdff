"""Compares an answer with a golden one, by value. A golden answer is written by hand, to the contract.

What differs from run to run is a placeholder: `<uuid:order>` is any UUID at its first place and the same one at every
later place, also in a request; `<date:..>`, `<generation:..>` and `<etag:..>` alike. `<user:anna>`, `<session:..>` and
`<key:..>` are ours, new for each run. `<text>`, `<day>` and `<number>` are the shop's own copy; a list that ends in
`"..."` has any number more of its last kind; a member `"name?"` may be absent.
"""

import hashlib
import hmac
import re
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from tests.contract.place import WEBHOOK_SECRET
from tests.contract.shopper import DATE, UUID_TEXT

HEADERS = ("ETag", "Event-Id", "Idempotent-Replayed", "Retry-After", "Tillroll-Partial", "Allow", "Set-Cookie")
"""What the contract says beside the body: an answer has exactly those that its golden answer has."""

_PLACEHOLDER = re.compile(r"<(\w+)(?::(\w+))?>")
_FOUND = {
    "uuid": UUID_TEXT,
    "date": DATE,
    "generation": re.compile(r"[0-9a-f]{16}"),
    "etag": re.compile(r'"[^"]+"'),
    "text": re.compile(r"[\s\S]+"),
    "day": re.compile(r"\d{4}-\d\d-\d\d"),
    "seconds": re.compile(r"[1-9]\d*"),
}


class Differs(AssertionError):
    """The answer is not the golden one; says where."""


class Names:
    """What the placeholders of one scenario stand for."""

    def __init__(self) -> None:
        self._known: dict[str, str] = {}

    def know(self, placeholder: str, value: str) -> None:
        """Fixes a placeholder before anything is sent."""
        self._known[placeholder] = value

    def fill(self, part: Any) -> Any:
        """`part` of a request with every placeholder replaced."""
        if isinstance(part, dict):
            return {self.fill(name): self.fill(value) for name, value in part.items()}
        if isinstance(part, list):
            return [self.fill(value) for value in part]
        return _PLACEHOLDER.sub(lambda match: self._value_of(match[0]), part) if isinstance(part, str) else part

    def compare(self, golden: Any, found: Any, where: str = "answer") -> None:
        """Raises Differs; binds the placeholders that are met for the first time."""
        if isinstance(golden, dict) and isinstance(found, dict):
            self._compare_members(golden, found, where)
        elif isinstance(golden, list) and isinstance(found, list):
            self._compare_items(golden, found, where)
        elif isinstance(golden, str) and _PLACEHOLDER.search(golden):
            self._match(golden, found, where)
        # 1 == True in Python, and 258 == 258.0 is meant to be equal
        elif isinstance(golden, bool) != isinstance(found, bool) or golden != found:
            raise Differs(f"{where}: {found!r} instead of {golden!r}")

    def _compare_members(self, golden: dict[str, Any], found: dict[str, Any], where: str) -> None:
        wanted = {name.removesuffix("?"): value for name, value in golden.items()}
        missing = {name for name in golden if not name.endswith("?")} - found.keys()
        if missing or found.keys() - wanted.keys():
            raise Differs(f"{where}: members {sorted(found)} instead of {sorted(golden)}")
        for name, value in found.items():
            self.compare(wanted[name], value, f"{where}.{name}")

    def _compare_items(self, golden: list[Any], found: list[Any], where: str) -> None:
        if golden[-1:] == ["..."]:
            golden = golden[:-1] + golden[-2:-1] * (len(found) - len(golden) + 1)
        if len(golden) != len(found):
            raise Differs(f"{where}: {len(found)} items instead of {len(golden)}: {found!r}")
        for number, (one, other) in enumerate(zip(golden, found, strict=True)):
            self.compare(one, other, f"{where}[{number}]")

    def _match(self, golden: str, found: Any, where: str) -> None:
        if golden == "<number>":
            is_fit = isinstance(found, int | float) and not isinstance(found, bool)
        else:
            is_fit = isinstance(found, str) and self._match_text(golden, found)
        if not is_fit:
            raise Differs(f"{where}: {found!r} is no {golden}")

    def _match_text(self, golden: str, found: str) -> bool:
        parts, pattern, end = [], "", 0
        for match in _PLACEHOLDER.finditer(golden):
            known = self._known.get(match[0])
            kind = re.escape(known) if known is not None else _FOUND[match[1]].pattern
            pattern += f"{re.escape(golden[end : match.start()])}({kind})"
            parts.append(match)
            end = match.end()
        fits = re.fullmatch(pattern + re.escape(golden[end:]), found)
        if fits is None:
            return False
        for number, match in enumerate(parts, start=1):
            if match[2] is not None:
                self._known[match[0]] = fits[number]
        return True

    def _value_of(self, placeholder: str) -> str:
        makers: dict[str, Callable[[], str]] = {
            "session": lambda: str(uuid4()),
            "key": lambda: f"key-{uuid4()}",
        }
        kind = placeholder[1:].partition(":")[0]
        if placeholder not in self._known and kind in makers:
            self._known[placeholder] = makers[kind]()
        return self._known[placeholder]


def cookie_of(text: str) -> str:
    """A Set-Cookie with its attributes in order. `Secure` depends on the gateway's address; another test has it."""
    value, *attributes = (part.strip() for part in text.split(";"))
    kept = sorted(attribute for attribute in attributes if attribute.lower() != "secure")
    return "; ".join([value, *kept])


def stripe_signature(body: bytes) -> str:
    """The header under which Stripe would have sent `body` now."""
    now = int(time.time())
    digest = hmac.new(WEBHOOK_SECRET.encode(), b"%d.%s" % (now, body), hashlib.sha256).hexdigest()
    return f"t={now},v1={digest}"
