"""A scenario: what its section of thresholds.toml says, its plan of checkouts, and what its figures miss."""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

from services.cli.demo_plan import Checkout, Protection, plan_checkouts
from shared.errors import TillrollError

THRESHOLDS = Path(__file__).with_name("thresholds.toml")
CLASSES = {
    "browse": ("Browse",),
    "cart": ("Cart",),
    "checkout-storm": ("CheckoutStorm",),
    "duplicate-storm": ("DuplicateStorm",),
    "flash-sale": ("FlashSale",),
    "replay": ("ReplayedShopper", "Replayer"),
}


class UnknownScenario(TillrollError):
    """There is no section of that name."""


@dataclass(frozen=True)
class Scenario:
    """`users` at once, begun at `spawn_rate` a second; `limits`: request -> measure -> most that it may be."""

    name: str
    users: int
    spawn_rate: int
    seconds: int
    checkouts: int = 0
    duplicates: int = 0
    limits: Mapping[str, Mapping[str, float]] = field(default_factory=dict)

    @property
    def classes(self) -> Sequence[str]:
        """Its users in locustfile.py."""
        return CLASSES[self.name]

    def plan(self, catalog: Sequence[Mapping[str, Any]]) -> list[Checkout]:
        """Checkouts that differ in user or items, so that every row can be told apart."""
        if self.name == "flash-sale":
            wanted = next(product for product in catalog if product["stock"] > 0)
            run, price = uuid4().hex[:8], Decimal(str(wanted["price"]))
            users = [f"flash-{run}-{number:05d}" for number in range(self.checkouts)]
            return [Checkout(user, Protection.CART, {wanted["id"]: 1}, price) for user in users]
        protection = Protection.KEY if self.duplicates else Protection.CART
        return [replace(checkout, protection=protection) for checkout in plan_checkouts(self.checkouts, catalog)]


def read_scenario(name: str, file: Path = THRESHOLDS, **changes: int | None) -> Scenario:
    """The scenario `name`, with what the command line changes of what it has; raises UnknownScenario."""
    sections = tomllib.loads(file.read_text())
    if name not in sections:
        raise UnknownScenario(f"There is no scenario {name}; there are {', '.join(sections)}.")
    changed = {key: value for key, value in changes.items() if value is not None and key in sections[name]}
    return Scenario(name, **{**sections[name], **changed})


def missed(scenario: Scenario, figures: Mapping[str, Mapping[str, float]]) -> list[str]:
    """A sentence for each threshold that was not kept; a request that never happened keeps none."""
    found = []
    for request, limits in scenario.limits.items():
        measured = figures.get(request)
        if measured is None or not measured["requests"]:
            found.append(f"{request}: was never sent")
            continue
        for measure, most in limits.items():
            if measured[measure] > most:
                found.append(f"{request}: {measure} {measured[measure]:g}, must be at most {most:g}")
    return found
