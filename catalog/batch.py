"""A batch of operations inside one open transaction, and the log entry that carries it.

Law: the transaction is recorded as a changeset of the replicated tables and left open: what was
decided is not visible to anybody until the writer commits it.
"""

from __future__ import annotations

import logging
from contextlib import closing
from dataclasses import dataclass

import apsw

from catalog import operations, store
from catalog.disk import guard
from catalog.model import REPLICATED, Entry, Operation, Outcome
from catalog.node import Node
from catalog.queue import Ticket, mismatch
from common.clock import rfc3339
from common.compact import compact
from common.errors import Problem
from common.position import Position
from common.service import INTERNAL_BODY_BYTES_MAX

log = logging.getLogger("bazar")


@dataclass
class Batch:
    """Tickets, and what was decided for each key inside the open transaction."""

    tickets: list[Ticket]
    results: dict[str, Outcome | Problem]
    entry: Entry | None  # None: nothing changed
    prev: Position


def build(node: Node, tickets: list[Ticket]) -> Batch:
    """Run a batch in a transaction that stays open; one that cannot be built is rolled back and
    refused whole.
    """
    batch = Batch(tickets, {}, None, node.end())
    try:
        with guard(node):
            node.db.writer.execute("BEGIN IMMEDIATE")
            batch.entry = _run(node, batch)
    except Problem as problem:  # the disk is full, or the entry too large: nothing was sent
        roll_back(node)
        refusal = Problem("writes-unavailable", f"nothing was done: {problem.detail}")
        batch.results = {ticket.operation.key: refusal for ticket in tickets}
    return batch


def roll_back(node: Node) -> None:
    """Forget what is not committed."""
    if node.db.writer.in_transaction:
        node.db.writer.execute("ROLLBACK")


def _run(node: Node, batch: Batch) -> Entry | None:
    db = node.db.writer
    keys: set[str] = set()
    decided: list[str] = []
    with closing(apsw.Session(db, "main")) as session:
        for table in REPLICATED:
            session.attach(table)
        for ticket in batch.tickets:
            key = ticket.operation.key
            found = store.outcome(db, key)
            if found is not None:
                same = found.fingerprint == ticket.fingerprint
                batch.results[key] = found if same else mismatch(key)
                continue
            result = batch.results[key] = _run_one(node, ticket, batch.prev.seq + 1, keys)
            if isinstance(result, Outcome):
                decided.append(key)
        changeset = session.changeset()
    if not decided:
        return None
    entry = Entry.build(node.epoch, batch.prev, tuple(sorted(keys)), tuple(decided), changeset)
    if len(entry.encode()) > INTERNAL_BODY_BYTES_MAX:
        raise Problem("too-large", "these operations together do not fit into one message")
    store.append(db, entry)
    return entry


def _run_one(node: Node, ticket: Ticket, seq: int, keys: set[str]) -> Outcome | Problem:
    """Decide one operation in a savepoint of its own and record its outcome."""
    db, operation = node.db.writer, ticket.operation
    at = rfc3339(node.clock.wall())
    tx = operations.Transaction(db, seq, at, lambda: f"{node.random.getrandbits(128):032x}")
    db.execute("SAVEPOINT operation")
    try:
        status, document = _decide(tx, operation)
    except (TypeError, ValueError, KeyError, apsw.ConstraintError) as error:
        # A defect of ours must take neither the batch nor the leader with it.
        log.exception("operation %s (%s) failed", operation.key, operation.kind)
        db.execute("ROLLBACK TO operation")
        db.execute("RELEASE operation")
        return Problem("invalid-request", f"this cannot be done: {error}")
    db.execute("RELEASE operation")
    keys |= tx.keys
    answer = compact(document)
    row = (operation.key, ticket.fingerprint, status, answer)
    db.execute("INSERT INTO operations VALUES (?, ?, ?, ?)", row)
    return Outcome(ticket.fingerprint, status, answer)


def _decide(tx: operations.Transaction, operation: Operation) -> tuple[int, operations.Document]:
    try:
        return operations.run(tx, operation)
    except operations.Refused as refused:
        tx.db.execute("ROLLBACK TO operation")
        tx.keys.clear()
        return refused.problem.status, refused.problem.body()
