"""How a catalog finds and keeps its place beside one other, without a backup server.

Law: the highest epoch record wins and names the leader; a leader has the peer's promise before it
looks at what the peer holds; nothing commits without both, so either of them has everything.
"""

from __future__ import annotations

import logging

from catalog.disk import guard
from catalog.membership import Candidacy
from catalog.recovery import Recovery
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
from common.errors import Problem
from common.position import Position

log = logging.getLogger("bazar")


class Pair(Recovery):
    """The ticker of a catalog node: recovers until it leads or follows, then keeps watch."""

    def _step(self) -> None:
        node = self._node
        if node.leads and node.yielding_to:
            return  # the next leader says what comes of it
        if node.leads:
            self._heartbeat()
        elif node.status != FOLLOWING:
            self._meet()
        elif node.asked_to_lead == node.epoch:
            node.asked_to_lead = 0
            self._accept_lead()

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

    def _on_problem(self, problem: Problem) -> None:
        self._node.peer_following = False
        if problem.code == "foreign-cluster" and not self._node.leads:
            self._node.become(REFUSING, problem.detail)

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
        theirs = max(peer.promise.epoch, peer.record.epoch if peer.record else 0)
        with node.lock, guard(node):
            epoch = 1 + max(theirs, node.record.promise.epoch, node.epoch)
            node.record.agree(Promise(epoch, node.name))
        asked = Candidacy(epoch, node.name, node.record.disk, node.view().tail)
        peer = self._transport.promise(node.peer, asked)
        if assess(node.view(), peer, self._first).step is not Step.LEAD:
            raise Problem("unavailable", f"{peer.node} changed while it promised; once more")
        adopted = None if was_leading else self._adopt(peer)
        if peer.prepared == node.end():
            self._transport.commit(node.peer, epoch, node.end())
        if not self._same_digest():
            raise Problem("unavailable", f"{peer.node} is not at this node's position; once more")
        self._enter_pair(epoch, peer, adopted.position if adopted else node.end())
        if not was_leading:
            node.adopted = adopted
            # Every lease a predecessor granted has ended by then: it was gone when we started.
            node.no_commit_before = node.started_at + old.lease_s_max * DRIFT
        node.become(LEADING, f"epoch {epoch}")

    def _enter_pair(self, epoch: int, peer: View, tail: Position) -> None:
        """Make an epoch of this leader durable at both: at the peer first."""
        node, old = self._node, self._node.record.record
        assert old is not None
        members = {node.name: node.record.disk, peer.node: peer.disk}
        record = Record(epoch, node.name, members, max(old.lease_s_max, node.lease_s))
        self._transport.follow(node.peer, node.record.cluster, record, node.end(), tail)
        with node.lock, guard(node):
            node.record.enter(node.record.cluster, record)
            node.peer_following = True

    def _accept_lead(self) -> None:
        """Take the next epoch from a leader that hands over. It has ended every session and has
        said what it committed, so nothing is adopted or waited for; its promise comes first, so
        that it goes on, in another epoch, when this comes to nothing.
        """
        node, old = self._node, self._node.record.record
        assert old is not None
        try:
            epoch = 1 + max(old.epoch, node.record.promise.epoch)
            asked = Candidacy(epoch, node.name, node.record.disk, node.end())
            peer = self._transport.promise(node.peer, asked)
            if peer.record != old or node.view().prepared or not self._same_digest():
                raise Problem("unavailable", f"{peer.node} has gone on meanwhile")
            with node.lock, guard(node):
                if node.record.promise.epoch >= epoch:
                    raise Problem("fenced", f"epoch {node.record.promise.epoch} has been promised")
                node.record.agree(Promise(epoch, node.name))
            self._enter_pair(epoch, peer, node.end())
            node.become(LEADING, f"epoch {epoch}, handed over by {peer.node}")
        finally:
            if not node.leads:
                node.become(ALONE, f"{node.peer} has to lead first")  # and is met again
