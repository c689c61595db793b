"""The operations waiting for the writer: who shares a ticket, who may still withdraw, who is
refused.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from catalog.model import Operation, Outcome
from catalog.queue import (
    BATCH_OPERATIONS_MAX,
    BATCH_WEIGHT_MAX,
    REFUSED_MAX,
    Queue,
    Ticket,
)
from common.errors import Problem
from tests.support.catalog_fakes import outcome_of


@pytest.fixture
def queue() -> Queue:
    return Queue()


def operation(key: str = "k", **body: object) -> Operation:
    return Operation(key, "restock", body)


def no_refusal() -> None:
    """Refuse nothing."""


def nobody() -> None:
    """Wait for no result."""


def join(queue: Queue, wanted: Operation | None = None) -> tuple[Ticket, bool]:
    return queue.join(wanted or operation(), no_refusal, nobody)


def code_of(act: Callable[[], object]) -> str:
    with pytest.raises(Problem) as caught:
        act()
    return caught.value.code


DONE = outcome_of({"id": 1})
FULL = Problem("writes-unavailable", "the disk is full")


def test_the_same_key_joins_the_ticket_that_is_there(queue: Queue) -> None:
    """A retry waits with the first request instead of happening twice."""
    ticket, first = join(queue, operation(a=1, b=2))
    again, second = join(queue, operation(b=2, a=1))
    assert again is ticket
    assert (first, second, len(queue)) == (True, False, 1)


@pytest.mark.parametrize("taken", [False, True])
def test_the_same_key_joins_until_it_is_settled(queue: Queue, taken: bool) -> None:
    """Queued or being written makes no difference."""
    ticket, _ = join(queue)
    if taken:
        queue.take()
    assert join(queue)[0] is ticket
    queue.settle(ticket, DONE)
    assert join(queue)[0] is not ticket


def test_another_body_under_the_same_key_is_a_mismatch(queue: Queue) -> None:
    """It does not wait, and the first is none the worse for it."""
    ticket, first = join(queue, operation(a=1))
    assert code_of(lambda: join(queue, operation(a=2))) == "idempotency-mismatch"
    queue.settle(ticket, DONE)
    assert queue.leave(ticket, first) == DONE


def test_another_kind_under_the_same_key_is_a_mismatch(queue: Queue) -> None:
    """One name space for all writes."""
    join(queue, Operation("k", "sell", {}))
    assert code_of(lambda: join(queue, Operation("k", "edit", {}))) == "idempotency-mismatch"


def test_a_new_key_is_refused_while_nothing_can_be_written(queue: Queue) -> None:
    """At once, and nothing of it stays."""
    assert code_of(lambda: queue.join(operation(), lambda: FULL, nobody)) == "writes-unavailable"
    assert (len(queue), queue.take()) == (0, [])


def test_a_key_on_its_way_is_not_refused(queue: Queue) -> None:
    """It is not new: it waits."""
    ticket, _ = join(queue)
    assert queue.join(operation(), lambda: FULL, nobody)[0] is ticket


def test_everybody_gets_the_outcome(queue: Queue) -> None:
    """Whoever sent the key."""
    told: list[str] = []
    ticket, first = queue.join(operation(), no_refusal, lambda: told.append("first"))
    _, second = queue.join(operation(), no_refusal, lambda: told.append("second"))
    queue.take()
    assert told == []
    queue.settle(ticket, DONE)
    assert told == ["first", "second"]
    assert (queue.leave(ticket, first), queue.leave(ticket, second)) == (DONE, DONE)


def test_everybody_gets_the_refusal(queue: Queue) -> None:
    """With its own code."""
    ticket, first = join(queue)
    queue.settle(ticket, FULL)
    assert code_of(lambda: queue.leave(ticket, first)) == "writes-unavailable"


def test_the_last_waiter_withdraws_what_is_still_queued(queue: Queue) -> None:
    """It is refused, so it must never be done."""
    ticket, first = join(queue)
    assert code_of(lambda: queue.leave(ticket, first)) == "writes-unavailable"
    assert queue.take() == []
    assert join(queue)[0] is not ticket


def test_a_waiter_who_is_not_the_last_withdraws_nothing(queue: Queue) -> None:
    """Somebody still wants it; the others can only be told that it is not known, or running."""
    (ticket, first), (_, second), (_, third) = join(queue), join(queue), join(queue)
    assert code_of(lambda: queue.leave(ticket, first)) == "outcome-unknown"
    assert code_of(lambda: queue.leave(ticket, second)) == "in-progress"
    assert queue.take() == [ticket]
    queue.settle(ticket, DONE)
    assert queue.leave(ticket, third) == DONE


@pytest.mark.parametrize(("first", "code"), [(True, "outcome-unknown"), (False, "in-progress")])
def test_what_was_taken_is_never_withdrawn(queue: Queue, first: bool, code: str) -> None:
    """Its outcome can only be known or unknown."""
    ticket, _ = join(queue)
    queue.take()
    assert code_of(lambda: queue.leave(ticket, first)) == code
    again, is_first = join(queue)
    assert (again, is_first) == (ticket, False)


def test_a_withdrawn_key_can_be_sent_again(queue: Queue) -> None:
    """As if it had never been there, even with another body."""
    ticket, first = join(queue, operation(a=1))
    with pytest.raises(Problem):
        queue.leave(ticket, first)
    again, is_first = join(queue, operation(a=2))
    assert is_first
    assert queue.take() == [again]


def test_all_that_waits_can_be_refused(queue: Queue) -> None:
    """Each is told; nothing is left, and what was taken goes on."""
    taken, _ = join(queue, operation("taken"))
    queue.take()
    tickets = [join(queue, operation(key)) for key in "abc"]
    queue.refuse_waiting(lambda: FULL)
    assert (len(queue), queue.take()) == (0, [])
    assert [code_of(lambda t=t, f=f: queue.leave(t, f)) for t, f in tickets] == [FULL.code] * 3  # type: ignore[misc]
    assert taken.result is None
    assert join(queue, operation("taken"))[0] is taken


def test_who_gives_up_while_all_that_waits_is_refused_is_told_so(queue: Queue) -> None:
    """Its deadline comes in the very moment: the answer is honest all the same."""
    first, second = join(queue, operation("first")), join(queue, operation("second"))
    codes: list[str] = []
    act_when_raised(first[0], lambda: codes.append(code_of(lambda: queue.leave(*second))))
    queue.refuse_waiting(lambda: FULL)
    assert codes == [FULL.code]


def test_who_joins_while_all_that_waits_is_refused_is_not_lost(queue: Queue) -> None:
    """A key sent again in that moment is refused with the others or queued: never neither."""
    first, _ = join(queue, operation("first")), join(queue, operation("second"))
    joined: list[Ticket] = []
    act_when_raised(first[0], lambda: joined.append(join(queue, operation("second"))[0]))
    queue.refuse_waiting(lambda: FULL)
    assert joined[0].result is FULL or queue.take() == joined


def act_when_raised(ticket: Ticket, act: Callable[[], None]) -> None:
    """Do something in the moment in which a ticket's waiters are told."""
    ticket.settled.append(act)


