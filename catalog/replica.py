"""What a catalog node does when its peer speaks to it: promise, follow, prepare, commit.

Law: one lock covers "check the promise, store, sync" as well as "make a promise durable, read the
log's end"; an acknowledgement is never sent before its sync.
"""

from __future__ import annotations

import apsw

from catalog import membership, replication, store
from catalog.disk import guard
from catalog.membership import Candidacy
from catalog.model import Entry
from catalog.node import Node
from catalog.replication import FOLLOWING, Answer, Promise, Record, View
from common.errors import Problem
from common.position import Position


def promise(node: Node, asked: Candidacy) -> View:
    """Promise an epoch durably; return this node as it is at that moment."""
    with node.lock:
        if why := _refuse_promise(node, node.view(), asked):
            raise Problem("fenced", why, promised=node.record.promise.epoch)
        with guard(node):
            node.record.agree(Promise(asked.epoch, asked.candidate))
        return node.view()


def _refuse_promise(node: Node, view: View, asked: Candidacy) -> str | None:
    if view.record is None or not view.record.voters or not node.has_backup:
        return replication.refuse_promise(view, asked.epoch, asked.candidate, node.yielding_to)
    if not view.checked:
        return "this node has met nobody since it started"
    leads = node.name if node.leads and node.yielding_to != asked.candidate else None
    return membership.refuse_vote(view, asked, reported=None, leads=leads)


def grant(node: Node, epoch: int, name: str) -> bool:
    """Give the second of this epoch the right to answer reads, unless the epoch is about to end."""
    with node.lock:
        record = node.record.record
        granted = (
            node.leads and record is not None and record.epoch == epoch == node.record.promise.epoch
            and name in record.members
        )  # fmt: skip
        if granted:
            node.grant()
        return granted


def lead(node: Node, epoch: int, name: str) -> None:
    """Hear that the leader of this epoch hands over: it reads no more, and no cache does for it."""
    with node.lock:
        record = node.record.record
        if (
            node.status != FOLLOWING
            or record is None
            or (record.epoch, record.leader) != (epoch, name)
        ):
            raise Problem("unavailable", f"{node.name} is {node.status}: {node.why}")
        node.take_back()
        node.asked_to_lead = epoch


def follow(node: Node, cluster: str, record: Record, leader_end: Position, tail: Position) -> None:
    """Enter an epoch as its replica, durably; this also founds a cluster at the second node."""
    with node.lock:
        if node.record.cluster not in ("", cluster):
            raise Problem("foreign-cluster", f"{node.name} belongs to {node.record.cluster}")
        if why := replication.refuse_record(node.view(), record, leader_end):
            raise Problem("fenced", why, promised=node.record.promise.epoch)
        with guard(node):
            node.record.enter(cluster, record)
        node.checked = True
        node.become(FOLLOWING, f"{record.leader} leads")


def prepare(node: Node, epoch: int, prev: Position, entry: Entry, committed: int) -> None:
    """Store an entry durably as prepared, applying the one before it if that is committed; returns
    after the sync.
    """
    with node.lock:
        if node.status != FOLLOWING:
            raise Problem("unavailable", f"{node.name} is {node.status}: {node.why}")
        answer = replication.judge_prepare(node.view(), epoch, prev, entry.position, committed)
        if answer in (Answer.STORE, Answer.APPLY_THEN_STORE) and not entry.follows(prev):
            raise Problem("invalid-request", "the entry's hash does not fit its content")
        if answer in (Answer.STORE, Answer.APPLY_THEN_STORE):
            node.write(lambda db: _store(db, entry, apply_first=answer is Answer.APPLY_THEN_STORE))
        elif answer is Answer.FENCED:
            raise Problem("fenced", answer.value, promised=node.record.promise.epoch)
        elif answer is Answer.BEHIND:
            node.become(replication.ALONE, answer.value)  # the next step of recovery catches up
            raise Problem("behind", answer.value, end=node.end().seq)
        elif answer is Answer.DIVERGED:
            node.become(
                replication.REFUSING, f"diverged: {answer.value} (entry {entry.position.seq})"
            )
            raise Problem("diverged", answer.value)


def _store(db: apsw.Connection, entry: Entry, *, apply_first: bool) -> None:
    before = store.prepared(db) if apply_first else None
    if before is not None:
        store.apply(db, before)
    store.prepare(db, entry)


def commit(node: Node, epoch: int, position: Position) -> View:
    """Apply the prepared entry if it is the one committed; return this node's view (this is the
    heartbeat, too).
    """
    with node.lock:
        fenced = epoch < max(node.record.promise.epoch, node.epoch)
        if not fenced and node.checked and not node.leads:
            node.write(lambda db: _apply_if_prepared(db, position))
        view = node.view()
        if membership.grants(view, epoch):
            node.grant()
        return view


def _apply_if_prepared(db: apsw.Connection, position: Position) -> None:
    entry = store.prepared(db)
    if entry is not None and entry.position == position:
        store.apply(db, entry)
