"""PURE: what a subscriber may conclude from the invalidations it was told and what it read since.

Law: every rule here follows from linearizability and from "whoever holds a session is told of an
entry before it commits", so a report is a defect of the shop, whatever the timing. Reads count as
one after the other only if the first had ended before the second began.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

KEPT_PER_KEY = 48


@dataclass(frozen=True)
class Seen:
    """One read: a catalog's answer about a key, true as of a log entry."""

    key: str
    node: str
    life: int  # of the node's disk: it may forget when that is lost
    epoch: int
    as_of: int
    document: str  # the body, or its hash
    began: float
    ended: float

    def before(self, other: Seen) -> bool:
        """Tell whether this read had ended when the other began."""
        return self.ended <= other.began

    def __str__(self) -> str:
        return (
            f"{self.key} at {self.node} in epoch {self.epoch} as of {self.as_of}"
            f" ({self.began:.3f}..{self.ended:.3f}): {self.document[:300]}"
        )


@dataclass
class _Session:
    """What was told under one session: entry -> content -> keys; reads not yet judged by it."""

    told: dict[int, dict[str, frozenset[str]]] = field(default_factory=dict)
    waiting: list[Seen] = field(default_factory=list)
    judged: dict[str, deque[Seen]] = field(default_factory=dict)


class Audit:
    """Judges reads; `violations` is what was wrong. Not thread-safe: the caller holds a lock."""

    def __init__(self) -> None:
        self.violations: list[str] = []
        self.reads = self.told_entries = self.compared = 0
        self._documents: dict[tuple[str, int], Seen] = {}
        self._by_key: dict[str, deque[Seen]] = {}
        self._last_at: dict[tuple[str, int], Seen] = {}
        self._id: str | None = None
        self._session = _Session()

    # --- the session ---

    def installed(self, session: str, floors: Mapping[str, int]) -> None:
        """Begin a session; the floors are the entry that was pending then."""
        self._id, self._session = session, _Session()
        for seq in set(floors.values()):
            self.told(
                session, seq, "pending", [key for key, floor in floors.items() if floor == seq]
            )

    def ended(self) -> None:
        """The session is over; what it has not confirmed proves nothing."""
        self._id, self._session = None, _Session()

    def told(self, session: str, seq: int, content: str, keys: Iterable[str]) -> bool:
        """Note an invalidation; return whether it is for the session installed.

        An entry that never left may be told of and then replaced by another one of that number.
        """
        if session != self._id:
            return False
        self.told_entries += 1
        self._session.told.setdefault(seq, {})[content] = frozenset(keys)
        return True

    def confirmed(self, sent: float) -> None:
        """The session was alive at `sent`: what had committed by then, it was told of."""
        session = self._session
        ready = [seen for seen in session.waiting if seen.ended <= sent]
        session.waiting = [seen for seen in session.waiting if seen.ended > sent]
        for seen in sorted(ready, key=lambda seen: seen.ended):
            known = session.judged.setdefault(seen.key, deque(maxlen=KEPT_PER_KEY))
            for other in known:
                self._judge_by_what_was_told(other, seen)
            known.append(seen)

    # --- reads ---

    def saw(self, seen: Seen) -> None:
        """Judge a read by all others, and keep it to be judged by what is told."""
        self.reads += 1
        self._one_document_at_each_entry(seen)
        self._a_node_never_goes_back(seen)
        known = self._by_key.setdefault(seen.key, deque(maxlen=KEPT_PER_KEY))
        for other in known:
            self._never_old_after_new(other, seen)
        known.append(seen)
        if self._id is not None:
            self._session.waiting.append(seen)

    def _one_document_at_each_entry(self, seen: Seen) -> None:
        """The log decides what a key is as of an entry, so both catalogs say the same, always."""
        other = self._documents.setdefault((seen.key, seen.as_of), seen)
        if other.document != seen.document:
            self._violated("two documents as of one entry", other, seen)

    def _a_node_never_goes_back(self, seen: Seen) -> None:
        """What was visible was durable: neither position nor epoch go back while a disk lives."""
        place = (seen.node, seen.life)
        last = self._last_at.get(place)
        if last and last.before(seen) and (seen.as_of < last.as_of or seen.epoch < last.epoch):
            self._violated("a node went back", last, seen)
        if last is None or (seen.as_of, seen.ended) > (last.as_of, last.ended):
            self._last_at[place] = seen

    def _never_old_after_new(self, first: Seen, second: Seen) -> None:
        """A copy may lag only where nothing has changed: then it shows what the first one did."""
        self.compared += 1
        older = first.before(second) and second.as_of < first.as_of
        if older and second.document != first.document:
            self._violated("old after new", first, second)

    def _judge_by_what_was_told(self, one: Seen, other: Seen) -> None:
        """Compare two reads of a session that was told of every entry between them."""
        low, high = sorted((one, other), key=lambda seen: seen.as_of)
        between = range(low.as_of + 1, high.as_of + 1)
        if not all(seq in self._session.told for seq in between):
            return
        contents = [self._session.told[seq] for seq in between]
        self.compared += 1
        touched_ever = any(low.key in keys for told in contents for keys in told.values())
        if not touched_ever and low.document != high.document:
            self._violated("changed, and nobody was told", low, high)
        touched = any(all(low.key in keys for keys in told.values()) for told in contents)
        if touched and high.before(low):
            self._violated("answered from before an entry that was visible", high, low)

    def _violated(self, rule: str, one: Seen, other: Seen) -> None:
        self.violations.append(f"auditor: {rule}: {one}; {other}")
