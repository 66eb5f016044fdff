"""What was asked and answered, and whether (purchase -> order id) was a write-once register over all gateways. Pure."""

from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

from services.certify.plan import Move, Purchase

FORGOTTEN = "names forgotten"
"""Phase of submissions that were sent when Redis had lost all names and nobody had reloaded them."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One broken promise: which, and where."""

    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one attempt to submit a purchase. `status` 0 = none came. Times are monotonic seconds."""

    number: int
    door: str
    sent: float
    answered: float
    status: int
    order: Mapping[str, Any] | None = None
    error: str | None = None
    phase: str = ""

    @property
    def order_id(self) -> str | None:
        """The id that the client was given with a 2xx."""
        return str(self.order["id"]) if self.status in (200, 201) and self.order is not None else None


@dataclass(frozen=True, slots=True)
class MoveAnswer:
    """The answer to one attempt to move an order; `status` 0 = none came."""

    number: int
    order_id: str
    move: Move
    door: str
    status: int
    order: Mapping[str, Any] | None = None


@dataclass
class History:
    """Every purchase that was submitted and every answer."""

    purchases: dict[int, Purchase] = field(default_factory=dict)
    answers: list[Answer] = field(default_factory=list)
    moves: list[MoveAnswer] = field(default_factory=list)

    def given(self) -> dict[int, list[Answer]]:
        """The 2xx answers of each purchase that got one, in the order of their arrival."""
        found: dict[int, list[Answer]] = defaultdict(list)
        for answer in self.answers:
            if answer.order_id is not None:
                found[answer.number].append(answer)
        return found


def judge_history(history: History, lost: Collection[str]) -> list[Finding]:
    """Holds the answers alone against the contract. `lost`: order ids that a loss of Redis' disk has taken, unrecorded:
    a purchase of such an id may be bought anew, once more."""
    findings = []
    bearers: dict[str, int] = {}
    for number, answers in history.given().items():
        purchase = history.purchases[number]
        ids = list(dict.fromkeys(answer.order_id or "" for answer in answers))
        if len([order_id for order_id in ids if order_id not in lost]) > 1:
            findings.append(Finding("one id a key", f"{_name(purchase)} was given {', '.join(ids)}"))
        for order_id in ids:
            other = bearers.setdefault(order_id, number)
            if other != number:
                told = f"{order_id} was given to {_name(history.purchases[other])} and to {_name(purchase)}"
                findings.append(Finding("one key an id", told))
        findings += _judge_201(purchase, answers, lost)
        findings += [found for answer in answers if (found := _judge_order(purchase, answer)) is not None]
    findings += _judge_refusals(history)
    return findings


def _judge_201(purchase: Purchase, answers: list[Answer], lost: Collection[str]) -> list[Finding]:
    """201 at most once, and never begun after an answer that named the order."""
    counted = [answer for answer in answers if answer.order_id not in lost and answer.phase != FORGOTTEN]
    fresh = [answer for answer in counted if answer.status == 201]
    told = []
    if len(fresh) > 1:
        told.append(Finding("201 once", f"{_name(purchase)} got {len(fresh)} times 201"))
    first_known = min((answer.answered for answer in counted), default=0.0)
    if any(answer.sent > first_known for answer in fresh):
        told.append(Finding("write once", f"{_name(purchase)} got 201 after its order was known"))
    return told


def _judge_order(purchase: Purchase, answer: Answer) -> Finding | None:
    assert answer.order is not None
    expected = {"userId": purchase.user, "items": purchase.lines}
    found = {name: answer.order.get(name) for name in expected}
    if found == expected and Decimal(str(answer.order.get("total"))) == purchase.total:
        return None
    return Finding("answers are the purchase", f"{_name(purchase)} was answered with {dict(answer.order)}")


def _judge_refusals(history: History) -> list[Finding]:
    """Sound submissions are accepted, known, or of unknown outcome; nothing else."""
    findings = []
    for answer in history.answers:
        if answer.status not in (0, 200, 201, 503):
            told = f"{_name(history.purchases[answer.number])} got {answer.status} {answer.error} from {answer.door}"
            findings.append(Finding("sound requests are not refused", told))
    for move in history.moves:
        if move.status not in (0, 200, 404, 409, 503) or (move.status == 409 and move.move is Move.PAID):
            told = f"{move.move} of {move.order_id} got {move.status} from {move.door}"
            findings.append(Finding("sound requests are not refused", told))
    return findings


def _name(purchase: Purchase) -> str:
    return f"purchase {purchase.number} of {purchase.user} (protected by {purchase.protection})"
