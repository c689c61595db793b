"""PURE: three voters, of which two hold every write (with the backup server).

Voters are the two catalogs and the backup, each on the disk that the last epoch names. The members
of an epoch are its leader and its second, one of the other two: an entry commits only when both
have it durably. A new epoch needs the durable promises of two voters, and is itself durable at two
of them before anything commits in it; so whoever gathers two promises hears of the last epoch that
can have committed anything, and one of the two holds all that it committed.

The ideas are Paxos's (promises, majorities), Vertical Paxos's (members chosen by epoch) and, for
the second that stores entries without applying them, the witness replicas of Harp and of Cheap
Paxos.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from catalog.replication import (
    FOLLOWING,
    KEEPING,
    LEADING,
    Promise,
    Record,
    Step,
    Verdict,
    View,
    differ_at,
    in_epoch,
    rolled_back,
)
from common.position import Position


@dataclass(frozen=True)
class Candidacy:
    """A catalog asks for a promise: which epoch, for whom, and what its disk holds."""

    epoch: int
    candidate: str
    disk: str
    tail: Position  # the last position it holds durably, applied or prepared

    def document(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return asdict(self) | {"tail": list(self.tail)}

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Candidacy:
        """Read what `document` wrote."""
        return cls(
            int(document["epoch"]), str(document["candidate"]), str(document["disk"]),
            Position(*document["tail"]),
        )  # fmt: skip


def refuse_vote(
    view: View, asked: Candidacy, *, reported: Position | None, leads: str | None
) -> str | None:
    """Return why a voter does not promise an epoch to a catalog; None: it may.

    `reported` is the highest position that this disk of the candidate's has ever told the voter;
    `leads` the node that holds a lease from the voter now: a leader that is heard is not deposed.
    """
    record = view.record
    if record is None:
        return "this disk has no vote: it has not been admitted"
    if record.voters.get(asked.candidate) != asked.disk:
        return f"{asked.candidate} is no voter on disk {asked.disk}"
    if leads not in (None, asked.candidate):
        return f"{leads} leads, and is heard here"
    if asked.epoch <= record.epoch:
        return f"epoch {record.epoch} has begun"
    if reported is not None and asked.tail.seq < reported.seq:
        return f"{asked.candidate} has lost entries: it has reported entry {reported.seq} before"
    if view.promise == Promise(asked.epoch, asked.candidate):
        return None
    if asked.epoch <= view.promise.epoch:
        return f"epoch {view.promise.epoch} has been promised"
    return None


def grants(view: View, epoch: int) -> bool:
    """Tell whether a second, by its view at a leader's heartbeat, has granted it a read lease."""
    return in_epoch(view, epoch) and view.status in (FOLLOWING, KEEPING)


def decide(me: View, peer: View | None, backup: View | None, first: str, *, late: bool) -> Verdict:
    """Decide what a catalog does that neither leads nor follows; None: that one does not answer.

    `first` is the node that leads a new cluster; `late`: the peer has been silent for so long that
    it is taken for dead.
    """
    others = [view for view in (peer, backup) if view is not None]
    if refusal := _misfit(me, others):
        return Verdict(Step.REFUSE, refusal)
    if not any(view.cluster for view in (me, *others)):
        if peer is None or backup is None:
            return Verdict(Step.WAIT, "a new shop opens when all three have met")
        return Verdict(Step.FOUND if me.node == first else Step.WAIT, "all disks are empty")
    if me.record is None:
        if peer is not None and peer.record is not None:
            return Verdict(Step.REFILL, "this disk is empty or cannot be trusted")
        if peer is not None and backup is not None:
            return Verdict(Step.REFUSE, "both catalogs' disks were lost: restore one from a copy")
        return Verdict(Step.WAIT, "this disk is empty, and the peer is needed to refill it")
    record = latest(view.record for view in (me, *others))
    assert record is not None
    if peer is not None and peer.status == LEADING and peer.record == record:
        step = Step.FOLLOW if record.counts(me.node, me.disk) else Step.REJOIN
        return Verdict(step, f"{peer.node} leads")
    return _among_idle(me, peer, backup, record, late=late)


def latest(records: Iterable[Record | None]) -> Record | None:
    """Return the record of the highest epoch."""
    return max(filter(None, records), key=lambda record: record.epoch, default=None)


def _misfit(me: View, others: Iterable[View]) -> str | None:
    for other in others:
        if other.schema != me.schema:
            return f"schema {me.schema} here, {other.schema} at {other.node}: run one version"
        if me.cluster and other.cluster and me.cluster != other.cluster:
            return f"{other.node} holds another cluster's data ({other.cluster})"
    return None


def _among_idle(
    me: View, peer: View | None, backup: View | None, record: Record, *, late: bool
) -> Verdict:
    """Decide among those of whom nobody leads, as far as is known here."""
    if peer is not None and peer.record is not None:
        verdict = _beside_peer(me, peer, record)
        if verdict is not None:
            return verdict
    elif peer is None and not late:
        return Verdict(Step.WAIT, "the peer may still answer")
    if record.counts(me.node, me.disk):
        return Verdict(Step.LEAD, f"{me.node} is complete")
    if backup is not None and record.counts(backup.node, backup.disk):
        return Verdict(Step.LEAD, f"{backup.node} has kept what is missing here")
    return Verdict(Step.WAIT, "nobody that answers is complete")


def _beside_peer(me: View, peer: View, record: Record) -> Verdict | None:
    """Decide between two catalogs that do not lead; None: the peer has nothing to say in it."""
    if not record.counts(peer.node, peer.disk):
        return None
    if record.counts(me.node, me.disk):
        if (seq := differ_at(me, peer)) is not None:
            return Verdict(Step.REFUSE, f"diverged: the logs differ at entry {seq}")
        if lost := rolled_back(me, peer, record.leader == me.node):
            return lost
        if record.leader == me.node:
            return None
    return Verdict(Step.WAIT, f"{peer.node} has to lead first")
