"""Several who look at the same time are shown one answer."""

from __future__ import annotations

import threading

import pytest

from frontend.control.recent import Recent
from tests.support.frontend_fakes import FakeClock


def test_an_answer_is_shared_for_a_moment() -> None:
    """Then it is made again."""
    clock, made = FakeClock(), iter(range(9))
    recent = Recent(lambda: next(made), for_s=2.0, clock=clock, lock=threading.Lock())
    assert [recent.get(), recent.get()] == [0, 0]
    clock.advance(1.9)
    assert recent.get() == 0
    clock.advance(0.1)
    assert recent.get() == 1


def test_what_could_not_be_made_is_made_for_the_next_one() -> None:
    """A failure is nobody's answer but the first asker's."""
    answers = iter([ZeroDivisionError(), "well"])

    def make() -> str:
        found = next(answers)
        if isinstance(found, Exception):
            raise found
        return found

    recent = Recent(make, for_s=2.0, clock=FakeClock(), lock=threading.Lock())
    with pytest.raises(ZeroDivisionError):
        recent.get()
    assert recent.get() == "well"
