"""One entry on its way: PREPARE to the replica and INVALIDATE to every session, at the same time,
until all is settled.

Law: it ends in one of three ways: the replica holds the entry and no session is left to wait for;
or nothing was ever sent to the replica; or this node no longer leads. Time alone ends nothing but
leases.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from enum import Enum

from catalog.model import Entry
from catalog.node import Node
from catalog.transport import SUSPICION_S, Transport
from common.errors import Problem
from common.peer import NoAnswer, NotSent, PeerDown
from common.position import Position
from common.tasks import Tasks

log = logging.getLogger("bazar")

RESEND_S = 0.05
LOOK_S = 0.2


class End(Enum):
    """How the replication of an entry ended."""

    COMMITTED = "the replica has it, no cache has what it changes, and it is committed here"
    NEVER_LEFT = "every attempt was refused at connect, so it was dropped"
    UNKNOWN = "this node no longer leads"


class Round:
    """The replication of one entry."""

    def __init__(
        self, node: Node, transport: Transport, tasks: Tasks, entry: Entry, prev: Position
    ) -> None:
        self._node = node
        self._transport = transport
        self._tasks = tasks
        self._entry = entry
        self._prev = prev
        self._changed = tasks.event()
        self._acknowledged = (0, 0)  # in which standing the replica said that it has it durably
        self._sent = False  # a PREPARE may have left
        self._unsent = False  # an attempt was refused at connect
        self._refused = False  # the last attempt was answered, or refused, without success
        self._pushing_in: tuple[int, int] | None = None  # the standing that a task sends it in
        self._over = False

    def run(
        self,
        sessions: list[tuple[str, str]],
        commit: Callable[[], bool],
        set_stuck: Callable[[bool], None],
    ) -> End:
        """Replicate and commit; `commit()` is tried, under the node's lock, until it is True."""
        for session, frontend in sessions:
            self._tasks.spawn("invalidate", lambda s=session, f=frontend: self._tell(s, f))  # type: ignore[misc]
        started = self._node.clock.now()
        try:
            while not self._committed(commit):
                self._push()
                if self._dropped:
                    return End.NEVER_LEFT
                if not self._node.leads:
                    return End.UNKNOWN
                silent = self._node.clock.now() - started >= SUSPICION_S
                set_stuck(not self._prepared and (self._refused or silent))
                self._changed.wait(self._until_next_look())
                self._changed.clear()
            return End.COMMITTED
        finally:
            self._over = True
            set_stuck(False)

    @property
    def _prepared(self) -> bool:
        """Tell whether the replica has it; what it said in an earlier epoch, or before it compared
        itself anew, is void: its disk may have been replaced.
        """
        return self._acknowledged == self._node.standing

    def _committed(self, commit: Callable[[], bool]) -> bool:
        with self._node.lock:  # so that the members cannot change between the look and the commit
            return self._may_commit() and commit()

    def _may_commit(self) -> bool:
        node, now = self._node, self._node.clock.now()
        if not node.leads or node.record.promise.epoch > node.epoch:
            return False  # the next epoch may have begun at the replica's new disk
        waiting = node.sessions.waiting(self._entry.position, now)
        return self._prepared and not waiting and now >= node.no_commit_before

    @property
    def _dropped(self) -> bool:
        """Tell whether every attempt was refused at connect: nothing ever left."""
        return self._unsent and not self._sent

    def _until_next_look(self) -> float:
        """Look again when the next lease ends or older leases have, and every so often."""
        now = self._node.clock.now()
        ends = (self._node.sessions.next_end(self._entry.position), self._node.no_commit_before)
        later = [end - now for end in ends if end is not None and end > now]
        return max(0.001, min([LOOK_S, *later]))

    def _push(self) -> None:
        """Have one task send PREPARE, and another one after a change of epoch: the first may still
        wait for a second that is cut off.
        """
        standing = self._node.standing
        if self._pushing_in != standing and not self._prepared:
            self._sent |= self._pushing_in is not None  # its last attempt is not over: who knows
            self._pushing_in = standing
            self._tasks.spawn("prepare", lambda: self._push_until_prepared(standing))

    def _push_until_prepared(self, standing: tuple[int, int]) -> None:
        try:
            while self._is_wanted(standing):
                self._push_once(standing)
                self._changed.set()
                if self._is_wanted(standing):
                    self._tasks.pause(RESEND_S)
        finally:
            if self._pushing_in == standing:
                self._pushing_in = None
            self._changed.set()

    def _is_wanted(self, standing: tuple[int, int]) -> bool:
        """Tell whether the entry is still to be sent in a standing."""
        ended = self._over or self._dropped or self._prepared
        return not ended and standing == self._pushing_in == self._node.standing

    def _push_once(self, standing: tuple[int, int]) -> None:
        epoch, _ = standing
        try:
            second = self._node.second
            self._transport.prepare(second, epoch, self._prev, self._entry, self._prev.seq)
            self._sent, self._acknowledged = True, max(self._acknowledged, standing)
        except NotSent:
            self._unsent = self._refused = True
        except NoAnswer:
            self._sent = True
        except Problem as problem:
            self._sent = self._refused = True
            log.warning("entry %d waits: %s", self._entry.position.seq, problem)

    def _tell(self, session: str, frontend: str) -> None:
        position = self._entry.position
        sessions = self._node.sessions
        while not self._over and session in sessions.waiting(position, self._node.clock.now()):
            try:
                if self._transport.invalidate(frontend, session, self._entry, self._node.epoch):
                    sessions.acknowledge(session, position)
                    self._changed.set()
                    return
            except (PeerDown, Problem) as error:
                log.debug("%s has not acknowledged entry %d: %s", frontend, position.seq, error)
            self._tasks.pause(RESEND_S)
