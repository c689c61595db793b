"""The leader's write path: batches, built, replicated, made invisible nowhere and visible
everywhere.

Law: an entry commits here only when it is durable at the replica and every session has acknowledged
it or ended. Once a PREPARE may have left, the entry is never given up in this epoch; before that it
may be dropped and refused.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from catalog import store
from catalog.admission import Admission
from catalog.batch import Batch, build, roll_back
from catalog.disk import Halted, guard
from catalog.model import Entry
from catalog.node import Node
from catalog.queue import Ticket, unknown
from catalog.replicate import End, Round
from catalog.transport import Transport
from common.errors import Problem
from common.openspan import AnySpan
from common.peer import Calls, PeerDown
from common.position import Position
from common.tasks import Tasks
from common.trace import Contexts
from common.tracer import Tracer

log = logging.getLogger("bazar")

IDLE_S = 0.5
COMMIT_WAITS_S = 0.003  # until then the replica's readers of these keys are sent on to the leader


class Writer:
    """The one writer of a leading node."""

    def __init__(
        self, node: Node, admission: Admission, transport: Transport, tasks: Tasks, calls: Calls,
        tracer: Tracer,
    ) -> None:  # fmt: skip
        self._node = node
        self._admission = admission
        self._queue = admission.queue
        self._transport = transport
        self._tasks = tasks
        self._calls = calls  # the writer task's own
        self._tracer = tracer
        node.role_changed.append(admission.arrived)

    def run(self) -> None:
        """Write batch after batch until stopped; raises `Halted` when the disk cannot be trusted
        any more.
        """
        while not self._admission.closed:
            self._admission.arrived.wait(IDLE_S)
            self._admission.arrived.clear()
            while self._work():
                pass

    def stop(self) -> None:
        """Take no more operations and end the task."""
        self._admission.close()

    def _work(self) -> bool:
        node = self._node
        if node.halted:
            self._queue.refuse_waiting(lambda: Problem("writes-unavailable", str(node.halted)))
            raise Halted(node.halted)
        if not node.takes_writes:
            why = f"{node.name} does not lead now"
            self._queue.refuse_waiting(lambda: Problem("not-leader", why, leader=node.leader))
            return False
        if node.adopted:
            return self._finish_adopted(node.adopted)
        with node.lock:  # who hands over finds that nothing is written, or that something is
            if node.yielding_to or not len(self._queue):
                return False  # what waits goes to the next leader once it leads, or is done here
            node.writing = True
        tickets = self._queue.take()
        try:
            if tickets:
                with self._tracer.within(_taken(tickets)):
                    self._write(tickets)
        finally:
            roll_back(self._node)
            node.writing = False
            for ticket in tickets:
                if ticket.result is None:
                    self._queue.settle(ticket, unknown(ticket.operation.key))
        return bool(tickets)

    def _finish_adopted(self, entry: Entry) -> bool:
        """Roll an adopted entry forward: its predecessor's batch may have been answered."""
        if self._replicate(entry, self._node.end()) is not End.COMMITTED:
            return False
        self._node.adopted = None
        self._after_commit(entry)
        return True

    def _write(self, tickets: list[Ticket]) -> None:
        with self._tracer.span("transaction") as span:
            batch = build(self._node, tickets)
            _describe(span, batch)
        self._answer_decided(batch)
        if batch.entry is None:
            return
        end = self._replicate(batch.entry, batch.prev)
        if end is not End.COMMITTED:
            self._give_up(batch, never_left=end is End.NEVER_LEFT)
            return
        for ticket in batch.tickets:
            self._queue.settle(ticket, batch.results[ticket.operation.key])
        self._after_commit(batch.entry)

    def _give_up(self, batch: Batch, *, never_left: bool) -> None:
        """Refuse a batch that never left; of any other the outcome is not known."""
        why = f"{self._node.peer} refused the connection; nothing was done"
        for ticket in batch.tickets:
            refusal = Problem("writes-unavailable", why)
            self._queue.settle(ticket, refusal if never_left else unknown(ticket.operation.key))

    def _answer_decided(self, batch: Batch) -> None:
        """Answer what needs no new entry: keys decided before, mismatches, a batch that could not
        be built.
        """
        fresh = set(batch.entry.operations) if batch.entry else set()
        for ticket in batch.tickets:
            if ticket.operation.key not in fresh:
                self._queue.settle(ticket, batch.results[ticket.operation.key])
        batch.tickets = [ticket for ticket in batch.tickets if ticket.operation.key in fresh]

    # --- replicate, commit ---

    def _replicate(self, entry: Entry, prev: Position) -> End:
        """Get an entry to the replica, out of every cache, and committed."""
        node, position = self._node, entry.position
        waits = node.sessions.begin(position, entry.keys, node.clock.now())
        round_ = Round(node, self._transport, self._calls, entry, prev)
        try:
            return round_.run(waits, lambda: self._traced_commit(entry), self._admission.set_stuck)
        finally:
            node.sessions.finish(position)

    def _traced_commit(self, entry: Entry) -> bool:
        with self._tracer.span("commit"):
            return self._commit(entry)

    def _commit(self, entry: Entry) -> bool:
        """Commit the open transaction. When the disk was full, SQLite has rolled it back; the
        replica has the entry, so it stands: then it is applied from its changeset, never run again.
        """
        db = self._node.db.writer
        try:
            with guard(self._node):
                if db.in_transaction:
                    db.execute("COMMIT")
                    return True
                with self._node.db.write():
                    if store.end(db) == entry.position:
                        return True  # the COMMIT reported what failed after it: a checkpoint
                    if not entry.follows(store.end(db)):
                        raise store.ChangesetConflict(f"entry {entry.position.seq} does not follow")
                    store.apply(db, entry)
        except Problem as problem:
            roll_back(self._node)
            log.error("cannot commit entry %d yet: %s", entry.position.seq, problem.detail)
            return False
        return True

    def _after_commit(self, entry: Entry) -> None:
        if not len(self._queue):  # else the next PREPARE carries it
            told = self._tracer.carry(lambda: self._tell(entry.position))
            self._tasks.spawn("commit", told)

    def _tell(self, position: Position) -> None:
        """Tell the replica, unless a PREPARE does so in a moment: under load each next one does."""
        self._tasks.pause(COMMIT_WAITS_S)
        if self._node.writing or self._node.end() != position:
            return
        try:
            self._transport.commit(self._node.second, self._node.epoch, position)
        except (PeerDown, Problem) as error:
            log.debug("commit not delivered; the next heartbeat carries it: %s", error)


def _taken(tickets: Sequence[Ticket]) -> Contexts:
    """End the waiting of tickets; return for whom they are."""
    waits = [wait for ticket in tickets for wait in ticket.waits]
    for wait in waits:
        wait.end()
    return dict(enumerate(wait.parents[0] for wait in waits))


def _describe(span: AnySpan, batch: Batch) -> None:
    if span:
        span.note("db.system.name", "sqlite")
        span.note("bazar.batch_size", len(batch.tickets))
        if batch.entry is not None:
            span.note("bazar.position", ".".join(map(str, batch.entry.position[:2])))
