"""A forced change of leader, where a pair has lost one of its two for good and no third can vote.

Law: a person vouches that the other catalog is gone. Its leases are waited for all the same; what
is prepared here may have been answered by it, so it stands; and the new epoch has this disk as its
only member, so that another disk is refilled from here before it counts.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import apsw

from catalog import store
from catalog.disk import guard
from catalog.node import Node
from catalog.replication import ALONE, FOLLOWING, LEADING, Promise, Record
from catalog.sessions import DRIFT
from catalog.transport import LEASE_TIMEOUT_S, Transport
from common.errors import Problem
from common.peer import PeerDown
from common.tasks import Tasks

LOOK_S = 0.05


class Promotion:
    """The operator's order to a catalog whose peer will not return."""

    def __init__(self, node: Node, transport: Transport, tasks: Tasks) -> None:
        self._node = node
        self._transport = transport
        self._tasks = tasks

    def run(self, until: float) -> Record:
        """Make this node the recorded leader; return its epoch's record. It leads, and commits, as
        soon as a second copy is there.

        Raises `unavailable` or `fenced` when nothing changed: this node may not, the other catalog
        is there after all, or `until` comes before every lease has ended.
        """
        node = self._node
        with node.lock:
            record = self._may()
        self._look_for_peer()
        with node.lock, guard(node):
            if node.record.record != record:
                raise Problem("unavailable", f"{node.peer} has come back; nothing was changed")
            promise = Promise(1 + max(record.epoch, node.record.promise.epoch), node.name)
            node.record.agree(promise)
        ends = node.clock.now() + record.lease_s_max * DRIFT
        if ends > until:
            raise Problem("unavailable", f"{record.lease_s_max:g} s of leases are to be waited for")
        self._wait(lambda: node.clock.now() >= ends)
        return self._enter(promise, record)

    def _may(self) -> Record:
        node, record = self._node, self._node.record.record
        if node.has_backup:
            raise Problem("unavailable", "with a backup server two of three choose the leader")
        if record is None:
            raise Problem("unavailable", f"{node.name} holds no full copy: its disk is empty")
        if node.leads:
            raise Problem("unavailable", f"{node.name} leads already")
        return record

    def _look_for_peer(self) -> None:
        """Refuse when the other catalog is there, and might go on by itself."""
        node = self._node
        try:
            peer = self._transport.state(node.peer, LEASE_TIMEOUT_S)
        except (PeerDown, Problem):
            return
        if peer.status in (LEADING, FOLLOWING, ALONE):
            raise Problem(
                "unavailable",
                f"{node.peer} answers ({peer.status}): hand over instead, or end it first",
            )

    def _wait(self, done: Callable[[], bool]) -> None:
        while not done():
            self._tasks.pause(LOOK_S)

    def _enter(self, promise: Promise, old: Record) -> Record:
        """Let what is prepared stand, then enter the epoch. Whoever dies between the two has not
        been promoted, and holds an entry that the other one is refilled with, should it return.
        """
        node = self._node
        with node.lock:
            if node.record.promise != promise or node.record.record != old:
                raise Problem("unavailable", f"{node.peer} has come back; nothing was changed")
            node.write(_apply_prepared)
            members = {node.name: node.record.disk}
            record = replace(old, epoch=promise.epoch, leader=node.name, members=members, voters={})
            with guard(node):
                node.record.enter(node.record.cluster, record)
            node.checked = True
            node.become(ALONE, f"promoted: {node.peer} has to be refilled from here")
        return record


def _apply_prepared(db: apsw.Connection) -> None:
    entry = store.prepared(db)
    if entry is not None:
        store.apply(db, entry)
