"""What befalls the disks of a simulated cluster: power, room and syncs that fail, at a moment or at
a named point.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.disk import Disk
from tests.support.keeper import Crashed

if TYPE_CHECKING:
    from tests.support.cluster import Cluster


class Outage:
    """Breaks and mends disks; each act is a line in the script of the run."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def _disk(self, name: str, what: str) -> Disk:
        self._cluster.scheduler.note(f"{name}: {what}")
        return self._cluster.disks.of(name)

    def power(self, *names: str) -> None:
        """Cut the power of nodes: what they had not synced is lost, or a part of it."""
        self._cluster.scheduler.outside(lambda: self._cut_power(names))

    def _cut_power(self, names: Iterable[str]) -> None:
        for name in names:
            self._cluster.kill(name)
            self._disk(name, "the power is gone").lose_power()

    def crash_at(self, name: str, what: str, file: str, nth: int = 1, *, power: bool) -> None:
        """Kill a node, or cut its power, just before the nth "write" or "sync" of a file."""
        self._cluster.disks.of(name).at(what, file, lambda: self._crash(name, what, power), nth)

    def _crash(self, name: str, what: str, power: bool) -> None:
        self._disk(name, f"it dies at this {what}").dead = True
        scheduler, network = self._cluster.scheduler, self._cluster.network
        die = self.power if power else self._cluster.kill
        scheduler.at(scheduler.now, lambda: die(name))
        if name not in self._cluster.running:
            raise Crashed(f"it dies at this {what}, while it starts")
        network.mute.add(self._cluster.running[name].owner)

    def fill(self, name: str, file: str = "", nth: int = 0) -> None:
        """Leave no room on a node's disk, at once or from the nth write to a file on."""
        disk = self._disk(name, f"the disk is full, from write {nth} to {file or 'any file'} on")
        if nth:
            disk.fill_at(file, nth)
        else:
            disk.fill()

    def free(self, name: str) -> None:
        """Give a disk room again."""
        self._disk(name, "the disk has room").free()

    def break_sync(self, name: str, file: str = "", nth: int = 1) -> None:
        """Fail one sync of a file, and drop what it was to make durable."""
        self._disk(name, f"sync {nth} of {file or 'any file'} will fail").break_sync(file, nth)

    # --- other disks in their place (the node is dead) ---

    def lose_disk(self, name: str) -> None:
        """Put an empty disk in its place."""
        assert name not in self._cluster.running
        shutil.rmtree(self._disk(name, "an empty disk").folder, ignore_errors=True)

    def keep_disk(self, name: str) -> None:
        """Put a copy of it aside."""
        assert name not in self._cluster.running
        folder = self._disk(name, "a copy of the disk is put aside").folder
        shutil.rmtree(_kept(folder), ignore_errors=True)
        shutil.copytree(folder, _kept(folder))

    def restore_disk(self, name: str) -> None:
        """Put the copy in its place."""
        self.lose_disk(name)
        folder = self._disk(name, "an older disk").folder
        shutil.copytree(_kept(folder), folder)

    def mend(self) -> None:
        """Give every disk room, and forget what was to fail later."""
        self._cluster.disks.mend()


def _kept(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.kept")
