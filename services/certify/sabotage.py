"""The product broken on purpose, one promise at a time: each entry edits a copy of the source, never the source.

What does not turn red with one of these in place proves nothing. tests/sabotage names the test that kills each.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from shared.errors import TillrollError


class CannotSabotage(TillrollError):
    """The name is unknown, or the source no longer has what the edit replaces."""


@dataclass(frozen=True, slots=True)
class Edit:
    """Exactly one place in `file`: `old` becomes `new`."""

    file: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Mutation:
    """A promise that is broken, and how. `is_seen_by_certify`: the short certify run must find it, too."""

    name: str
    edits: Sequence[Edit]
    is_seen_by_certify: bool = True


MUTATIONS: tuple[Mutation, ...] = ()


def find_mutation(name: str) -> Mutation:
    """Raises CannotSabotage for an unknown name."""
    for mutation in MUTATIONS:
        if mutation.name == name:
            return mutation
    raise CannotSabotage(f"There is no sabotage {name!r}; there are: {', '.join(m.name for m in MUTATIONS)}.")


def sabotage(tree: Path, name: str) -> None:
    """Applies the mutation to the copy in `tree`; raises CannotSabotage when an edit does not fit exactly once."""
    for edit in find_mutation(name).edits:
        path = tree / edit.file
        text = path.read_text()
        if text.count(edit.old) != 1:
            raise CannotSabotage(f"{name}: {edit.file} has {text.count(edit.old)} times {edit.old!r}, must be once.")
        path.write_text(text.replace(edit.old, edit.new))
