"""How a node finds its place: what every catalog does, with a backup server or without.

Law: every node starts recovering; a copy becomes a new disk before it is filled, and digests are
compared before it serves beside another one. Who leads is decided in `pair.py` and `trio.py`.
"""

from __future__ import annotations

import logging
from pathlib import Path

import apsw

from catalog import store
from catalog.disk import guard, open_catalog
from catalog.model import Entry
from catalog.node import Node
from catalog.replication import ALONE, FOLLOWING, LEADING, RECOVERING, REFUSING, View
from catalog.transport import Transport
from common.database import Corrupt
from common.errors import Problem
from common.peer import PeerDown

log = logging.getLogger("bazar")

REFUSED_RETRY_S = 5.0  # how often a node that refuses looks whether a person has mended things


class Recovery:
    """The ticker of a catalog node, but for the step it takes."""

    def __init__(self, node: Node, transport: Transport, *, first: str, folder: Path) -> None:
        self._node = node
        self._transport = transport
        self._first = first
        self._download = folder / "refill.db"
        self._not_before = 0.0

    def tick(self) -> None:
        """Take one step: a leader's heartbeat, or a step of recovery."""
        node = self._node
        if node.halted or (node.writing and not node.leads):
            return
        if node.status == REFUSING and node.clock.now() < self._not_before:
            return
        try:
            self._step()
        except PeerDown as error:
            self._on_silence(str(error))
        except Problem as problem:
            log.info("recovery waits: %s", problem)
            self._on_problem(problem)
        if node.status == REFUSING:
            self._not_before = node.clock.now() + REFUSED_RETRY_S

    def _step(self) -> None:
        raise NotImplementedError

    def _on_silence(self, why: str) -> None:
        """Go on from the silence of one that was asked."""
        raise NotImplementedError

    def _on_problem(self, problem: Problem) -> None:
        """Go on from a refusal, which has been logged."""
        raise NotImplementedError

    # --- refill ---

    def _refill(self, peer: View, why: str) -> None:
        """Become a new disk and copy everything; crash-safe, for without a record only a refill can
        follow.
        """
        node = self._node
        log.warning("refilling from %s: %s", peer.node, why)
        node.become(RECOVERING, f"refilling from {peer.node}: {why}")
        with node.lock, guard(node):
            node.record.become_new_disk(peer.cluster)
        self._transport.fetch_snapshot(self._download)
        try:
            open_catalog(self._download).close()
        except Corrupt as error:
            raise Problem("unavailable", f"the snapshot is damaged: {error}") from error
        with node.lock, guard(node):
            node.db.replace_by(self._download)
        self._download.unlink()
        peer = self._transport.state(node.peer)
        if peer.record is None or not self._same_digest():
            raise Problem("unavailable", f"{peer.node} moved on while it was copied; once more")
        with node.lock, guard(node):
            node.record.filled_from(peer.record, peer.promise)
        log.info("refilled: entry %d", node.end().seq)

    def _same_digest(self) -> bool:
        """Compare the copies; False when they are not at one position now. A difference is refused
        loudly.
        """
        theirs, ours = self._transport.digest(), self._node.digest()
        if theirs[0] != ours[0]:
            return False
        if theirs[1] != ours[1]:
            why = (
                f"the copies differ at entry {ours[0].seq}: keep the right one,"
                " empty the other's data folder"
            )
            self._node.become(REFUSING, f"diverged: {why}")
            raise Problem("diverged", why)
        return True

    # --- follow ---

    def _follow(self, leader: View) -> None:
        """Catch up with a leader of this very epoch and serve beside it; otherwise be ready to
        promise.
        """
        node = self._node
        node.checked = True
        if leader.status != LEADING or leader.record != node.record.record:
            node.become(ALONE, f"{leader.node} is {leader.status}")
            return
        self._catch_up()
        if self._same_digest():
            node.become(FOLLOWING, f"{leader.node} leads")

    def _catch_up(self) -> None:
        for entry in self._transport.entries(self._node.peer, self._node.end().seq):
            with self._node.lock:
                self._node.write(lambda db, entry=entry: _apply_next(db, entry))  # type: ignore[misc]

    # --- what may have been answered ---

    def _adopt(self, peer: View) -> Entry | None:
        """Take over what the peer has prepared beyond this log: it may have been answered."""
        entry = self._transport.prepared() if peer.prepared else None
        if entry is not None and entry.position.seq <= self._node.end().seq:
            entry = None
        return self._hold(entry)

    def _hold(self, entry: Entry | None) -> Entry | None:
        """Hold an entry as prepared: its keys are dirty here until it is committed anew."""
        node = self._node
        if entry is not None and not entry.follows(node.end()):
            raise Problem("diverged", f"entry {entry.position.seq} does not follow the log here")
        with node.lock:
            node.write(lambda db: _hold_prepared(db, entry))
        return entry


def _hold_prepared(db: apsw.Connection, entry: Entry | None) -> None:
    store.discard_prepared(db)
    if entry is not None:
        store.prepare(db, entry)


def _apply_next(db: apsw.Connection, entry: Entry) -> None:
    if entry.follows(store.end(db)):
        store.apply(db, entry)
