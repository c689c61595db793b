"""How a catalog finds and keeps its place when there is a backup server.

Law: a leader whose second is silent takes another second; a second whose leader is silent takes the
lead; whoever was left out drops what the others went on without, and catches up before it is
counted again. How an epoch is taken, and what it takes, is in `election.py`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

from catalog import membership, store
from catalog.disk import guard
from catalog.election import Election
from catalog.replication import (
    ALONE,
    FOLLOWING,
    LEADING,
    RECOVERING,
    REFUSING,
    Record,
    Step,
    View,
)
from catalog.transport import LEASE_TIMEOUT_S, SUSPICION_S
from common.errors import Problem
from common.peer import PeerDown

log = logging.getLogger("bazar")

READMIT_BEHIND_MAX = 256  # entries: fetched in much less than a second


class Trio(Election):
    """The ticker of a catalog node with a backup server."""

    def _step(self) -> None:
        node, record = self._node, self._node.record.record
        if node.status == FOLLOWING and node.asked_to_lead == node.epoch:
            node.asked_to_lead = 0
            self._take(only_peer=True)
        elif node.status == FOLLOWING:
            self._hold_lease()
        elif node.leads and node.yielding_to:
            self._heard_at = node.clock.now()  # it says nothing, so nobody is silent
        elif node.leads and record is not None and not record.voters:
            self._heartbeat()  # a pair that has just been given a backup server
            if node.peer_following:
                self._take()
        elif node.leads:
            self._keep_second()
        else:
            self._find_place()

    # --- as the second ---

    def _hold_lease(self) -> None:
        """Ask the leader for the right to answer reads; give up on a leader that is silent."""
        node, record = self._node, self._node.record.record
        assert record is not None
        if not record.voters:
            return
        sent_at = node.clock.now()
        try:
            granted = self._transport.lease(node.peer, record.epoch)
        except PeerDown:
            if self._late():
                self._leave(record, f"{node.peer} is silent")
            return
        except Problem as problem:
            self._leave(record, problem.detail)
            return
        if granted is None and not self._late():  # a second enters an epoch before its leader does
            return
        self._heard_at = node.clock.now()
        if granted:
            node.hold(record, sent_at)
        else:
            self._leave(record, f"{node.peer} leads another epoch, or is about to")

    def _leave(self, record: Record, why: str) -> None:
        node = self._node
        with node.lock:
            if node.status == FOLLOWING and node.record.record == record:
                node.become(ALONE, why)

    # --- as the leader ---

    def _keep_second(self) -> None:
        """Heartbeat; take another second when this one is silent, the peer once it is ready."""
        node, second = self._node, self._node.second
        held = self._beat(second)
        if not node.leads:
            return
        if held:
            self._heard_at = node.clock.now()
        frozen = node.record.promise.epoch > node.epoch
        if frozen or self._late():
            self._take(only_peer=frozen and node.clock.now() < self._readmit_until)
        elif second == self._backup:
            self._readmit_peer()
        else:
            self._inform_backup()

    def _readmit_peer(self) -> None:
        """Count the peer again once it has nearly caught up: it does the rest while nothing can
        commit here.
        """
        node = self._node
        view = self._state_of(node.peer)
        if view is None or view.record is None or not view.checked or view.status != ALONE:
            return
        if view.end.seq + READMIT_BEHIND_MAX >= node.end().seq:
            self._readmit_until = node.clock.now() + SUSPICION_S
            self._take(only_peer=True)

    def _inform_backup(self) -> None:
        """Let the backup know the epoch and the position, and delete what nobody misses."""
        node, record = self._node, self._node.record.record
        assert record is not None
        try:
            view = self._transport.commit(self._backup, record.epoch, node.end(), LEASE_TIMEOUT_S)
        except PeerDown:
            return
        if self._deposed_by(view):
            return
        if record.voters.get(view.node) != view.disk:
            self._take()  # a new disk: it gets its vote by a new epoch
        elif view.record == record:
            self._transport.release(self._backup, record.epoch)
        else:
            self._tell_epoch(view)

    def _tell_epoch(self, backup: View) -> None:
        """Tell a backup that was away of this node's epoch: it may be asked for its vote."""
        node, record = self._node, self._node.record.record
        if record is None or backup.node in record.members:
            return
        known = backup.record.epoch if backup.record else 0
        if known < record.epoch and record.voters.get(backup.node) == backup.disk:
            self._transport.follow(backup.node, node.record.cluster, record, node.end(), node.end())

    # --- otherwise ---

    def _find_place(self) -> None:
        node = self._node
        mine = node.view()
        peer, backup = self._state_of(node.peer), self._state_of(self._backup)
        if peer is not None:
            self._heard_at = node.clock.now()
        if node.view() != mine:
            return  # the views are not of one moment; the next tick compares anew
        if backup is not None:
            self._tell_epoch(backup)
        verdict = membership.decide(mine, peer, backup, self._first, late=self._late())
        node.checked = node.checked or bool(peer or backup)
        steps: Mapping[Step, Callable[[], None]] = {
            Step.LEAD: self._take,
            Step.REFUSE: lambda: node.become(REFUSING, verdict.why),
            Step.WAIT: lambda: self._wait(verdict.why),
        }
        if verdict.step in steps:
            steps[verdict.step]()
        elif verdict.step is Step.FOUND:
            assert peer is not None
            assert backup is not None
            self._found_three(peer, backup)
        else:
            assert peer is not None
            self._beside(verdict.step, peer, verdict.why)

    def _beside(self, step: Step, leader: View, why: str) -> None:
        if step is Step.REFILL:
            self._refill(leader, why)
        elif step is Step.FOLLOW:
            self._follow(leader)
        else:
            self._rejoin(leader)

    def _wait(self, why: str) -> None:
        node = self._node
        filled = node.record.record is not None
        node.become(ALONE if filled else RECOVERING, why)

    def _found_three(self, peer: View, backup: View) -> None:
        node = self._node
        cluster = f"{node.random.getrandbits(64):016x}"
        members = {node.name: node.record.disk, peer.node: peer.disk}
        record = Record(1, node.name, members, node.lease_s, members | {backup.node: backup.disk})
        for name in (node.peer, self._backup):
            self._transport.follow(name, cluster, record, node.end(), node.end())
        with node.lock, guard(node):
            node.record.enter(cluster, record)
            node.peer_following = True
        node.become(LEADING, "founded the cluster")
        self._beat(node.peer)

    def _rejoin(self, leader: View) -> None:
        """Drop what the others have gone on without, catch up, and wait to be counted."""
        node = self._node
        if node.end().seq > leader.end.seq:
            node.become(ALONE, f"{leader.node} has yet to complete entry {node.end().seq}")
            return
        try:
            entries = self._transport.entries(node.peer, node.end().seq)
            if node.end().seq == leader.end.seq and node.end() != leader.end:
                raise Problem("diverged", f"entry {node.end().seq} is another one at {leader.node}")
            # What is prepared here goes in the step that brings what took its place, no earlier: a
            # leader that had committed it before it restarted shows it already, and this node's old
            # right to read may not have ended.
            for entry in entries:
                self._apply(entry)
            if not entries:
                with node.lock:
                    node.write(lambda db: store.discard_prepared(db))
        except Problem as problem:
            if problem.code not in ("too-far-behind", "diverged"):
                raise
            self._refill(leader, problem.detail)
            return
        node.become(ALONE, f"caught up with {leader.node}")
