"""What Locust is given and what it leaves: the plan of checkouts, the answers to each, the figures."""

import json
import os
from itertools import cycle
from pathlib import Path
from typing import Any


class Journal:
    """The folder that run.py made. One process only: the next checkout is taken from a list in memory."""

    def __init__(self, folder: Path) -> None:
        plan = json.loads((folder / "plan.json").read_text())
        self.duplicates: int = plan["duplicates"]
        self.operator_token: str = plan["operator_token"]
        self._checkouts: list[dict[str, Any]] = plan["checkouts"]
        self._products = cycle(plan["products"])
        self._folder = folder
        self._next = 0
        self._answered = 0
        self._is_closed = False
        self._answers = (folder / "answers.jsonl").open("a", buffering=1)

    def close_shop(self) -> None:
        """From now on there is nothing left to buy."""
        self._is_closed = True

    def next_checkout(self) -> dict[str, Any] | None:
        """A checkout that nobody began; None = there is none left. It is noted as begun at once."""
        if self._is_closed or self._next == len(self._checkouts):
            return None
        checkout = self._checkouts[self._next]
        self._next += 1
        self._say({"begun": checkout["number"]})
        return checkout

    @property
    def are_all_answered(self) -> bool:
        """Whether nobody waits for an answer."""
        return self._answered == len(self._checkouts)

    def write(self, checkout: dict[str, Any], answers: list[dict[str, Any]]) -> None:
        """The final answers to every submission of `checkout`."""
        self._answered += 1
        self._say({"number": checkout["number"], "answers": answers})

    def write_replay(self, run: dict[str, Any]) -> None:
        """A replay that is finished."""
        self._say({"replay": run})

    def write_figures(self, figures: dict[str, Any]) -> None:
        """Replaces the figures."""
        (self._folder / "figures.json").write_text(json.dumps(figures, indent=1))

    def a_product(self) -> str:
        """The next product's id."""
        return str(next(self._products))

    def some_items(self) -> list[dict[str, Any]]:
        """One unit of the next product."""
        return [{"id": self.a_product(), "quantity": 1}]

    def _say(self, line: dict[str, Any]) -> None:
        self._answers.write(json.dumps(line) + "\n")


JOURNAL = Journal(Path(os.environ["LOAD_FOLDER"]))
