"""What happened to a demo, and when: what was done to it, and how it took it.

All times of a demo count from its beginning, in seconds.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

ENTRIES_MAX = 200
FAULT, UNDONE, LEADER, NOTE = "fault", "undone", "leader", "note"


@dataclass(frozen=True)
class Entry:
    """One thing that happened."""

    at: float
    kind: str
    words: str


class Diary:
    """The last entries; each is also told to `tell` (the terminal)."""

    def __init__(self, tell: Callable[[str], object]) -> None:
        self._began = asyncio.get_running_loop().time()
        self._entries: deque[Entry] = deque(maxlen=ENTRIES_MAX)
        self._tell = tell

    def now(self) -> float:
        """Return seconds since the beginning."""
        return asyncio.get_running_loop().time() - self._began

    def note(self, kind: str, words: str) -> None:
        """Write down what has just happened."""
        self._entries.append(Entry(round(self.now(), 2), kind, words))
        self._tell(words)

    def shown(self) -> list[dict[str, Any]]:
        """Return the entries, oldest first."""
        return [asdict(entry) for entry in self._entries]
