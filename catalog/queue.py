"""The operations waiting for the writer, and who waits for them.

Law: an operation withdrawn while it is queued was never done; once it is taken into a batch its
outcome can only be known or unknown, never refused. What was refused to an attempt stays refused to
it: its message may arrive once more, when everybody has been told that nothing will come of it.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from catalog.model import Operation, Outcome
from common.errors import Problem
from common.openspan import NOT_TRACED, AnySpan

BATCH_OPERATIONS_MAX = 64
REFUSED_MAX = 4096  # attempts remembered; a message is under way for seconds, not for longer
BATCH_WEIGHT_MAX = 512  # rows: an import brings hundreds at once


@dataclass
class Ticket:
    """One operation on its way, shared by everybody who sent its key."""

    operation: Operation
    fingerprint: str
    settled: list[Callable[[], None]] = field(default_factory=list)  # called when there is a result
    attempts: set[str] = field(default_factory=set)  # those that wait for it
    waits: list[AnySpan] = field(default_factory=list)  # of those among them that are traced
    taken: bool = False
    waiters: int = 0
    result: Outcome | Problem | None = None

    @property
    def weight(self) -> int:
        """Return about how many rows it changes: a batch must fit into one message."""
        body = self.operation.body
        return max(1, len(body.get("rows", ())), len(body.get("items", ())))


@dataclass
class Queue:
    """First come, first served; one ticket a key."""

    _lock: threading.Lock = field(default_factory=threading.Lock)
    _waiting: deque[Ticket] = field(default_factory=deque)
    _by_key: dict[str, Ticket] = field(default_factory=dict)
    _refused: dict[tuple[str, str], None] = field(default_factory=dict)  # (key, attempt)

    def join(
        self, operation: Operation, refusal: Callable[[], Problem | None],
        settled: Callable[[], None], attempt: str = "", wait: AnySpan = NOT_TRACED,
    ) -> tuple[Ticket, bool]:  # fmt: skip
        """Wait behind the others, or with whoever sent this key before; return the ticket and
        whether it is ours. `settled()` is called once it has a result.

        `refusal()` is asked only for a new key. Raises its problem, or `idempotency-mismatch`, or
        what `attempt`, which is another one each time a message is written, was told before.
        """
        fingerprint = operation.fingerprint
        with self._lock:
            if attempt and (operation.key, attempt) in self._refused:
                raise Problem("writes-unavailable", "this was refused before; nothing was done")
            ticket = self._by_key.get(operation.key)
            first = ticket is None
            if ticket is None:
                if problem := refusal():
                    self._remember(operation.key, {attempt})
                    raise problem
                ticket = Ticket(operation, fingerprint)
                self._by_key[operation.key] = ticket
                self._waiting.append(ticket)
            elif ticket.fingerprint != fingerprint:
                raise mismatch(operation.key)
            ticket.waiters += 1
            ticket.settled.append(settled)
            ticket.attempts.add(attempt)
            if wait:
                ticket.waits.append(wait)
            return ticket, first

    def remember(self, key: str, attempt: str) -> None:
        """Remember that an attempt was refused without having been queued."""
        with self._lock:
            self._remember(key, {attempt})

    def _remember(self, key: str, attempts: Iterable[str]) -> None:
        for attempt in filter(None, attempts):
            self._refused[key, attempt] = None
        while len(self._refused) > REFUSED_MAX:
            del self._refused[next(iter(self._refused))]

    def leave(self, ticket: Ticket, first: bool) -> Outcome:
        """Stop waiting: return the outcome, or raise what can honestly be said without one."""
        with self._lock:
            ticket.waiters -= 1
            result = ticket.result
            if result is None and not ticket.taken and not ticket.waiters:
                self._waiting.remove(ticket)
                del self._by_key[ticket.operation.key]
                self._remember(ticket.operation.key, ticket.attempts)
                result = Problem(
                    "writes-unavailable", "its turn did not come in time; nothing was done"
                )
        if isinstance(result, Outcome):
            return result
        raise result or still_running(ticket.operation.key, first)

    def take(self) -> list[Ticket]:
        """Take the next batch; its operations can no longer be refused."""
        batch: list[Ticket] = []
        weight = 0
        with self._lock:
            while self._waiting and len(batch) < BATCH_OPERATIONS_MAX:
                weight += self._waiting[0].weight
                if batch and weight > BATCH_WEIGHT_MAX:
                    break
                ticket = self._waiting.popleft()
                ticket.taken = True
                batch.append(ticket)
        return batch

    def settle(self, ticket: Ticket, result: Outcome | Problem) -> None:
        """Give everybody who waits for an operation its result."""
        with self._lock:
            ticket.result = result
            self._by_key.pop(ticket.operation.key, None)
            if isinstance(result, Problem) and result.code == "writes-unavailable":
                self._remember(ticket.operation.key, ticket.attempts)
        for settled in ticket.settled:
            settled()

    def refuse_waiting(self, why: Callable[[], Problem]) -> None:
        """Withdraw and refuse all that is queued."""
        problem = why()
        with self._lock:
            refused = list(self._waiting)
            self._waiting.clear()
            for ticket in refused:  # in the same step: one who leaves now must find his result
                ticket.result = problem
                self._by_key.pop(ticket.operation.key, None)
                self._remember(ticket.operation.key, ticket.attempts)
        for settled in [settled for ticket in refused for settled in ticket.settled]:
            settled()

    def __len__(self) -> int:
        return len(self._waiting)


def mismatch(key: str) -> Problem:
    """Return the refusal of a key that was used for something else."""
    return Problem(
        "idempotency-mismatch", f"the key {key} was used for another request", idempotency_key=key
    )


def unknown(key: str) -> Problem:
    """Return the answer for an operation whose end is not known yet."""
    return Problem("outcome-unknown", "ask again with this key", idempotency_key=key)


def still_running(key: str, first: bool) -> Problem:
    """Return the answer to whoever waited long enough: the one who began it, or another one with
    its key.
    """
    return (
        unknown(key)
        if first
        else Problem("in-progress", f"the request with key {key} is still running")
    )
