"""The list of mutations is complete, and each edit still meets the source that it was written for."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from services.certify.sabotage import MUTATIONS, CannotSabotage, Edit, sabotage
from services.certify.world import copy_source
from tests.certification import ROOT
from tests.sabotage.directed import DIRECTED

NAMES = [mutation.name for mutation in MUTATIONS]


@pytest.mark.parametrize("name", NAMES)
def test_each_edit_applies_to_the_source_and_leaves_python(name: str, tmp_path: Path) -> None:
    tree = copy_source(tmp_path)
    sabotage(tree, name)
    changed = [path for path in tree.rglob("*.*") if path.read_bytes() != (ROOT / path.relative_to(tree)).read_bytes()]
    assert changed
    for path in changed:
        if path.suffix == ".py":
            compile(path.read_text(), str(path), "exec")


def test_an_edit_that_fits_nowhere_is_no_sabotage(tmp_path: Path) -> None:
    tree = copy_source(tmp_path)
    for edit in _edits("no-claim"):
        (tree / edit.file).write_text("")
    with pytest.raises(CannotSabotage):
        sabotage(tree, "no-claim")


def _edits(name: str) -> Sequence[Edit]:
    return next(mutation.edits for mutation in MUTATIONS if mutation.name == name)


def test_each_mutation_names_its_directed_test_and_that_test_exists() -> None:
    assert set(DIRECTED) == set(NAMES)
    for test in DIRECTED.values():
        path, _, function = test.partition("::")
        assert f"def {function}" in (ROOT / path).read_text()


def test_the_short_certification_has_to_see_what_the_promise_is_about() -> None:
    seen = {mutation.name for mutation in MUTATIONS if mutation.is_seen_by_certify}
    assert seen >= {
        "ack-before-commit",
        "no-on-conflict",
        "group-at-the-end",
        "no-claim",
        "trim-by-maxlen",
        "random-event-id",
    }
