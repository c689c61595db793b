"""Messages that wait for several operations: answered once, by the last of them or by the clock."""

from __future__ import annotations

import pytest

from catalog.waiting import Deadlines, Message
from tests.support.scheduler import Scheduler, SimClock, SimEvent


class Answers:
    """Messages, and the order in which they were answered."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def message(self, name: str, operations: int = 1) -> Message:
        message = Message(lambda: self.told.append(name))
        for _ in range(operations):
            message.wait_for_one()
        message.close()  # it has been taken in
        return message


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest.fixture
def scheduler() -> Scheduler:
    return Scheduler(1)


@pytest.fixture
def deadlines(scheduler: Scheduler) -> Deadlines:
    """Deadlines whose task is running."""
    made = Deadlines(SimClock(scheduler), SimEvent(scheduler))
    scheduler.spawn("deadlines", "node", made.run)
    return made


def run_until(scheduler: Scheduler, at: float) -> None:
    scheduler.at(at, lambda: None)
    scheduler.run(lambda: scheduler.now >= at, 100)


def test_the_last_operation_answers(answers: Answers) -> None:
    """Not the first."""
    message = answers.message("m", operations=3)
    for left in (2, 1, 0):
        assert answers.told == []
        message.close()
        assert message.answered == (left == 0)
    assert answers.told == ["m"]


def test_what_is_decided_while_a_message_is_taken_in_does_not_answer_it() -> None:
    """The operations after it have not been looked at."""
    told: list[str] = []
    message = Message(lambda: told.append("m"))
    message.wait_for_one()
    message.close()
    assert told == []
    message.close()
    assert told == ["m"]


def test_a_message_is_answered_once(answers: Answers) -> None:
    """By the clock or by its last operation, whichever comes first."""
    message = answers.message("m")
    message.answer()
    message.close()
    message.answer()
    assert answers.told == ["m"]


def test_each_is_answered_in_time(
    answers: Answers, deadlines: Deadlines, scheduler: Scheduler
) -> None:
    """Also one that comes later and waits for less long; what has its answer gets no other."""
    deadlines.add(2.0, answers.message("slow"))
    deadlines.add(3.0, answered := answers.message("answered"))
    run_until(scheduler, 0.5)
    deadlines.add(1.0, answers.message("fast"))
    answered.close()
    assert answers.told == ["answered"]
    for at, told in [(0.9, []), (1.1, ["fast"]), (1.9, ["fast"]), (2.1, ["fast", "slow"])]:
        run_until(scheduler, at)
        assert answers.told == ["answered", *told]
    run_until(scheduler, 4.0)
    assert answers.told == ["answered", "fast", "slow"]


def test_one_that_is_first_again_after_all_were_answered_is_answered_in_time(
    answers: Answers, deadlines: Deadlines, scheduler: Scheduler
) -> None:
    """The task sleeps for ever when nobody waits, until somebody does."""
    deadlines.add(1.0, answers.message("first"))
    run_until(scheduler, 5.0)
    deadlines.add(6.0, answers.message("second"))
    run_until(scheduler, 6.1)
    assert answers.told == ["first", "second"]


def test_the_task_wakes_once_for_many_that_were_answered(
    answers: Answers, scheduler: Scheduler
) -> None:
    """Else each purchase would cost a wake-up a second after it was sold."""
    looks: list[float] = []

    class Clock(SimClock):
        def now(self) -> float:
            looks.append(scheduler.now)
            return super().now()

    deadlines = Deadlines(Clock(scheduler), SimEvent(scheduler))
    scheduler.spawn("deadlines", "node", deadlines.run)
    for number in range(100):
        run_until(scheduler, number / 100)
        deadlines.add(scheduler.now + 1.0, message := answers.message(f"{number}"))
        message.close()
    run_until(scheduler, 10)
    assert len(answers.told) == 100
    assert len(looks) <= 2, looks


def test_the_task_ends_when_it_is_stopped(scheduler: Scheduler) -> None:
    """Though it sleeps."""
    deadlines = Deadlines(SimClock(scheduler), SimEvent(scheduler))
    job = scheduler.spawn("deadlines", "node", deadlines.run)
    run_until(scheduler, 1.0)
    assert not job.done
    deadlines.stop()
    scheduler.run(lambda: job.done, 1.0)
