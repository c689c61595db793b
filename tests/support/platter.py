"""One file as a power loss would leave it: what is synced, and what is only in the system's cache.

Law: what a sync has answered for stays; of what was written since, the seed says what does. Not
modelled: renames and deletions that are undone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random

SECTOR_BYTES = 512

Change = tuple[int, bytes | None]  # written there, or (with None) cut off there


@dataclass
class Stored:
    """One file: what the platter holds, and the changes only the system's cache has."""

    inode: int
    durable: bytearray
    named: bool  # its name would be found after a power loss
    unsynced: list[Change] = field(default_factory=list)
    stale: bool = False  # a sync failed, so the cache shows what the platter will never have

    def sync(self) -> None:
        """Bring everything to the platter."""
        for change in self.unsynced:
            _make(self.durable, change)
        self.unsynced.clear()
        self.named = True

    def cut_off(self, random: Random) -> bytes:
        """Lose power: return what is there afterwards."""
        for change in _survivors(self.unsynced, random):
            _make(self.durable, change)
        self.unsynced.clear()
        self.named, self.stale = True, False
        return bytes(self.durable)

    def evicted(self) -> bytes:
        """Return what is read once the cache has dropped the pages that it wrongly calls clean."""
        image = bytearray(self.durable)
        for change in self.unsynced:
            _make(image, change)
        self.stale = False
        return bytes(image)

    def fail_to_sync(self) -> None:
        """Do as Linux does: report the error once, and call the pages clean though they are not."""
        self.unsynced.clear()
        self.stale = True


def _make(image: bytearray, change: Change) -> None:
    at, data = change
    if data is None:
        del image[at:]
    image.extend(bytes(max(0, at - len(image))))
    if data is not None:
        image[at : at + len(data)] = data


def _survivors(changes: list[Change], random: Random) -> list[Change]:
    """Return which changes reached the platter by luck: none, all, the first ones, or any
    sectors.
    """
    fate = random.choice(("none", "all", "first", "sectors"))
    if fate == "all":
        return changes
    if fate == "first":
        return changes[: random.randint(0, len(changes))]
    share = random.choice((0.1, 0.5, 0.9)) if fate == "sectors" else 0.0
    pieces = [piece for at, data in changes for piece in _sectors(at, data)]
    return [piece for piece in pieces if random.random() < share]


def _sectors(at: int, data: bytes | None) -> Iterator[Change]:
    """Cut what was written at sector boundaries: a sector is written whole or not at all."""
    if data is None:
        yield at, None
        return
    done = 0
    while done < len(data):
        size = SECTOR_BYTES - (at + done) % SECTOR_BYTES
        yield at + done, data[done : done + size]
        done += size
