"""Waiting for something to come true, with a deadline: the one place where a test may pass time."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

POLL_S = (0.01, 0.1)  # the longer the wait, the less often: what is asked may be a whole shop


def wait_until(
    condition: Callable[[], T], timeout_s: float, what: str, logs: Callable[[], str] = str
) -> T:
    """Return the first true value of `condition`; fail with `what` and the logs when it is late."""
    until, (pause_s, longest_s) = time.monotonic() + timeout_s, POLL_S
    while not (value := condition()):
        if time.monotonic() > until:
            raise AssertionError(f"not within {timeout_s:g} s: {what}\n{logs()}")
        time.sleep(pause_s)
        pause_s = min(1.2 * pause_s, longest_s)
    return value
