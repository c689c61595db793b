"""Takes operations in at a leader: what is decided is answered, what is new queues for the writer,
and whoever asked is told when it is decided or when its time is over.

Law: an operation refused here was never done. One in the queue or in an adopted entry is not new:
it waits, and what is said of it in the end is its outcome, or that nobody knows yet.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial

from catalog.model import Operation, Outcome
from catalog.node import Node
from catalog.queue import Queue, mismatch, unknown
from catalog.waiting import Deadlines, Message
from common.errors import Problem
from common.openspan import NOT_TRACED, AnySpan
from common.tasks import Tasks
from common.tracer import Tracer

log = logging.getLogger("bazar")

Told = Outcome | Problem
Result = Callable[[], Told]  # or raises the problem

ADOPTED_LOOK_S = 0.05


class Admission:
    """The way to the one writer of a node."""

    def __init__(self, node: Node, tasks: Tasks, tracer: Tracer) -> None:
        self._node = node
        self._tasks = tasks
        self._tracer = tracer
        self.queue = Queue()
        self.arrived = tasks.event()
        self.deadlines = Deadlines(node.clock, tasks.event())
        self.closed = False
        self._stuck = False  # the second does not answer for an entry that was sent

    def submit(
        self, operations: Sequence[Operation], until: float, attempt: str = ""
    ) -> list[Told]:
        """Have operations done, in one batch if there is room, and wait for each outcome, or for
        the problem that says what is known. `attempt` names the message that they came in.
        """
        results: list[Result] = []
        done = self._tasks.event()
        self._take(operations, until, attempt, Message(done.set), results)
        done.wait(max(0.0, until - self._node.clock.now()))
        return list(map(_told, results))

    def begin(
        self, operations: Sequence[Operation], until: float, attempt: str,
        done: Callable[[list[Told]], None],
    ) -> None:  # fmt: skip
        """Have operations done as `submit` does, without waiting; `done` gets what it returns, from
        whatever thread.
        """
        results: list[Result] = []

        def answer() -> None:
            try:
                done(list(map(_told, results)))
            except Exception:  # of one answer: the writer, if it is giving it, has others to give
                log.exception("a message was not answered")

        message = Message(answer)
        self._take(operations, until, attempt, message, results)
        self.deadlines.add(until, message)

    def _take(
        self, operations: Sequence[Operation], until: float, attempt: str, message: Message,
        results: list[Result],
    ) -> None:  # fmt: skip
        """Have operations done, and `message` answered when all are decided. Put into `results`
        what tells the outcome of each, or raises what is known, whenever it is asked.
        """
        keys = [operation.key for operation in operations]
        takes = self._node.takes_writes
        decided = self._node.outcomes(keys) if takes else [None] * len(keys)
        waits = self._waits(len(operations))
        for operation, found, wait in zip(operations, decided, waits, strict=True):
            message.wait_for_one()
            try:
                results.append(self._join(operation, found, until, attempt, message.close, wait))
            except Problem as problem:
                results.append(partial(_refuse, problem))
                message.close()
        self.arrived.set()
        message.close()

    def _join(
        self, operation: Operation, found: Outcome | None, until: float, attempt: str,
        settled: Callable[[], None], wait: AnySpan,
    ) -> Result:  # fmt: skip
        """Take an operation into the queue unless it is decided; one in an adopted entry is not
        new. `settled()` is called, unless this raises, when there is nothing more to wait for.
        """
        if not self._node.takes_writes:
            self.queue.remember(operation.key, attempt)
            why = f"{self._node.name} is {self._node.status}"
            raise Problem("not-leader", why, leader=self._node.leader)
        if found:
            settled()
            return lambda: _same(operation, found)
        if self._is_adopted(operation):
            self._tasks.spawn("adopted", lambda: self._wait_for_adopted(operation, until, settled))
            return lambda: self._adopted_outcome(operation)
        ticket, first = self.queue.join(operation, self._refusal, settled, attempt, wait)
        return lambda: self.queue.leave(ticket, first)

    def _waits(self, count: int) -> list[AnySpan]:
        """Return the spans of operations that wait from now on, by their places."""
        traced = self._tracer.contexts
        if not traced:
            return [NOT_TRACED] * count
        own = ({0: traced[place]} if place in traced else {} for place in range(count))
        return [self._tracer.span("wait in the queue", parents) for parents in own]

    def _is_adopted(self, operation: Operation) -> bool:
        adopted = self._node.adopted
        return adopted is not None and operation.key in adopted.operations

    def _wait_for_adopted(
        self, operation: Operation, until: float, settled: Callable[[], None]
    ) -> None:
        """Wait while an operation is in the adopted entry, which is so until it has committed."""
        while self._is_adopted(operation) and self._node.clock.now() < until:
            self._tasks.pause(ADOPTED_LOOK_S)
        settled()

    def _adopted_outcome(self, operation: Operation) -> Outcome:
        """Return what became of the adopted entry; when it is gone without an outcome nobody can
        say more.
        """
        (found,) = self._node.outcomes([operation.key])
        if found is None:
            raise unknown(operation.key)
        return _same(operation, found)

    def set_stuck(self, stuck: bool) -> None:
        """Refuse what is new, and what waits, while an entry that was sent is not answered."""
        self._stuck = stuck
        if stuck:
            why = f"{self._node.peer} does not answer; nothing was done"
            self.queue.refuse_waiting(lambda: Problem("writes-unavailable", why))

    def close(self) -> None:
        """Take no more operations; wake whoever waits here."""
        self.closed = True
        self.arrived.set()
        self.deadlines.stop()

    def _refusal(self) -> Problem | None:
        """Return why a new operation cannot be done now."""
        node = self._node
        if not node.takes_writes or self.closed:
            return Problem("writes-unavailable", f"{node.name} does not lead now")
        if not node.peer_following or self._stuck:
            return Problem(
                "writes-unavailable", f"{node.peer} cannot keep a second copy now; nothing was done"
            )
        return None


def _same(operation: Operation, found: Outcome) -> Outcome:
    """Return the outcome of a key, unless another operation had it."""
    if found.fingerprint != operation.fingerprint:
        raise mismatch(operation.key)
    return found


def _told(result: Result) -> Told:
    try:
        return result()
    except Problem as problem:
        return problem


def _refuse(problem: Problem) -> Told:
    return problem
