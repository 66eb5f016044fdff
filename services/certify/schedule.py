"""Which fault strikes when: decided by the seed, printed before the run, the same for the same arguments. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from services.certify.faults import AT_THE_END, FAULTS
from shared.errors import TillrollError

SHORTEST_SLOT = 4.0  # seconds a fault needs, with its healing, in the shortest run
_EVERY = 22.0  # seconds from fault to fault where the run is long enough
_SHARE = 0.5  # of a fault's slot, at most, between blow and healing, where the slots are shorter than that


class UnknownFault(TillrollError):
    """A name that the catalogue does not have."""


@dataclass(frozen=True, slots=True)
class Planned:
    """`name` strikes `at` seconds after the load began (None = when it has ended), for `hold` seconds."""

    name: str
    at: float | None
    hold: float


def plan_faults(seed: int, seconds: float, wanted: str) -> list[Planned]:
    """The schedule. `wanted`: `all`, `none`, a number, or names separated by commas; raises UnknownFault."""
    chance = Random(f"{seed}/faults")  # noqa: S311
    names = _choose(chance, seconds, wanted)
    during = [name for name in names if name not in AT_THE_END]
    slot = seconds / max(1, len(during))
    planned = []
    for number, name in enumerate(during):
        hold = FAULTS[name].hold if slot >= _EVERY else min(FAULTS[name].hold, slot * _SHARE)
        planned.append(Planned(name, round((number + chance.uniform(0.1, 0.3)) * slot, 1), round(hold, 1)))
    return [*planned, *(Planned(name, None, 0.0) for name in names if name in AT_THE_END)]


def _choose(chance: Random, seconds: float, wanted: str) -> list[str]:
    if wanted == "none":
        return []
    defaults = [name for name, fault in FAULTS.items() if fault.is_default]
    if wanted == "all" or wanted.isdigit():
        room = max(int(seconds / _EVERY), min(len(defaults), int(seconds / SHORTEST_SLOT)))
        return _draw(chance, defaults, room if wanted == "all" else int(wanted))
    names: Sequence[str] = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in FAULTS:
            raise UnknownFault(f"There is no fault {name!r}; there are: all, none, a number, {', '.join(FAULTS)}.")
    return list(names)


def _draw(chance: Random, names: Sequence[str], count: int) -> list[str]:
    """Each once in a seeded order before any comes twice; the one that must come last does, and once."""
    drawn: list[str] = []
    while len(drawn) < count:
        drawn += chance.sample(names, len(names))
    drawn = drawn[:count]
    closing = [name for name in names if name in AT_THE_END]
    return [name for name in drawn if name not in AT_THE_END] + closing
