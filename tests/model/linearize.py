"""Looks for one order of overlapping calls in which the model, making one after the other, answers what was seen."""

from collections.abc import Sequence
from dataclasses import dataclass

from tests.model.calls import Answer, Call
from tests.model.judge import Disagreement, Judge


@dataclass
class Op:
    """One call of one client. `began` and `ended` number its first and its last trip to Redis.

    Lost: its client vanished after `ended`. Nobody was told, it may have happened or not.
    """

    client: str
    call: Call
    answer: Answer = None
    began: int = 0
    ended: int = 0
    is_lost: bool = True


def linearize(judge: Judge, ops: Sequence[Op]) -> Judge | None:
    """The judge after such an order; None = there is none. A call takes effect between its first and last trip."""
    if not ops:
        return judge
    first_end = min(op.ended for op in ops)
    for op in sorted(ops, key=lambda op: op.ended):
        if op.began > first_end:
            continue  # another one had ended before this one began
        rest = [other for other in ops if other is not op]
        after = judge.copy()
        try:
            after.hear(op.call, op.answer, is_lost=op.is_lost)
        except Disagreement:
            pass
        else:
            if (found := linearize(after, rest)) is not None:
                return found
        if op.is_lost and (found := linearize(judge, rest)) is not None:
            return found
    return None
