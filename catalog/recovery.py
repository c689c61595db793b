"""How a node finds its place: it meets its peer, then founds, refills, leads or follows.

Law: every node starts recovering; the highest epoch record wins; digests are compared before a copy
serves beside another one; a leader has the peer's promise before it looks at what the peer holds.
"""

from __future__ import annotations

import logging
from pathlib import Path

import apsw

from catalog import store
from catalog.membership import Candidacy
from catalog.model import Entry
from catalog.node import Node, guard, open_catalog
from catalog.replication import (
    ALONE,
    FOLLOWING,
    LEADING,
    RECOVERING,
    REFUSING,
    Promise,
    Record,
    Step,
    View,
    assess,
)  # fmt: skip
from catalog.sessions import DRIFT
from catalog.transport import Transport
from common.database import Corrupt
from common.errors import Problem
from common.peer import PeerDown

log = logging.getLogger("bazar")

REFUSED_RETRY_S = 5.0  # how often a node that refuses looks whether a person has mended things


class Recovery:
    """The ticker of a catalog node: recovers until it leads or follows, then keeps watch."""

    def __init__(self, node: Node, transport: Transport, *, first: str, folder: Path) -> None:
        self._node = node
        self._transport = transport
        self._first = first
        self._download = folder / "refill.db"
        self._not_before = 0.0

    def tick(self) -> None:
        """Take one step: a leader's heartbeat, or a step of recovery."""
        node = self._node
        if node.halted or node.status == FOLLOWING or (node.writing and not node.leads):
            return
        if node.status == REFUSING and node.clock.now() < self._not_before:
            return
        try:
            self._heartbeat() if node.leads else self._meet()
        except PeerDown as error:
            self._on_silence(str(error))
        except Problem as problem:
            node.peer_following = False
            log.info("recovery waits: %s", problem)
            if problem.code == "foreign-cluster" and not node.leads:
                node.become(REFUSING, problem.detail)
        if node.status == REFUSING:
            self._not_before = node.clock.now() + REFUSED_RETRY_S

    def _on_silence(self, why: str) -> None:
        """Without its peer a member still answers reads of clean keys: nothing can have been
        written without it.
        """
        node = self._node
        node.peer_following = False
        record = node.record.record
        if node.status == RECOVERING and record and record.counts(node.name, node.record.disk):
            node.become(ALONE, f"{node.peer} does not answer")
        elif node.status == RECOVERING:
            node.become(RECOVERING, f"waiting for {node.peer}: {why}")

    def _heartbeat(self) -> None:
        node = self._node
        peer = self._transport.commit(node.peer, node.epoch, node.end())
        record = node.record.record
        counts = record is not None and record.counts(peer.node, peer.disk)
        node.peer_following = counts and peer.status == FOLLOWING and peer.record == record
        # The peer came back on a new disk, or on a copy from before this epoch: make it a member by
        # a new epoch, and go on once begun.
        if not counts or peer.record != record or node.record.promise.epoch > node.epoch:
            self._meet()

    def _meet(self) -> None:
        node = self._node
        mine = node.view()
        peer = self._transport.state(node.peer)
        if node.view() != mine:
            return  # the two views are not of one moment; the next tick compares anew
        verdict = assess(mine, peer, self._first)
        if verdict.step is Step.REFUSE:
            node.become(REFUSING, verdict.why)
        elif verdict.step is Step.FOUND:
            self._found(peer)
        elif verdict.step is Step.REFILL:
            self._refill(peer, verdict.why)
        elif verdict.step is Step.LEAD:
            node.checked = True
            self._lead(peer)
        elif verdict.step is Step.FOLLOW:
            self._follow(peer)
        else:
            self._wait(verdict.why)

    def _wait(self, why: str) -> None:
        """The peer has to act first. A member goes on answering reads meanwhile."""
        record = self._node.record.record
        if self._node.leads:
            return
        if record and record.counts(self._node.name, self._node.record.disk):
            self._node.checked = True
            self._node.become(ALONE, why)
        else:
            self._node.checked = record is not None
            self._node.become(RECOVERING, why)

    # --- found ---

    def _found(self, peer: View) -> None:
        node = self._node
        cluster = f"{node.random.getrandbits(64):016x}"
        members = {node.name: node.record.disk, peer.node: peer.disk}
        record = Record(1, node.name, members, node.lease_s)
        self._transport.follow(node.peer, cluster, record, node.end(), node.end())
        with node.lock, guard(node):
            node.record.enter(cluster, record)
            node.checked = True
            node.peer_following = True
        # No process before this one can have granted a lease in this cluster, so nothing is waited
        # for.
        node.become(LEADING, "founded the cluster")

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

    # --- lead ---

    def _lead(self, peer: View) -> None:
        """Take the next epoch. A leader does so, too, when its replica has a new disk: nothing may
        commit meanwhile, or the new disk could enter the epoch without it.
        """
        node = self._node
        try:
            self._take_epoch(peer)
        finally:
            node.become(node.status, node.why)  # wake the writer

    def _take_epoch(self, peer: View) -> None:
        """Promise, then look, adopt, settle, compare, and make the epoch durable at both."""
        node = self._node
        was_leading, old = node.leads, node.record.record
        assert old is not None
        theirs = peer.record.epoch if peer.record else 0
        promised = max(peer.promise.epoch, node.record.promise.epoch)
        promise = Promise(1 + max(promised, theirs, node.epoch), node.name)
        with node.lock, guard(node):
            node.record.agree(promise)
        asked = Candidacy(promise.epoch, node.name, node.record.disk, node.view().tail)
        peer = self._transport.promise(node.peer, asked)
        if assess(node.view(), peer, self._first).step is not Step.LEAD:
            raise Problem("unavailable", f"{peer.node} changed while it promised; once more")
        adopted = None if was_leading else self._adopt(peer)
        if peer.prepared == node.end():
            self._transport.commit(node.peer, promise.epoch, node.end())
        if not self._same_digest():
            raise Problem("unavailable", f"{peer.node} is not at this node's position; once more")
        members = {node.name: node.record.disk, peer.node: peer.disk}
        record = Record(promise.epoch, node.name, members, max(old.lease_s_max, node.lease_s))
        tail = adopted.position if adopted else node.end()
        self._transport.follow(node.peer, node.record.cluster, record, node.end(), tail)
        with node.lock, guard(node):
            node.record.enter(node.record.cluster, record)
            node.peer_following = True
            if not was_leading:
                node.adopted = adopted
                # Every lease a predecessor granted has ended by then: it was gone when we started.
                node.no_commit_before = node.started_at + old.lease_s_max * DRIFT
        node.become(LEADING, f"epoch {promise.epoch}")

    def _adopt(self, peer: View) -> Entry | None:
        """Take over what the peer has prepared beyond this log: it may have been answered. Its keys
        are dirty here, too.
        """
        node = self._node
        end = node.end()
        entry = self._transport.prepared() if peer.prepared else None
        if entry is None or entry.position.seq <= end.seq:
            entry = None
        elif not entry.follows(end):
            raise Problem(
                "diverged", f"what {peer.node} has prepared does not follow entry {end.seq}"
            )
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
