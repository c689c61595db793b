"""How a catalog takes an epoch, with the promise of a second voter.

Law: it has the promises of two voters and all that the last epoch can have committed; the epoch is
durable at both its members before anything commits in it; and before its first commit every right
to read that this node has granted has ended.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import apsw

from catalog import membership, store
from catalog.disk import guard
from catalog.membership import Candidacy
from catalog.model import Entry
from catalog.node import Node
from catalog.pair import Pair
from catalog.replication import ALONE, LEADING, RECOVERING, Promise, Record, View
from catalog.transport import LEASE_TIMEOUT_S, SUSPICION_S, Transport
from common.errors import Problem
from common.peer import PeerDown
from common.position import Position

log = logging.getLogger("bazar")


class Election(Pair):
    """What leads to an epoch, and what its leader hears of its second."""

    def __init__(
        self, node: Node, transport: Transport, *, backup: str, first: str, folder: Path
    ) -> None:
        super().__init__(node, transport, first=first, folder=folder)
        self._backup = backup
        self._heard_at = node.clock.now()  # the other member or, without a place, the peer
        self._lost_entries = False
        self._readmit_until = 0.0  # a leader that stands still for its peer waits no longer

    def _on_silence(self, why: str) -> None:
        log.info("recovery waits: %s", why)

    def _on_problem(self, problem: Problem) -> None:
        pass  # the next step asks anew

    def _late(self) -> bool:
        return self._node.clock.now() - self._heard_at >= SUSPICION_S

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
            node.hold(record, sent_at)
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

    def _state_of(self, name: str) -> View | None:
        try:
            return self._transport.state(name, LEASE_TIMEOUT_S)
        except PeerDown:
            return None

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
        if not was_leading and self._lost_entries:
            self._give_up_this_disk()
            return
        heard = [view.record for view in (*views.values(), *votes.values())]
        known = membership.latest([old, *heard])
        assert known is not None
        voters = dict(known.voters or known.members)
        if not any(voters.get(name) == view.disk for name, view in votes.items()):
            raise Problem("unavailable", f"nobody votes for {node.name} in epoch {asked.epoch}")
        if was_leading and known != old:
            node.become(ALONE, f"epoch {known.epoch} has begun elsewhere")
            return
        adopted = None if was_leading else self._complete(known, votes)
        # What a leader's own second has prepared is on its way now, or adopted: it goes on.
        held = None if adopted is None else adopted.position
        peer = votes.get(node.peer)
        # It has missed the COMMIT; where the backup has no vote there is no other second.
        if not was_leading and peer is not None and peer.prepared == node.end():
            votes[node.peer] = peer = self._transport.commit(node.peer, asked.epoch, node.end())
        counts = was_leading and peer is not None and known.counts(peer.node, peer.disk)
        second = self._choose(votes, voters, only_peer, lambda it: counts or it in (None, held))
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
        """Return who promised, and what each held at that moment; note whether somebody knows that
        this disk has held more.
        """
        votes = {}
        self._lost_entries = False
        for name in names:
            try:
                votes[name] = self._transport.promise(name, asked)
            except PeerDown as error:
                log.info("no vote from %s: %s", name, error)
            except Problem as problem:
                log.info("no vote from %s: %s", name, problem)
                self._lost_entries |= bool(problem.members.get("lost"))
        return votes

    def _give_up_this_disk(self) -> None:
        """Become a new disk: this one was rolled back, so neither its vote nor its log counts."""
        node = self._node
        log.error("this disk was rolled back: it will be refilled")
        with node.lock, guard(node):
            node.record.become_new_disk(node.record.cluster)
        node.become(RECOVERING, "this disk was rolled back")

    def _complete(self, known: Record, votes: Mapping[str, View]) -> Entry | None:
        """Get all that the last epoch can have committed; return the entry that may not be: it is
        rolled forward.
        """
        node = self._node
        holders = [name for name, view in votes.items() if known.counts(name, view.disk)]
        if known.counts(node.name, node.record.disk):
            if node.peer in holders and known.leader == node.name:
                return self._adopt(votes[node.peer])
            # A second has acknowledged what it has prepared: its leader may have committed it, also
            # one that votes. What the backup holds beyond a leader's log was never committed.
            return self._hold(self._prepared())
        if self._backup not in holders:
            raise Problem("unavailable", f"{node.name} lacks what epoch {known.epoch} committed")
        entries = self._missing(votes[self._backup])
        for entry in entries[:-1]:
            self._apply(entry)
        return self._hold(entries[-1] if entries else None)

    def _missing(self, backup: View) -> list[Entry]:
        """Return what this log lacks: what the backup has kept, after what is prepared here if that
        is where the backup began.
        """
        prepared = self._prepared()
        try:
            return self._transport.entries(self._backup, self._node.end().seq)
        except Problem as problem:
            if problem.code != "too-far-behind" or prepared is None:
                raise
        kept = self._transport.entries(self._backup, prepared.position.seq)
        if not (kept[0].follows(prepared.position) if kept else backup.end == prepared.position):
            raise Problem("too-far-behind", "what is prepared here is not where the backup began")
        return [prepared, *kept]

    def _prepared(self) -> Entry | None:
        with self._node.db.read() as db:
            return store.prepared(db)

    def _apply(self, entry: Entry) -> None:
        node = self._node
        if not entry.follows(node.end()):
            raise Problem("diverged", f"entry {entry.position.seq} does not follow the log here")
        with node.lock:
            node.write(lambda db: _apply_kept(db, entry))

    def _choose(
        self, votes: Mapping[str, View], voters: Mapping[str, str], only_peer: bool,
        goes_on: Callable[[Position | None], bool],
    ) -> str:  # fmt: skip
        """Return the peer if it is a full copy, else the backup."""
        node = self._node
        peer = votes.get(node.peer)
        fits = peer is not None and peer.end == node.end() and goes_on(peer.prepared)
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
