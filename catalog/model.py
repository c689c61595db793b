"""The catalog's words: an operation, its outcome, and the log entry that carries a batch of
them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from common.position import Position

REPLICATED = (
    "books", "book_topics", "topics", "ledger", "movements", "operations", "counters",
)  # fmt: skip
SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Operation:
    """One write, known by its idempotency key; `body` is canonical: checked, with defaults filled
    in.
    """

    key: str
    kind: str
    body: Mapping[str, Any]

    @property
    def fingerprint(self) -> str:
        """Return what two requests with one key must share."""
        text = json.dumps([self.kind, self.body], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass(frozen=True)
class Outcome:
    """What was decided for a key: the public status and document, the same for ever."""

    fingerprint: str
    status: int
    answer: str  # JSON


@dataclass(frozen=True)
class Entry:
    """One batch of operations in the log. Its position's hash chains over all entries before it."""

    position: Position
    keys: tuple[str, ...]  # what it makes dirty
    operations: tuple[str, ...]  # idempotency keys decided in it
    changeset: bytes

    @classmethod
    def build(
        cls,
        epoch: int,
        prev: Position,
        keys: tuple[str, ...],
        operations: tuple[str, ...],
        changeset: bytes,
    ) -> Entry:
        """Return the entry that follows `prev`."""
        head = json.dumps([prev.hash, epoch, prev.seq + 1, keys, operations], separators=(",", ":"))
        digest = hashlib.sha256(head.encode() + b"\n" + changeset).hexdigest()
        return cls(Position(epoch, prev.seq + 1, digest), keys, operations, changeset)

    def follows(self, prev: Position) -> bool:
        """Tell whether this very content follows `prev` in one chain."""
        again = Entry.build(self.position.epoch, prev, self.keys, self.operations, self.changeset)
        return again.position == self.position

    def encode(self) -> bytes:
        """Write it for a message or the log table: one line of JSON, then the changeset."""
        head = [*self.position, self.keys, self.operations, len(self.changeset)]
        return json.dumps(head, separators=(",", ":")).encode() + b"\n" + self.changeset


def decode_entries(data: bytes) -> Iterator[Entry]:
    """Read entries written one after the other; raise ValueError when they are cut short."""
    at = 0
    while at < len(data):
        line_end = data.index(b"\n", at)
        epoch, seq, digest, keys, operations, size = json.loads(data[at:line_end])
        changeset = data[line_end + 1 : line_end + 1 + size]
        if len(changeset) != size:
            raise ValueError("an entry is cut short")
        yield Entry(Position(epoch, seq, digest), tuple(keys), tuple(operations), changeset)
        at = line_end + 1 + size


def book_key(book_id: int) -> str:
    """Return the key a book is cached and made dirty under."""
    return f"book:{book_id}"


def topic_page_key(topic: str) -> str:
    """Return the key of every page of a topic (given by its `topic_key`)."""
    return f"topic:{topic}"


TEXT_KEY, TOPICS_KEY, LEDGER_KEY = "text", "topics", "ledger"
EVERY_KEY = "*"  # of a reader who looks at everything: dirty when any key is
