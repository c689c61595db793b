"""Whose turn it is: round robin over like nodes, leaving a failing one alone for a while. PURE.

Law: while a healthy node is left, a node that failed is asked again only after its quarantine, by
one caller alone; when every node is in quarantine all of them are tried anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager

QUARANTINE_S = 1.0
TRIAL_S = 5.0  # longer than any call: by then a trial has reported, or whoever made it is gone


class Balancer:
    """The order in which to try `names`; `lock` is taken for a few steps at a time."""

    def __init__(self, names: Sequence[str], *, lock: AbstractContextManager[object]) -> None:
        self._names = list(names)
        self._lock = lock
        self._turn = 0
        self._left_alone_until: dict[str, float] = {}
        self._answered = dict.fromkeys(names, 0)

    def order(self, now: float) -> list[str]:
        """Return every name: one due for its trial, the healthy from the one in turn, the rest.

        The caller is to try them in this order and to report each one tried.
        """
        with self._lock:
            if not self._names:
                return []
            turn = self._turn % len(self._names)
            self._turn += 1
            rotated = self._names[turn:] + self._names[:turn]
            healthy = [name for name in rotated if name not in self._left_alone_until]
            waiting = [name for name in rotated if name in self._left_alone_until]
            due = [name for name in waiting if now >= self._left_alone_until[name]][:1]
            for name in due:
                self._left_alone_until[name] = now + TRIAL_S
            return due + healthy + [name for name in waiting if name not in due]

    def failed(self, name: str, now: float) -> None:
        """Report that a node did not answer, or not usefully."""
        with self._lock:
            self._left_alone_until[name] = now + QUARANTINE_S

    def succeeded(self, name: str) -> None:
        """Report that a node answered."""
        with self._lock:
            self._left_alone_until.pop(name, None)
            self._answered[name] += 1

    def answered(self) -> dict[str, int]:
        """Return how often each node has been reported to have answered."""
        with self._lock:
            return dict(self._answered)
