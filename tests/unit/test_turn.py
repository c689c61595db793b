"""Calls answered together at the end of a turn of the loop."""

from __future__ import annotations

from collections.abc import Sequence

from common.turn import Turn
from common.wsgi import Answer

OK = Answer(200, [], b"ok")


class Connection:
    """One that waits for a call; `breaks` when it is told."""

    def __init__(self, name: str, *, breaks: bool = False) -> None:
        self.waits = name
        self.told: list[Answer | None] = []
        self._breaks = breaks

    def tell(self, answer: Answer | None) -> None:
        if self._breaks:
            raise RuntimeError("gone")
        self.told.append(answer)


def test_each_gets_the_answer_to_its_own_call_once() -> None:
    """In the order in which they came; a second end has nobody left to answer."""
    asked: list[Sequence[str]] = []

    def answers(calls: Sequence[str]) -> list[Answer | None]:
        asked.append(calls)
        return [OK if call == "hit" else None for call in calls]

    turn = Turn(answers)
    one, two = Connection("hit"), Connection("miss")
    turn.askers.extend([one, two])
    turn.end()
    turn.end()
    assert asked == [["hit", "miss"]]
    assert (one.told, two.told) == ([OK], [None])


def test_one_that_breaks_takes_no_answer_from_the_others() -> None:
    """A connection that fails under its answer is its own trouble."""
    turn = Turn(lambda calls: [OK] * len(calls))
    before, broken, after = Connection("1"), Connection("2", breaks=True), Connection("3")
    turn.askers.extend([before, broken, after])
    turn.end()
    assert before.told == after.told == [OK]


def test_a_turn_that_cannot_be_answered_goes_the_ordinary_way() -> None:
    """Nobody is left waiting."""

    def answers(calls: Sequence[str]) -> list[Answer | None]:
        raise RuntimeError("unforeseen")

    turn = Turn(answers)
    waiting = Connection("hit")
    turn.askers.append(waiting)
    turn.end()
    assert waiting.told == [None]
