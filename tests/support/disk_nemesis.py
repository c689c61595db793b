"""What goes wrong with disks and clocks in a simulated run, drawn from its seed.

Law: an older disk is put back only beside a peer that is alive, in sync and not paused: an older
copy that is read alone is not guaranteed anything.
"""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.support.cluster import Cluster

FILES = {
    "catalog": ("", "catalog.db-wal", "catalog.db-wal", "catalog.db", "node.db-wal"),
    "order": ("", "orders.db-wal"),
    "backup": ("", "backup.db-wal", "node.db-wal"),
}
DRIFT = 0.009  # the protocol allows 1 % on either side
WALL_JUMP_S = 86_400.0
SETTLE_S = 20.0


class DiskNemesis:
    """Breaks disks and clocks; `start_dead` starts whatever is dead."""

    def __init__(self, cluster: Cluster, random: Random, start_dead: Callable[[], None]) -> None:
        self._cluster = cluster
        self._random = random
        self._start_dead = start_dead
        self.acts: list[Callable[[], None]] = [
            self.power_loss, self.crash_in_a_write, self.crash_in_a_write, self.disk_full,
            self.disk_full, self.sync_error, self.sync_error, self.older_disk, self.wall_jump,
        ]  # fmt: skip

    def _pause(self, low: float, high: float) -> None:
        self._cluster.scheduler.sleep(self._random.uniform(low, high))

    def _one(self) -> str:
        names = self._cluster.names
        return self._random.choice([*names["catalog"] * 3, *names["order"], *names["backup"]])

    def _file(self, name: str) -> str:
        return self._random.choice(FILES[self._cluster.role_of(name)])

    def power_loss(self) -> None:
        """Cut the power of one node, of both catalogs, or of the whole house."""
        names = self._cluster.names
        house = [name for role in names.values() for name in role]
        self._cluster.outage.power(
            *self._random.choice(([self._one()], [self._one()], names["catalog"], house))
        )
        self._pause(0.0, 2.0)
        self._start_dead()

    def crash_in_a_write(self) -> None:
        """Kill a node, or cut its power, in the middle of a transaction's writes or before its
        sync.
        """
        what, power = self._random.choice(("write", "sync", "sync")), self._random.random() < 0.6
        name, nth = self._one(), self._random.randint(1, 8 if what == "write" else 3)
        self._cluster.outage.crash_at(name, what, self._file(name), nth, power=power)
        self._pause(0.3, 2.0)
        self._cluster.outage.mend()
        self._pause(0.0, 1.0)
        self._start_dead()

    def disk_full(self) -> None:
        """Fill a disk, at once or in the middle of a transaction, and free it again."""
        name, nth = self._one(), self._random.choice((0, 0, 1, 2, 3, 5, 8))
        self._cluster.outage.fill(name, self._file(name) if nth else "", nth)
        self._pause(0.2, 3.0)
        self._cluster.outage.free(name)
        self._cluster.outage.mend()

    def sync_error(self) -> None:
        """Fail a sync; sometimes the power goes a moment later."""
        name = self._one()
        self._cluster.outage.break_sync(name, self._file(name), self._random.randint(1, 2))
        self._pause(0.3, 2.0)
        self._cluster.outage.mend()
        if self._random.random() < 0.3:
            self._cluster.outage.power(name)
        self._pause(0.5, 2.0)
        self._start_dead()

    def older_disk(self) -> None:
        """Keep a copy of a disk, and put it back later."""
        name = self._one()
        self._cluster.kill(name)
        self._cluster.outage.keep_disk(name)
        self._cluster.start(name)
        self._pause(0.5, 3.0)
        if not self._in_sync():
            return
        self._cluster.kill(name)
        self._cluster.outage.restore_disk(name)
        self._cluster.start(name)
        self._in_sync()

    def _in_sync(self) -> bool:
        """Wait until both catalogs serve side by side; return whether they do."""
        scheduler = self._cluster.scheduler
        until = scheduler.now + SETTLE_S
        while scheduler.now < until:
            if self._cluster.ready() and max(scheduler.stopped.values(), default=0) < scheduler.now:
                return True
            scheduler.sleep(0.05)
        return False

    def wall_jump(self) -> None:
        """Set the date of one machine."""
        name = self._random.choice(sorted(self._cluster.clocks))
        seconds = self._random.uniform(-WALL_JUMP_S, WALL_JUMP_S)
        self._cluster.scheduler.note(f"the wall clock of {name} jumps by {seconds:.0f} s")
        self._cluster.clocks[name].wall_offset_s = seconds
