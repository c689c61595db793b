"""One entry on its way: PREPARE to the replica and INVALIDATE to every session, at the same time,
until all is settled.

Law: it ends in one of three ways: the replica holds the entry and no session is left to wait for;
or nothing was ever sent to the replica; or this node no longer leads. Time alone ends nothing but
leases. All of it happens on the writer's thread, which waits for whichever answer comes first.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from enum import Enum
from functools import partial

from catalog.model import Entry
from catalog.node import Node
from catalog.transport import SUSPICION_S, Transport
from common.errors import Problem
from common.peer import Calls, NoAnswer, NotSent, PeerDown
from common.position import Position

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
        self, node: Node, transport: Transport, calls: Calls, entry: Entry, prev: Position
    ) -> None:
        self._node = node
        self._transport = transport
        self._calls = calls
        self._entry = entry
        self._prev = prev
        self._acknowledged = (0, 0)  # in which standing the replica said that it has it durably
        self._sent = False  # a PREPARE may have left
        self._unsent = False  # an attempt was refused at connect
        self._refused = False  # the last attempt was answered, or refused, without success
        # The standing that PREPARE was sent in last; when to send it again, and INVALIDATE to each
        # session: never, while one is under way.
        self._pushed_in: tuple[int, int] | None = None
        self._push_at = -math.inf
        self._tell_at: dict[str, float] = {}

    def run(
        self,
        sessions: list[tuple[str, str]],
        commit: Callable[[], bool],
        set_stuck: Callable[[bool], None],
    ) -> End:
        """Replicate and commit; `commit()` is tried, under the node's lock, until it is True."""
        self._tell_at = dict.fromkeys((session for session, _ in sessions), -math.inf)
        started = self._node.clock.now()
        try:
            while not self._committed(commit):
                if self._dropped:
                    return End.NEVER_LEFT
                if not self._node.leads:
                    return End.UNKNOWN
                self._push()
                self._tell(sessions)
                silent = self._node.clock.now() - started >= SUSPICION_S
                set_stuck(not self._prepared and (self._refused or silent))
                self._calls.wait(self._until_next_look())
            return End.COMMITTED
        finally:
            self._calls.abandon()
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
        """Look again when the next lease ends or older leases have, when something is to be sent
        again, and every so often.
        """
        now = self._node.clock.now()
        ends = (
            self._node.sessions.next_end(self._entry.position), self._node.no_commit_before,
            self._push_at, *self._tell_at.values(),
        )  # fmt: skip
        later = [end - now for end in ends if end is not None and end > now]
        return max(0.001, min([LOOK_S, *later]))

    def _push(self) -> None:
        """Send PREPARE if it is time to, and at once after a change of epoch: what was sent before
        may still wait for a second that is cut off.
        """
        node, standing = self._node, self._node.standing
        waits = standing == self._pushed_in and node.clock.now() < self._push_at
        if waits or self._prepared:
            return
        self._sent |= self._push_at == math.inf  # its last attempt is not over: who knows
        self._pushed_in, self._push_at = standing, math.inf
        self._transport.prepare(
            self._calls, node.second, standing[0], self._prev, self._entry,
            lambda stored: self._pushed(standing, stored),
        )  # fmt: skip

    def _pushed(self, standing: tuple[int, int], stored: Callable[[], None]) -> None:
        if standing == self._pushed_in:
            self._push_at = self._node.clock.now() + RESEND_S
        try:
            stored()
            self._sent, self._acknowledged = True, max(self._acknowledged, standing)
        except NotSent:
            self._unsent = self._refused = True
        except NoAnswer:
            self._sent = True
        except Problem as problem:
            self._sent = self._refused = True
            log.warning("entry %d waits: %s", self._entry.position.seq, problem)

    def _tell(self, sessions: list[tuple[str, str]]) -> None:
        """Send INVALIDATE to each session that has not acknowledged it, if it is time to."""
        node, now = self._node, self._node.clock.now()
        due = {session for session, at in self._tell_at.items() if at <= now}
        waiting = node.sessions.waiting(self._entry.position, now) if due else set()
        for session, frontend in sessions:
            if session in due & waiting:
                self._tell_at[session] = math.inf
                self._transport.invalidate(
                    self._calls, frontend, session, self._entry, node.epoch,
                    partial(self._told, session, frontend),
                )  # fmt: skip

    def _told(self, session: str, frontend: str, acknowledged: Callable[[], bool]) -> None:
        position = self._entry.position
        self._tell_at[session] = self._node.clock.now() + RESEND_S
        try:
            if acknowledged():
                self._node.sessions.acknowledge(session, position)
        except (PeerDown, Problem) as error:
            log.debug("%s has not acknowledged entry %d: %s", frontend, position.seq, error)
