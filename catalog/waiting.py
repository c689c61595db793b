"""Messages whose operations are on their way: each is answered once, when the last of them is
decided or its time is over, whichever comes first.

Law: no thread waits for an answer; who decides the last operation gives it. Only `Deadlines` waits.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable

from common.clock import Clock
from common.tasks import Event


class Message:
    """Counts what is still open; `answer()` is called once, from whatever thread."""

    def __init__(self, answer: Callable[[], None]) -> None:
        self._answer = answer
        self._lock = threading.Lock()
        self._open = 1  # until `close`: while it is taken in, nobody answers it
        self.answered = False

    def wait_for_one(self) -> None:
        """Count one more that is open."""
        with self._lock:
            self._open += 1

    def close(self) -> None:
        """Count one as closed; the last one answers."""
        with self._lock:
            self._open -= 1
            last = not self._open
        if last:
            self.answer()

    def answer(self) -> None:
        """Answer, unless that has been done."""
        with self._lock:
            if self.answered:
                return
            self.answered = True
        self._answer()


class Deadlines:
    """Answers what is overdue. It wakes about once for as long as messages may wait: with the one
    that is due it forgets all before the next that has no answer.
    """

    def __init__(self, clock: Clock, changed: Event) -> None:
        self._clock = clock
        self._changed = changed
        self._lock = threading.Lock()
        self._due: list[tuple[float, int, Message]] = []
        self._count = 0
        self._stopping = False

    def add(self, until: float, message: Message) -> None:
        """Have a message answered at a time, if it has no answer by then."""
        with self._lock:
            self._count += 1
            heapq.heappush(self._due, (until, self._count, message))
            first = self._due[0][2] is message
        if first:
            self._changed.set()

    def run(self) -> None:
        """Answer in time until stopped."""
        while not self._stopping:
            self._changed.wait(self._answer_overdue())
            self._changed.clear()

    def stop(self) -> None:
        """End the task."""
        self._stopping = True
        self._changed.set()

    def _answer_overdue(self) -> float | None:
        """Answer what is overdue; return after how long the next one is."""
        while True:
            with self._lock:
                while self._due and self._due[0][2].answered:
                    heapq.heappop(self._due)
                if not self._due:
                    return None
                until, _, message = self._due[0]
            left_s = until - self._clock.now()
            if left_s > 0:
                return left_s
            message.answer()
