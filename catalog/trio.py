"""How a catalog finds and keeps its place when there is a backup server.

Law: an epoch is taken with the promises of two voters, by a catalog that has all that the last
epoch can have committed; it is durable at both its members before anything commits in it. A leader
whose second is silent takes another second; a second whose leader is silent takes the lead. Whoever
was granted a read lease is waited for before the first commit that it does not hear of.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import apsw

from catalog import membership, store
from catalog.membership import Candidacy
from catalog.model import Entry
from catalog.node import Node, guard
from catalog.recovery import REFUSED_RETRY_S, Recovery
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
)
from catalog.transport import LEASE_TIMEOUT_S, SUSPICION_S, Transport
from common.errors import Problem
from common.peer import PeerDown

log = logging.getLogger("bazar")

READMIT_BEHIND_MAX = 256  # entries: fetched in much less than a second


class Trio(Recovery):
    """The ticker of a catalog node with a backup server."""

    def __init__(
        self, node: Node, transport: Transport, *, backup: str, first: str, folder: Path
    ) -> None:
        super().__init__(node, transport, first=first, folder=folder)
        self._backup = backup
        self._heard_at = node.clock.now()  # the other member or, without a place, the peer
        self._readmit_until = 0.0  # a leader that stands still for its peer waits no longer

    def tick(self) -> None:
        """Take one step: hold the lease, keep the second, or find a place."""
        node = self._node
        if node.halted or (node.writing and not node.leads):
            return
        if node.status == REFUSING and node.clock.now() < self._not_before:
            return
        try:
            self._step()
        except PeerDown as error:
            log.info("recovery waits: %s", error)
        except Problem as problem:
            log.info("recovery waits: %s", problem)
        if node.status == REFUSING:
            self._not_before = node.clock.now() + REFUSED_RETRY_S

    def _step(self) -> None:
        node, record = self._node, self._node.record.record
        if node.status == FOLLOWING and node.asked_to_lead == node.epoch:
            node.asked_to_lead = 0
            self._take(only_peer=True)
        elif node.status == FOLLOWING:
            self._hold_lease()
        elif node.leads and node.yielding_to:
            return
        elif node.leads and record is not None and not record.voters:
            self._heartbeat()  # a pair that has just been given a backup server
            if node.peer_following:
                self._take()
        elif node.leads:
            self._keep_second()
        else:
            self._find_place()

    def _late(self) -> bool:
        return self._node.clock.now() - self._heard_at >= SUSPICION_S

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
        self._heard_at = node.clock.now()
        if granted:
            node.hold(sent_at)
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

    def _beat(self, second: str) -> bool:
        """Tell the second what is committed; return whether it granted a lease."""
        node, record, sent_at = self._node, self._node.record.record, self._node.clock.now()
        assert record is not None
        try:
            view = self._transport.commit(second, node.epoch, node.end(), LEASE_TIMEOUT_S)
        except PeerDown:
            return False
        if self._deposed_by(view):
            return False
        granted = view.record == record and membership.grants(view, record.epoch)
        if granted:
            node.hold(sent_at)
        node.peer_following = granted
        return granted

    def _deposed_by(self, view: View) -> bool:
        """Stop leading when another catalog has taken the next epoch."""
        node, record = self._node, view.record
        later = record is not None and record.epoch > node.epoch and record.leader != node.name
        if later:
            node.peer_following = False
            node.become(ALONE, f"{view.node} knows of epoch {record.epoch}" if record else "")
        return later

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

    def _state_of(self, name: str) -> View | None:
        try:
            return self._transport.state(name, LEASE_TIMEOUT_S)
        except PeerDown:
            return None

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
        with node.lock:
            node.write(lambda db: store.discard_prepared(db))
        try:
            entries = self._transport.entries(node.peer, node.end().seq)
            if node.end().seq == leader.end.seq and node.end() != leader.end:
                raise Problem("diverged", f"entry {node.end().seq} is another one at {leader.node}")
            for entry in entries:
                self._apply(entry)
        except Problem as problem:
            if problem.code not in ("too-far-behind", "diverged"):
                raise
            self._refill(leader, problem.detail)
            return
        node.become(ALONE, f"caught up with {leader.node}")

    # --- taking an epoch ---

    def _take(self, *, only_peer: bool = False) -> None:
        try:
            self._take_next(only_peer)
        finally:
            self._node.become(self._node.status, self._node.why)  # wake the writer

    def _take_next(self, only_peer: bool) -> None:
        """Promise, gather a vote, be complete, choose a second, make the epoch durable at both."""
        node, was_leading = self._node, self._node.leads
        mine, old = node.view(), node.record.record
        assert old is not None
        views = self._views()
        if was_leading and any(self._deposed_by(view) for view in views.values()):
            return
        if not views:
            raise Problem("unavailable", "nobody answers")  # a promise would bind this node alone
        asked = self._promise_itself(_next_epoch([mine, *views.values()]))
        votes = self._gather(asked, views)
        known = membership.latest([old, *(view.record for view in votes.values())])
        assert known is not None
        voters = dict(known.voters or known.members)
        if not any(voters.get(name) == view.disk for name, view in votes.items()):
            raise Problem("unavailable", f"nobody votes for {node.name} in epoch {asked.epoch}")
        if was_leading and known != old:
            node.become(ALONE, f"epoch {known.epoch} has begun elsewhere")
            return
        adopted = None if was_leading else self._complete(known, votes)
        second = self._choose(votes, voters, adopted, only_peer)
        self._enter(asked.epoch, known, voters, votes, second, adopted, was_leading)

    def _promise_itself(self, epoch: int) -> Candidacy:
        """Promise an epoch; return the request for the others' promises, with what is held then: a
        leader may have committed one more entry until then, and have told the backup.
        """
        node = self._node
        with node.lock, guard(node):
            node.record.agree(Promise(epoch, node.name))
            return Candidacy(epoch, node.name, node.record.disk, node.view().tail)

    def _views(self) -> dict[str, View]:
        """Return what the others say of themselves, those who answer."""
        found = {name: self._state_of(name) for name in (self._backup, self._node.peer)}
        return {name: view for name, view in found.items() if view is not None}

    def _gather(self, asked: Candidacy, names: Iterable[str]) -> dict[str, View]:
        """Return who promised, and what each held at that moment."""
        votes = {}
        for name in names:
            try:
                votes[name] = self._transport.promise(name, asked)
            except (PeerDown, Problem) as error:
                log.info("no vote from %s: %s", name, error)
        return votes

    def _complete(self, known: Record, votes: Mapping[str, View]) -> Entry | None:
        """Get all that the last epoch can have committed; return the entry that may not be: it is
        rolled forward.
        """
        node = self._node
        holders = [name for name, view in votes.items() if known.counts(name, view.disk)]
        if known.counts(node.name, node.record.disk):
            if node.peer in holders:
                return self._adopt(votes[node.peer])
            # What the backup holds beyond this log was never committed: its leader was this node.
            return self._hold(self._prepared())
        if self._backup not in holders:
            raise Problem("unavailable", f"{node.name} lacks what epoch {known.epoch} committed")
        entries = self._transport.entries(self._backup, node.end().seq)
        for entry in entries[:-1]:
            self._apply(entry)
        return self._hold(entries[-1] if entries else None)

    def _prepared(self) -> Entry | None:
        with self._node.db.read() as db:
            return store.prepared(db)

    def _apply(self, entry: Entry) -> None:
        node = self._node
        if not entry.follows(node.end()):
            raise Problem("diverged", f"entry {entry.position.seq} does not follow the log here")
        with node.lock:
            node.write(lambda db: _apply_kept(db, entry))

    def _hold(self, entry: Entry | None) -> Entry | None:
        """Hold an entry as prepared: its keys are dirty here until it is committed anew."""
        node = self._node
        if entry is not None and not entry.follows(node.end()):
            raise Problem("diverged", f"entry {entry.position.seq} does not follow the log here")
        with node.lock:
            node.write(lambda db: _hold_prepared(db, entry))
        return entry

    def _choose(
        self, votes: Mapping[str, View], voters: Mapping[str, str], adopted: Entry | None,
        only_peer: bool,
    ) -> str:  # fmt: skip
        """Return the peer if it is a full copy, else the backup."""
        node = self._node
        peer, held = votes.get(node.peer), adopted.position if adopted else None
        fits = peer is not None and peer.end == node.end() and peer.prepared in (None, held)
        if fits and self._same_digest():
            return node.peer
        if (
            not only_peer
            and self._backup in votes
            and voters.get(self._backup) == votes[self._backup].disk
        ):
            return self._backup
        raise Problem("unavailable", f"{node.peer} is not at this node's position; once more")

    def _enter(
        self, epoch: int, known: Record, voters: dict[str, str], votes: Mapping[str, View],
        second: str, adopted: Entry | None, was_leading: bool,
    ) -> None:  # fmt: skip
        node = self._node
        second_is_new = voters.get(second) != votes[second].disk
        members = {node.name: node.record.disk, second: votes[second].disk}
        voters |= members
        if self._backup not in voters or second == node.peer:
            voters |= self._backup_disk(voters)
        longest_s = max(known.lease_s_max, node.lease_s)
        record = Record(epoch, node.name, members, longest_s, voters)
        end, tail = node.end(), adopted.position if adopted else node.end()
        cluster = node.record.cluster
        third = self._backup if second == node.peer else node.peer
        if third == self._backup:
            self._tell_third(third, cluster, record, needed=second_is_new)
        self._transport.follow(second, cluster, record, end, tail)
        with node.lock, guard(node):
            node.record.enter(cluster, record)
            node.peer_following = True
            if not was_leading:
                node.adopted = adopted
            # Until then the one that was the other member may read, and caches on its word; and,
            # after a restart of this process, whoever it has granted a lease before that.
            node.no_commit_before = max(node.no_commit_before, node.granted_until)
        node.become(LEADING, f"epoch {epoch} with {second}")
        self._heard_at = node.clock.now()
        self._beat(second)

    def _backup_disk(self, voters: Mapping[str, str]) -> dict[str, str]:
        """Return the backup's present disk if it can be asked: a new one gets a vote."""
        view = self._state_of(self._backup)
        if view is None:
            return {}
        return {self._backup: view.disk}

    def _tell_third(self, name: str, cluster: str, record: Record, *, needed: bool) -> None:
        end = self._node.end()
        try:
            self._transport.follow(name, cluster, record, end, end)
        except (PeerDown, Problem) as error:
            if needed:  # two of the voters before this epoch have to know of it
                raise
            log.info("%s does not know of epoch %d yet: %s", name, record.epoch, error)


def _next_epoch(views: Iterable[View]) -> int:
    """Return a number above all that were promised or have begun, as far as is known."""
    return 1 + max(max(v.promise.epoch, v.record.epoch if v.record else 0) for v in views)


def _apply_kept(db: apsw.Connection, entry: Entry) -> None:
    store.discard_prepared(db)
    store.apply(db, entry)


def _hold_prepared(db: apsw.Connection, entry: Entry | None) -> None:
    store.discard_prepared(db)
    if entry is not None:
        store.prepare(db, entry)
