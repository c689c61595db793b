"""How a service waits, and does several things at once: a port, so a simulator can own it."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

log = logging.getLogger("bazar")

IDLE_S = 10.0


class Event(Protocol):
    """A flag that can be waited for."""

    def set(self) -> None:
        """Raise the flag and wake whoever waits."""

    def clear(self) -> None:
        """Lower the flag."""

    def wait(self, timeout_s: float | None = None) -> bool:
        """Wait until the flag is up or the time is over; return whether it is up."""


class Tasks(Protocol):
    """Where waits and fan-outs come from."""

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        """Run something at the same time."""

    def event(self) -> Event:
        """Return a new flag, down."""

    def pause(self, seconds: float) -> None:
        """Wait."""


Work = tuple[str, Callable[[], None]]


class Threads:
    """The real thing: daemon threads (a thread left waiting at exit must not hold the process).

    A thread that is done waits a while for more: waking one costs a third.
    """

    def __init__(self) -> None:
        self._idle: deque[SimpleQueue[Work]] = deque()  # one queue for each thread that waits

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        try:
            self._idle.pop().put((name, run))
        except IndexError:
            threading.Thread(target=self._work, args=(name, run), name=name, daemon=True).start()

    def _work(self, name: str, run: Callable[[], None]) -> None:
        queue: SimpleQueue[Work] = SimpleQueue()
        while True:
            threading.current_thread().name = name
            try:
                run()
            except Exception:
                log.exception("task %s failed", name)
            self._idle.append(queue)
            try:
                name, run = queue.get(timeout=IDLE_S)
            except Empty:
                try:
                    self._idle.remove(queue)
                except ValueError:  # somebody has just taken it, to put work in
                    name, run = queue.get()
                else:
                    return

    def event(self) -> Event:
        return threading.Event()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
