"""PURE: the frontends' cache leases, as the leader that grants them sees them.

Law: a write commits only when each session alive when it began has acknowledged the invalidation or
has ended; a session that ended is never revived; whoever registers meanwhile starts with the
pending keys as floors. The grantor counts a lease from when the request was received, times 1.01
(Gray & Cheriton 1989; drift 1 %).
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import Enum

from common.position import Position

DRIFT = 1.01
HEARTBEAT_S = 0.2


class Renewal(Enum):
    """The answer to a renewal."""

    GRANTED = "granted"
    UNKNOWN = "the session has ended"
    UNACKNOWLEDGED = "an invalidation has not been acknowledged"


@dataclass
class Session:
    """One frontend process's right to answer from its cache."""

    name: str
    epoch: int
    ends_at: float
    unacknowledged: set[Position] = field(default_factory=set)


class Sessions:
    """All sessions alive, and the one write that is pending."""

    def __init__(self, lock: AbstractContextManager[object], lease_s: float) -> None:
        self._lock = lock
        self._lease_s = lease_s
        self._alive: dict[str, Session] = {}
        self._pending_seq = 0
        self._pending_keys: tuple[str, ...] = ()
        self._pending_since = 0.0

    def register(self, session: str, name: str, epoch: int, now: float) -> dict[str, int]:
        """Begin a session; return the floors it starts with. Older sessions of that name live
        on.
        """
        with self._lock:
            self._drop_ended(now)
            self._alive[session] = Session(name, epoch, now + self._lease_s * DRIFT)
            return dict.fromkeys(self._pending_keys, self._pending_seq)

    def renew(self, session: str, epoch: int, now: float) -> Renewal:
        """Extend a session of this epoch, unless it has left an invalidation unacknowledged for a
        heartbeat.
        """
        with self._lock:
            self._drop_ended(now)
            found = self._alive.get(session)
            if found is None or found.epoch != epoch:
                return Renewal.UNKNOWN
            if found.unacknowledged and now - self._pending_since > HEARTBEAT_S:
                return Renewal.UNACKNOWLEDGED
            found.ends_at = now + self._lease_s * DRIFT
            return Renewal.GRANTED

    def surrender(self, session: str) -> None:
        """End a session whose holder has stopped answering from it."""
        with self._lock:
            self._alive.pop(session, None)

    def begin(self, entry: Position, keys: Iterable[str], now: float) -> list[tuple[str, str]]:
        """Make an entry pending; return the (session, frontend name) pairs that must be told."""
        with self._lock:
            self._drop_ended(now)
            self._pending_seq, self._pending_keys, self._pending_since = entry.seq, tuple(keys), now
            for session in self._alive.values():
                session.unacknowledged.add(entry)
            return [(session, held.name) for session, held in self._alive.items()]

    def acknowledge(self, session: str, entry: Position) -> None:
        """Note that a frontend has dropped what the entry makes stale."""
        with self._lock:
            if session in self._alive:
                self._alive[session].unacknowledged.discard(entry)

    def waiting(self, entry: Position, now: float) -> set[str]:
        """Return the sessions still to wait for."""
        with self._lock:
            self._drop_ended(now)
            return {
                session for session, held in self._alive.items() if entry in held.unacknowledged
            }

    def next_end(self, entry: Position) -> float | None:
        """Return when the first session waited for will have ended."""
        with self._lock:
            ends = [held.ends_at for held in self._alive.values() if entry in held.unacknowledged]
            return min(ends, default=None)

    def finish(self, entry: Position) -> None:
        """Note that nothing is pending any more: the entry was committed, or dropped before it was
        sent.
        """
        with self._lock:
            self._pending_seq, self._pending_keys = 0, ()
            for session in self._alive.values():
                session.unacknowledged.discard(entry)

    def alive(self, now: float) -> list[tuple[str, float]]:
        """Return (frontend name, seconds left) of each session."""
        with self._lock:
            self._drop_ended(now)
            return [(held.name, held.ends_at - now) for held in self._alive.values()]

    def _drop_ended(self, now: float) -> None:
        for session in [name for name, held in self._alive.items() if held.ends_at <= now]:
            del self._alive[session]
