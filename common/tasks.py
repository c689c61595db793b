"""How a service waits, and does several things at once: a port, so a simulator can own it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol


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


class Threads:
    """The real thing: daemon threads (a thread left waiting at exit must not hold the process)."""

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        threading.Thread(target=run, name=name, daemon=True).start()

    def event(self) -> Event:
        return threading.Event()

    def pause(self, seconds: float) -> None:
        time.sleep(seconds)
