"""The clock a service is given: durations for leases and deadlines, the date for what people read.

Law: only durations cross processes, never readings of this clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Time as a service sees it."""

    def now(self) -> float:
        """Return seconds on a clock that never jumps and counts on while the machine sleeps."""

    def wall(self) -> datetime:
        """Return the date and time, UTC."""


class SystemClock:
    """CLOCK_BOOTTIME where there is one, else monotonic: a suspended machine keeps no leases."""

    def __init__(self) -> None:
        self._id = getattr(time, "CLOCK_BOOTTIME", None)

    def now(self) -> float:
        return time.monotonic() if self._id is None else time.clock_gettime(self._id)

    def wall(self) -> datetime:
        return datetime.now(UTC)


def rfc3339(moment: datetime) -> str:
    """Write a moment as RFC 3339 UTC with milliseconds: `2026-01-31T12:00:00.000Z`."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
