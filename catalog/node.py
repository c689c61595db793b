"""One catalog node: its files, its role, the right to answer, and every read.

Law: `lock` guards the role, the promises and, except while this node leads, the database's writer
connection (the leader's writer task owns it then). It is never held over a call. A read notes the
epoch before it opens its snapshot.
"""

from __future__ import annotations

import logging
import math
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import apsw

from catalog import store
from catalog.disk import guard, open_files
from catalog.model import SCHEMA_VERSION, Entry, Outcome
from catalog.replication import LEADING, RECOVERING, REFUSING, SERVING, Record, View
from catalog.sessions import DRIFT, Sessions
from common.clock import Clock
from common.errors import Problem
from common.position import Position
from common.tasks import Event
from common.web import Readiness

log = logging.getLogger("bazar")

HOLDER_DRIFT = 0.99  # who holds a lease counts less, who grants it counts more


@dataclass(frozen=True)
class Reading:
    """An answer with what it is true of."""

    document: Any
    epoch: int
    as_of: int


class Node:
    """State and role of one catalog node. Others change the role only through its methods."""

    def __init__(
        self, name: str, peer: str, folder: Path, lease_s: float, *, clock: Clock, random: Random
    ) -> None:
        self.name, self.peer = name, peer
        self.clock = clock
        self.random = random
        self.lease_s = lease_s
        self.lock = threading.RLock()
        self.record, self.db = open_files(folder, random)
        self.sessions = Sessions(threading.Lock(), lease_s)
        self.status = RECOVERING
        self.why = "starting"
        self.checked = False
        self.adopted: Entry | None = None  # found prepared by a leader; not yet committed
        self.peer_following = False
        self.peer_joined = 0  # how often the peer has compared itself, to serve beside this node
        self.halted: str | None = None
        self.role_changed: list[Event] = []  # raised when the role changes or the node halts
        self.writing = False  # the writer task has a transaction open
        self.started_at = clock.now()
        self.no_commit_before = 0.0  # a leader's first visible commit comes after every older lease
        # With a backup server a catalog reads only under a lease from its epoch's other member.
        self.read_until = 0.0
        longest_s = self.record.record.lease_s_max if self.record.record else lease_s
        self.granted_until = self.started_at + longest_s * DRIFT  # as if granted at the start
        self._as_if_granted_until = self.granted_until
        self.has_backup = False  # in the settings: without one the pair decides by itself
        self.yielding_to = ""  # to whom this leader is handing over, until that one leads
        self.asked_to_lead = 0  # the epoch whose leader hands over to this node

    # --- role ---

    @property
    def epoch(self) -> int:
        """Return the epoch this disk is in (0: none yet)."""
        record = self.record.record
        return record.epoch if record else 0

    @property
    def leader(self) -> str | None:
        """Return the name of the leader as this node knows it."""
        record = self.record.record
        return record.leader if record else None

    @property
    def second(self) -> str:
        """Return the other member of this epoch, without which its leader commits nothing."""
        record = self.record.record
        others = [name for name in record.members if name != record.leader] if record else []
        return others[0] if others else self.peer

    def grant(self) -> None:
        """Note, under `lock`, that the other member has been given the right to answer reads."""
        assert self.record.record is not None
        ends = self.clock.now() + self.record.record.lease_s_max * DRIFT
        self.granted_until = max(self.granted_until, ends)

    def hold(self, record: Record, sent_at: float) -> None:
        """Take the right to answer reads that was asked for at `sent_at` in an epoch, unless that
        is over or has been given back.
        """
        ends = sent_at + record.lease_s_max * HOLDER_DRIFT
        with self.lock:
            if self.record.record == record and not (self.leads and self.yielding_to):
                self.read_until = max(self.read_until, ends)

    def surrender(self) -> None:
        """Give up the right to answer reads, in favour of the next leader."""
        with self.lock:
            self.read_until = 0.0

    def take_back(self) -> None:
        """Note, under `lock`, that the other member has given back what it was granted."""
        self.granted_until = min(self.granted_until, self._as_if_granted_until)

    @property
    def lease_left_s(self) -> float:
        """Return for how long this node may answer reads; without a backup server it always may."""
        record = self.record.record
        if record is None or not record.voters:
            return math.inf
        return self.read_until - self.clock.now()

    @property
    def leads(self) -> bool:
        """Tell whether this node is the leader now."""
        return self.status == LEADING

    @property
    def takes_writes(self) -> bool:
        """Tell whether what is to be written may wait here: for this leader, or for the next one to
        lead.
        """
        return self.leads or bool(self.yielding_to)

    def become(self, status: str, why: str) -> None:
        """Change the role."""
        with self.lock:
            if self.halted and status != REFUSING:
                return
            changed = (status, why) != (self.status, self.why)
            self.status, self.why = status, why
        if changed:
            level = logging.ERROR if status == REFUSING else logging.INFO
            log.log(level, "%s: %s (epoch %d)", status, why, self.epoch)
        for event in self.role_changed:
            event.set()

    def halt(self, why: str) -> None:
        """Stop answering and end the process: the disk can no longer be trusted until it is
        verified.
        """
        self.halted = why
        self.become(REFUSING, why)

    @property
    def standing(self) -> tuple[int, int]:
        """Return what an acknowledgement counts in: this epoch, and the peer's present stay."""
        return self.epoch, self.peer_joined

    def let_join(self) -> None:
        """Void what the peer has acknowledged: it serves from what its disk has now."""
        with self.lock:
            self.peer_joined += 1

    def view(self) -> View:
        """Describe this node to its peer."""
        with self.lock, self.db.read() as db:
            prepared = store.prepared(db)
            record = self.record
            return View(
                node=self.name, disk=record.disk, cluster=record.cluster, record=record.record,
                promise=record.promise, end=store.end(db),
                prepared=prepared.position if prepared else None,
                schema=SCHEMA_VERSION, status=self.status, checked=self.checked,
            )  # fmt: skip

    def write(self, change: Callable[[apsw.Connection], None]) -> None:
        """Run a change in one transaction on the writer's connection; the caller holds `lock` and
        does not lead. Raises `unavailable` while the batch of a leader that was deposed is not yet
        rolled back: its writer has to see first that it leads no more.
        """
        if self.writing:
            raise Problem("unavailable", f"{self.name} has yet to put its last batch away")
        with guard(self), self.db.write() as db:
            change(db)

    # --- reads ---

    def read(self, key: str, query: Callable[[apsw.Connection], Any]) -> Reading:
        """Answer a query about `key` from one moment; raise `dirty` or `unavailable` when this node
        may not.
        """
        epoch = self.may_answer()
        with guard(self), self.db.read() as db:
            if store.is_dirty(db, key):
                raise Problem("dirty", f"a write to {key} is under way", leader=self.leader)
            as_of = store.end(db).seq
            if as_of == 0:
                raise Problem(
                    "unavailable", "the shop has not opened yet: its first entry is missing"
                )
            return Reading(query(db), epoch, as_of)

    def may_answer(self) -> int:
        """Return the epoch to label an answer with; raise `unavailable` when there is no right to
        answer.
        """
        # Without the lock, which is held over syncs: a read must not wait for a write's disk.
        epoch = self.epoch
        if self.status not in SERVING:
            raise Problem("unavailable", f"{self.name} is {self.status}: {self.why}")
        if self.lease_left_s <= 0:
            raise Problem("unavailable", f"{self.name} has no read lease: {self.why}")
        return epoch

    def outcomes(self, keys: Sequence[str]) -> list[Outcome | None]:
        """Return the committed outcome of each idempotency key, all of one moment."""
        with self.db.read() as db:
            return [store.outcome(db, key) for key in keys]

    def end(self) -> Position:
        """Return the position of the last entry applied."""
        with self.db.read() as db:
            return store.end(db)

    def digest(self) -> tuple[Position, str]:
        """Return the position and hash of the tables at one moment."""
        with self.db.read() as db:
            return store.end(db), store.digest(db)

    def readiness(self) -> Readiness:
        """Tell what this node can do, for `/readyz`."""
        reads = self.status in SERVING and self.end().seq > 0 and self.lease_left_s > 0
        writes = reads and self.leads and self.peer_following
        why = f"{self.status}: {self.why}"
        if self.leads and not self.peer_following:
            why += f"; {self.second} is not following, so nothing can be written"
        return Readiness(reads, writes, why)

    def close(self) -> None:
        """Close the files."""
        self.db.close()
        self.record.close()