def test_operations_are_taken_in_the_order_they_came(queue: Queue) -> None:
    """First come, first served."""
    keys = [f"k{number}" for number in range(5)]
    for key in keys:
        join(queue, operation(key))
    assert [ticket.operation.key for ticket in queue.take()] == keys
    assert len(queue) == 0


def test_a_batch_has_so_many_operations_at_most(queue: Queue) -> None:
    """The rest is in the next one."""
    for number in range(BATCH_OPERATIONS_MAX + 3):
        join(queue, operation(f"k{number}"))
    assert [len(queue.take()) for _ in range(3)] == [BATCH_OPERATIONS_MAX, 3, 0]


def importing(key: str, rows: int) -> Operation:
    return Operation(key, "import", {"rows": [{}] * rows})


def test_a_batch_weighs_so_much_at_most(queue: Queue) -> None:
    """An import brings hundreds of rows at once."""
    for number in range(3):
        join(queue, importing(f"k{number}", BATCH_WEIGHT_MAX // 2))
    assert [len(queue.take()) for _ in range(2)] == [2, 1]


def test_one_heavy_operation_is_a_batch_of_its_own(queue: Queue) -> None:
    """Or it would never be done."""
    join(queue, operation("light"))
    join(queue, importing("heavy", BATCH_WEIGHT_MAX + 1))
    join(queue, operation("light too"))
    assert [[ticket.operation.key for ticket in queue.take()] for _ in range(3)] == [
        ["light"], ["heavy"], ["light too"],
    ]  # fmt: skip


def test_an_import_of_nothing_weighs_something(queue: Queue) -> None:
    """Each operation is a row of its own."""
    ticket, _ = join(queue, importing("k", 0))
    assert ticket.weight == 1


def test_the_outcome_wins_over_the_deadline(queue: Queue) -> None:
    """Settled in the moment of giving up: it is known."""
    ticket, first = join(queue)
    queue.take()
    queue.settle(ticket, DONE)
    outcome = queue.leave(ticket, first)
    assert isinstance(outcome, Outcome)


@pytest.mark.parametrize("how", ["refused at once", "while it waits", "withdrawn", "not built"])
def test_what_was_refused_to_an_attempt_stays_refused_to_it(queue: Queue, how: str) -> None:
    """Another attempt with the same key is heard; one without a name cannot be told apart."""
    if how == "refused at once":
        assert code_of(lambda: queue.join(operation(), lambda: FULL, nobody, "a")) == FULL.code
    else:
        ticket, first = queue.join(operation(), no_refusal, nobody, "a")
        if how == "while it waits":
            queue.refuse_waiting(lambda: FULL)
        elif how == "withdrawn":
            assert code_of(lambda: queue.leave(ticket, first)) == "writes-unavailable"
        else:
            queue.take()
            queue.settle(ticket, FULL)
    assert code_of(lambda: queue.join(operation(), no_refusal, nobody, "a")) == "writes-unavailable"
    assert queue.join(operation("other"), no_refusal, nobody, "a")[1]
    assert queue.join(operation(), no_refusal, nobody, "b")[1]


def test_only_so_many_refusals_are_remembered(queue: Queue) -> None:
    """The oldest are forgotten: their messages have long arrived."""
    for number in range(REFUSED_MAX + 1):
        queue.remember("k", f"{number}")
    assert queue.join(operation(), no_refusal, nobody, "0")[1]
    assert code_of(lambda: queue.join(operation(), no_refusal, nobody, "1")) == "writes-unavailable"


def test_an_attempt_whose_outcome_is_unknown_is_not_refused(queue: Queue) -> None:
    """It may have happened: its key tells."""
    ticket, _ = queue.join(operation(), no_refusal, nobody, "a")
    queue.take()
    queue.settle(ticket, Problem("outcome-unknown", "ask again"))
    assert queue.join(operation(), no_refusal, nobody, "a")[1]
