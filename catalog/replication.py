"""PURE: who may lead, what may follow what, and what a node must do when it meets its peer.

Law: a leader needs the durable promise of its peer; an entry is stored only where its predecessor
is; a disk that is empty or was rolled back neither votes nor leads before it has been refilled
under a new identity. Messages in, verdicts out: no I/O here. The ideas are Raft's (log matching)
and Viewstamped Replication's (recovery).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import Enum
from typing import Any

from common.position import ORIGIN, Position

RECOVERING = "recovering"  # answers nothing
ALONE = "alone"  # answers reads of clean keys; the peer has not been met, or has to act first
FOLLOWING, LEADING = "following", "leading"
REFUSING = "refusing"  # a person must decide
KEEPING = "keeping"  # the backup, while it is a member of the epoch
SERVING = (ALONE, FOLLOWING, LEADING)


@dataclass(frozen=True)
class Record:
    """The durable truth about one epoch: who leads, on which disks, and the longest lease ever
    granted until it.
    """

    epoch: int
    leader: str
    members: Mapping[str, str]  # node name -> disk id
    lease_s_max: float
    voters: Mapping[str, str] = field(default_factory=dict)  # likewise; empty: no backup server

    def document(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return asdict(self) | {"members": dict(self.members), "voters": dict(self.voters)}

    def counts(self, node: str, disk: str) -> bool:
        """Tell whether a node on this disk is a member."""
        return self.members.get(node) == disk


@dataclass(frozen=True)
class Promise:
    """The highest epoch a node has agreed to, and for whom."""

    epoch: int
    candidate: str


@dataclass(frozen=True)
class View:
    """A catalog node as it describes itself to its peer."""

    node: str
    disk: str
    cluster: str  # "" = never part of one
    record: Record | None  # None = empty, or to be refilled
    promise: Promise
    end: Position
    prepared: Position | None
    schema: int
    status: str
    checked: bool  # has met its peer since it started, so it may promise

    def document(self) -> dict[str, Any]:
        """Return it as JSON can carry it."""
        return {
            **{
                name: getattr(self, name)
                for name in ("node", "disk", "cluster", "schema", "status", "checked")
            },
            "record": self.record and self.record.document(),
            "promise": asdict(self.promise),
            "end": list(self.end),
            "prepared": self.prepared and list(self.prepared),
        }

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> View:
        """Read what `document` wrote."""
        fields = dict(document)
        record, prepared = fields.pop("record"), fields.pop("prepared")
        return cls(
            record=record and Record(**record),
            promise=Promise(**fields.pop("promise")),
            end=Position(*fields.pop("end")),
            prepared=prepared and Position(*prepared),
            **fields,
        )

    @property
    def tail(self) -> Position:
        """Return the last position this node holds durably, applied or prepared."""
        return self.prepared or self.end


class Step(Enum):
    """What a node that has met its peer does next."""

    FOUND = "found a new cluster"
    REFILL = "become a new disk and copy everything from the peer"
    LEAD = "take the next epoch, with the peer's promise"
    FOLLOW = "catch up with the leader"
    REJOIN = "catch up with a leader that has gone on without this node, and wait to be counted"
    WAIT = "let the peer act first"
    REFUSE = "stop: a person must decide"


@dataclass(frozen=True)
class Verdict:
    """A step and its reason, for the log and for `/readyz`."""

    step: Step
    why: str


def assess(me: View, peer: View, first: str) -> Verdict:
    """Decide what `me` does, knowing the peer; `first` is the node that leads a new cluster."""
    if me.schema != peer.schema:
        return Verdict(
            Step.REFUSE, f"schema {me.schema} here, {peer.schema} at {peer.node}: run one version"
        )
    if not me.cluster and not peer.cluster:
        return Verdict(Step.FOUND if me.node == first else Step.WAIT, "both catalogs are empty")
    if me.cluster and peer.cluster and me.cluster != peer.cluster:
        return Verdict(Step.REFUSE, f"{peer.node} holds another cluster's data ({peer.cluster})")
    if me.record is None and peer.record is None:
        return Verdict(Step.REFUSE, "both disks were lost: restore one from a copy")
    if me.record is None:
        return Verdict(Step.REFILL, "this disk is empty or cannot be trusted")
    if peer.record is None:
        return Verdict(Step.WAIT, f"{peer.node} must first be refilled from here")
    return _among_filled(me, peer, max(me.record, peer.record, key=lambda record: record.epoch))


def _among_filled(me: View, peer: View, record: Record) -> Verdict:
    i_count, peer_counts = record.counts(me.node, me.disk), record.counts(peer.node, peer.disk)
    if not i_count and not peer_counts:
        return Verdict(
            Step.REFUSE, "neither disk is a member of the last epoch: restore one from a copy"
        )
    # Without a member's standing a copy counts as full only in the last epoch itself: what is left
    # of a leader that was given up knows of an older one, and of its own lead in it.
    full = me.end == peer.end and me.record == peer.record
    if not i_count and not full:
        return Verdict(Step.REFILL, "this disk is no member, and no full copy yet")
    if not peer_counts and not full:
        return Verdict(Step.WAIT, f"{peer.node}'s disk is no member, and is being refilled")
    if (seq := differ_at(me, peer)) is not None:
        return Verdict(Step.REFUSE, f"diverged: the logs differ at entry {seq}")
    leads = record.leader == me.node
    if i_count and peer_counts and (lost := rolled_back(me, peer, leads)):
        return lost
    if not leads:
        return Verdict(Step.FOLLOW if i_count else Step.WAIT, f"{record.leader} leads")
    return Verdict(Step.LEAD, f"{me.node} is the recorded leader")


def differ_at(me: View, peer: View) -> int | None:
    """Return a seq at which both hold an entry, applied or prepared, and not the same one."""
    mine, theirs = _held(me), _held(peer)
    return next((seq for seq in mine.keys() & theirs if mine[seq] != theirs[seq]), None)


def _held(view: View) -> dict[int, Position]:
    return {position.seq: position for position in (view.end, view.prepared) if position}


def rolled_back(me: View, peer: View, leads: bool) -> Verdict | None:
    """Notice a member's disk that lost what it had acknowledged (strict mode: nothing commits
    without both).
    """
    leader, replica = (me, peer) if leads else (peer, me)
    if replica.end.seq > leader.end.seq:
        lost, holder = leader, replica
    elif replica.tail.seq < leader.end.seq:
        lost, holder = replica, leader
    else:
        return None
    if lost is me:
        return Verdict(
            Step.REFILL, f"this disk was rolled back: {holder.node} has entry {holder.end.seq}"
        )
    return Verdict(Step.WAIT, f"{lost.node}'s disk was rolled back: it must be refilled from here")


def refuse_promise(view: View, epoch: int, candidate: str, yielding_to: str = "") -> str | None:
    """Return why this node does not promise an epoch to a candidate; None: it may. `yielding_to`
    is whom it is handing over to, if it leads ("": nobody).
    """
    if not view.checked:
        return "this node has not met its peer since it started"
    if view.record is None or candidate not in (view.record.leader, yielding_to):
        return f"{candidate} is not the recorded leader"
    if epoch <= view.record.epoch:
        return f"epoch {view.record.epoch} has begun"
    if view.promise == Promise(epoch, candidate):
        return None
    return f"epoch {view.promise.epoch} has been promised" if epoch <= view.promise.epoch else None


def refuse_record(view: View, record: Record, leader_end: Position) -> str | None:
    """Return why this node does not enter an epoch as its replica; None: it may."""
    if not record.counts(view.node, view.disk):
        return f"this disk, {view.disk}, is not a member"
    if view.promise.epoch > record.epoch or (
        view.promise.epoch == record.epoch and view.promise.candidate != record.leader
    ):
        return f"epoch {view.promise.epoch} has been promised to {view.promise.candidate}"
    if view.record is None and (view.cluster or leader_end != ORIGIN):
        return "this disk must be refilled first"
    if leader_end != view.end:
        return f"the leader is at entry {leader_end.seq}, this node at {view.end.seq}"
    return None


class Answer(Enum):
    """What a replica does with a PREPARE."""

    STORE = "store it as prepared"
    APPLY_THEN_STORE = "apply the prepared entry, which is committed, then store this one"
    ALREADY = "it is here: acknowledge"
    FENCED = "the sender's epoch is over"
    BEHIND = "entries before it are missing here"
    DIVERGED = "another entry stands in its place"


def judge_prepare(
    view: View, epoch: int, prev: Position, entry: Position, committed: int
) -> Answer:
    """Decide what a replica does with an entry sent under `epoch`, after `prev`, all up to
    `committed` committed.
    """
    if not in_epoch(view, epoch):
        return Answer.FENCED
    if entry.seq <= view.end.seq:
        # Only the last position is known here; an older repeat was acknowledged when it was new.
        return Answer.ALREADY if entry.seq < view.end.seq or entry == view.end else Answer.DIVERGED
    if prev == view.end:
        if view.prepared is None:
            return Answer.STORE
        return Answer.ALREADY if view.prepared == entry else Answer.DIVERGED
    if view.prepared is not None and prev == view.prepared and committed >= prev.seq:
        return Answer.APPLY_THEN_STORE
    return Answer.DIVERGED if prev.seq <= view.end.seq else Answer.BEHIND


def in_epoch(view: View, epoch: int) -> bool:
    """Tell whether a leader's write under `epoch` is obeyed here: the epoch this disk is in, with
    none promised above.
    """
    record = view.record
    return (
        record is not None and epoch == record.epoch and view.promise.epoch <= epoch
        and record.counts(view.node, view.disk) and record.leader != view.node
    )  # fmt: skip
