"""The backup server's rules: it votes on epochs and, while one catalog is away, keeps what that one
is missing, so that the other can go on.

Law: persist, then speak. A promise binds: what it refuses stays refused after a restart. An entry
is acknowledged only after its sync. A witness never applies anything and never leads. One lock
makes "check the promise, store, sync" one step, and "make a promise durable, read the log's end"
another.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import apsw

from catalog.disk import Halted
from catalog.kept import Kept
from catalog.membership import Candidacy, grants, refuse_vote
from catalog.model import SCHEMA_VERSION, Entry
from catalog.record import NodeRecord
from catalog.replication import KEEPING, REFUSING, Promise, Record, View, in_epoch
from catalog.sessions import DRIFT
from common.clock import Clock
from common.errors import Problem
from common.position import Position
from common.web import Readiness

log = logging.getLogger("bazar")

WATCHING = "watching"  # it votes, but keeps nothing: both catalogs are members, or it is new


class Witness:
    """The state of one backup server; each method is a message, or what people ask."""

    def __init__(
        self,
        name: str,
        record: NodeRecord,
        kept: Kept,
        *,
        clock: Clock,
        on_halt: Callable[[], None],
    ) -> None:
        self.name = name
        self.record = record
        self.kept = kept
        self.halted: str | None = None
        self._clock = clock
        self._on_halt = on_halt
        self._lock = threading.RLock()
        self._leased_to, self._leased_until = "", 0.0
        if self.keeping:
            self._grant()  # as if just before the end of the process that was here

    # --- what it is ---

    @property
    def keeping(self) -> bool:
        """Tell whether this disk is a member of the last epoch."""
        last = self.record.record
        return last is not None and last.counts(self.name, self.record.disk)

    @property
    def epoch(self) -> int:
        """Return the last epoch heard of (0: none yet)."""
        return self.record.record.epoch if self.record.record else 0

    def view(self) -> View:
        """Describe this node as a replica does."""
        with self._lock:
            status = REFUSING if self.halted else KEEPING if self.keeping else WATCHING
            return View(
                node=self.name, disk=self.record.disk, cluster=self.record.cluster,
                record=self.record.record, promise=self.record.promise, end=self.kept.end,
                prepared=None, schema=SCHEMA_VERSION, status=status, checked=True,
            )  # fmt: skip

    @contextmanager
    def _one_step(self) -> Iterator[None]:
        """Take the lock, and halt when the disk fails so that its contents are not known."""
        with self._lock:
            if self.halted:
                raise Problem("unavailable", f"{self.name} is {REFUSING}: {self.halted}")
            try:
                yield
            except (apsw.IOError, apsw.CorruptError, apsw.NotADBError) as error:
                self.halted = f"the disk failed: {error}"
                log.error("%s", self.halted)
                self._on_halt()
                raise Halted(self.halted) from error
            except apsw.FullError as error:
                raise Problem("storage-failed", f"{self.name}: {error}") from error

    def _fenced(self, why: str) -> Problem:
        return Problem("fenced", why, promised=self.record.promise.epoch)

    # --- the vote ---

    def promise(self, asked: Candidacy) -> View:
        """Promise an epoch durably; return this node as it is at that moment."""
        with self._one_step():
            before = self.kept.reported(asked.candidate, asked.disk)
            leads = self._leased_to if self.lease_left_s > 0 else None
            if why := refuse_vote(self.view(), asked, reported=before, leads=leads):
                lost = before is not None and asked.tail.seq < before.seq
                raise Problem("fenced", why, promised=self.record.promise.epoch, lost=lost)
            self.record.agree(Promise(asked.epoch, asked.candidate))
            return self.view()

    def follow(self, cluster: str, record: Record, end: Position, tail: Position) -> None:
        """Enter an epoch, durably: as its second, or as the voter who is only told.

        The log is made to fit first, then the record is entered. A crash in between leaves the old
        epoch with a log that lacks at most what the new leader holds itself (up to `end`) or has
        found to be nowhere committed (beyond `tail`); with two promises for the new epoch nothing
        is committed in the old one any more, and the leader says it again. The other order would
        leave a member of the new epoch with a log that does not fit it. And since a record that is
        entered says that the log fits, a late repeat is known for one: it must not cut off what
        was acknowledged since.
        """
        with self._one_step():
            if self.record.cluster not in ("", cluster):
                raise Problem("foreign-cluster", f"{self.name} belongs to {self.record.cluster}")
            if why := refuse_epoch(self.view(), record):
                raise self._fenced(why)
            if record == self.record.record:
                return
            if record.counts(self.name, self.record.disk):
                self.kept.fit(end, tail)
            self.record.enter(cluster, record)
            log.info("%s (epoch %d)", self.doing, record.epoch)

    # --- the log ---

    def prepare(self, epoch: int, prev: Position, entry: Entry) -> None:
        """Store an entry; returns after the sync."""
        with self._one_step():
            if not in_epoch(self.view(), epoch):
                raise self._fenced("the sender's epoch is over")
            if not entry.follows(prev):
                raise Problem("invalid-request", "the entry's hash does not fit its content")
            if not self._holds(prev, entry.position):
                self.kept.append(entry)

    def _holds(self, prev: Position, position: Position) -> bool:
        """Tell whether an entry is here; False: it is the next one."""
        base, end = self.kept.base, self.kept.end
        if prev.seq > end.seq:
            raise Problem("behind", "entries before it are missing here", end=end.seq)
        if position.seq <= base.seq:  # never acknowledge what is not here
            raise Problem("too-far-behind", f"entries up to {base.seq} are not kept here")
        found = self.kept.at(position.seq)
        if found == position:
            return True
        if found is not None or prev != end:
            log.error("diverged: another entry stands in the place of entry %d", position.seq)
            raise Problem("diverged", "another entry stands in its place")
        return False

    def commit(self, sender: str, epoch: int, position: Position) -> View:
        """Hear a leader: note how far its epoch's disks have come and, while this node is the
        second, grant it the right to answer reads; return this node's view, by which it knows.
        """
        with self._one_step():
            last = self.record.record
            if last is not None and (last.epoch, last.leader) == (epoch, sender):
                for name, member in last.members.items():  # what is committed is at both of them
                    if name != self.name:
                        self.kept.note(name, member, position)
            if grants(self.view(), epoch):
                self._grant()
            return self.view()

    def entries(self, after: int, bytes_max: int) -> bytes:
        """Return entries for the catalog that is missing them."""
        with self._one_step():
            found = self.kept.after(after, bytes_max)
            if found is None:
                raise Problem("too-far-behind", f"the log here does not go on from entry {after}")
            return found

    def release(self, epoch: int) -> None:
        """Delete what was kept, when both catalogs are the members of this very epoch."""
        with self._one_step():
            if self.epoch == epoch and not self.keeping and self.kept.entries:
                log.info("released %s", _count(self.kept.entries))
                self.kept.release()

    # --- the lease ---

    def _grant(self) -> None:
        """Grant the last epoch's leader the right to answer reads. As long as it may hold it: the
        holder goes by the record, and so must this node, whatever its own settings say.
        """
        last = self.record.record
        assert last is not None
        self._leased_to = last.leader
        self._leased_until = self._clock.now() + last.lease_s_max * DRIFT

    @property
    def lease_left_s(self) -> float:
        """Return for how long the last epoch's leader may still hold a lease from this node."""
        last = self.record.record
        if last is None or last.leader != self._leased_to:
            return 0.0
        return max(0.0, self._leased_until - self._clock.now())

    # --- what people ask ---

    @property
    def doing(self) -> str:
        """Say what this node does, for people."""
        last = self.record.record
        if self.halted:
            return self.halted
        if last is None:
            return "this disk has no vote yet: waiting to be admitted"
        if self.keeping:
            absent = next((name for name in last.voters if name not in last.members), "nobody")
            return f"{KEEPING} {_count(self.kept.entries)} for {absent}"
        return f"{WATCHING}: {last.leader} leads"

    def readiness(self) -> Readiness:
        """Tell whether this node has a vote, for `/readyz`."""
        votes = self.record.record is not None and not self.halted
        return Readiness(votes, votes, self.doing)

    def close(self) -> None:
        """Close the files."""
        self.kept.close()
        self.record.close()


def refuse_epoch(view: View, record: Record) -> str | None:
    """Return why a witness does not enter an epoch; None: it may."""
    if record.voters.get(view.node) != view.disk:
        return f"this disk, {view.disk}, is no voter of epoch {record.epoch}"
    if record.leader == view.node:
        return f"{view.node} never leads"
    last, promise = view.record, view.promise
    if last is not None and (
        last.epoch > record.epoch or (last.epoch == record.epoch and last != record)
    ):
        return f"epoch {last.epoch} has begun"
    if promise.epoch > record.epoch or (
        promise.epoch == record.epoch and promise.candidate != record.leader
    ):
        return f"epoch {promise.epoch} has been promised to {promise.candidate}"
    return None


def _count(entries: int) -> str:
    return "1 entry" if entries == 1 else f"{entries} entries"
