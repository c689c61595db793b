"""What this frontend remembers: an LRU of answers that belong to one session. PURE.

Law: an entry is answered from only while the session it was filled in is installed and has not
ended, and is kept only if it shows every write the session was told of. One lock guards look-up,
fill and invalidation alike; nothing in here waits.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, NamedTuple, TypeVar

DRIFT = 0.99  # the holder's share of the lease: clocks may run apart by 1 % on either side
FLOORS_MAX = 16_384

Value = TypeVar("Value")


class Key(NamedTuple):
    """What an entry is found by: the tag that invalidates it, and its page (None: a book)."""

    tag: str
    page: tuple[int, str | None] | None = None


def book_key(book_id: int) -> Key:
    """Return the key of a book."""
    return Key(f"book:{book_id}")


def page_key(topic: str, limit: int, after: str | None) -> Key:
    """Return the key of one page of a topic; `topic` is `fields.topic_key` of its name."""
    return Key(f"topic:{topic}", (limit, after))


@dataclass(frozen=True)
class Grant:
    """A session as the leader gave it: `floors` are the writes that were pending then."""

    session: str
    epoch: int
    lease_s: float
    floors: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Session:
    """The session installed here; its lease ends at `ends_at` on this process's clock."""

    id: str
    epoch: int
    ends_at: float


class Kept(NamedTuple):
    """An entry as it is shown: its key, and the write as of which it is true."""

    key: Key
    as_of: int


class _Entry(NamedTuple, Generic[Value]):
    session: str
    value: Value
    as_of: int


class Cache(Generic[Value]):
    """At most `capacity` answers, least recently used out first; a capacity of 0 keeps nothing.

    `now` reads the clock of the lease; `lock` is taken for a few dictionary steps at a time.
    """

    def __init__(
        self,
        capacity: int,
        *,
        now: Callable[[], float],
        lock: AbstractContextManager[object],
        floors_max: int = FLOORS_MAX,
    ) -> None:
        self.capacity = capacity
        self._now = now
        self._lock = lock
        self._floors_max = floors_max
        self._session: Session | None = None
        self._ticket = 0
        self._counts: Counter[str] = Counter()
        self._hits = 0
        self._clear()

    # Look-ups

    def book(self, book_id: int) -> Value | None:
        """Return what is known of a book, or None."""
        return self._look_up(book_key(book_id))

    def topic_page(self, topic: str, limit: int, after: str | None) -> Value | None:
        """Return one page of a topic, or None."""
        return self._look_up(page_key(topic, limit, after))

    def hits(self, keys: Sequence[Key]) -> list[Value | None]:
        """Return what look-ups would, with those counted that are hits: after a None one more will
        follow, and that one counts the miss.
        """
        with self._lock:
            session = self._session
            if session is None:
                return [None] * len(keys)
            installed, misses = session.id, 0
            look_up, touch = self._entries.get, self._entries.move_to_end
            values: list[Value | None] = []
            for key in keys:
                entry = look_up(key)
                if entry is None or entry.session != installed:
                    values.append(None)
                    misses += 1
                else:
                    touch(key)
                    values.append(entry.value)
            if self._now() >= session.ends_at:  # after the entries, as in `_get`
                return [None] * len(keys)
            self._hits += len(keys) - misses
            return values

    def peek(self, key: Key) -> Value | None:
        """Return what a look-up would, uncounted: for a reader already counted as a miss."""
        with self._lock:
            return self._get(key)

    def _look_up(self, key: Key) -> Value | None:
        with self._lock:
            value = self._get(key)
            self._counts["misses" if value is None else "hits"] += 1
            return value

    def _get(self, key: Key) -> Value | None:
        entry = self._entries.get(key)
        if entry is None or self._session is None or entry.session != self._session.id:
            return None
        # The clock after the entry: who slept in between must find that the lease has ended.
        if self._now() >= self._session.ends_at:
            return None
        self._entries.move_to_end(key)
        return entry.value

    # Fill and invalidate

    def ticket(self) -> int:
        """Return a number that changes with the session: draw it before a fetch or registration."""
        return self._ticket

    def fill(self, ticket: int, key: Key, value: Value, *, epoch: int, as_of: int) -> bool:
        """Keep an answer fetched since `ticket` was drawn, if the rules allow; return whether."""
        with self._lock:
            refusal = self._refusal(ticket, key, epoch, as_of)
            if refusal is not None:
                self._counts[f"refused {refusal}"] += 1
                return False
            assert self._session is not None
            self._entries[key] = _Entry(self._session.id, value, as_of)
            self._entries.move_to_end(key)
            self._tagged.setdefault(key.tag, {})[key] = None
            self._counts["fills"] += 1
            self._evict()
            return True

    def _refusal(self, ticket: int, key: Key, epoch: int, as_of: int) -> str | None:
        if self.capacity <= 0 or self._session is None:
            return "no-session"
        if ticket != self._ticket:
            return "session-changed"
        if self._now() >= self._session.ends_at:
            return "session-ended"
        if epoch != self._session.epoch:
            return "other-epoch"
        return "below-floor" if as_of < self._floor(key.tag) else None

    def invalidate(self, session: str, epoch: int, seq: int, tags: Iterable[str]) -> bool:
        """Forget what write `seq` makes stale, refuse fills without it; return the acknowledgement.

        Any order, any number of times. Only the session installed here is acknowledged; one for
        another session (its grant may be on the way) is obeyed all the same.
        """
        with self._lock:
            self._counts["invalidations"] += 1
            held = self._session
            ours = held is not None and held.id == session
            if held and ours and epoch > held.epoch:
                # Floors compare within one epoch only; holding nothing any more is always safe.
                self._drop_session()
                return True
            comparable = ours or (held is not None and held.epoch == epoch)
            for tag in tags:
                self._forget(tag)
                if comparable:
                    self._raise_floor(tag, seq)
            return ours

    # The session

    def install(self, ticket: int, grant: Grant, sent_at: float) -> bool:
        """Begin a new session, empty, that was asked for at `sent_at` after drawing `ticket`.

        Return False, and change nothing, when the session has changed since: surrender the grant.
        """
        with self._lock:
            if ticket != self._ticket or self.capacity <= 0:
                return False
            self._drop_session()
            self._session = Session(grant.session, grant.epoch, sent_at + grant.lease_s * DRIFT)
            for tag, seq in grant.floors.items():
                self._raise_floor(tag, seq)
            return True

    def extend(self, session: str, sent_at: float, lease_s: float) -> bool:
        """Count a renewal asked for at `sent_at`; only the session installed can be renewed."""
        with self._lock:
            held = self._session
            if held is None or held.id != session:
                return False
            ends_at = max(held.ends_at, sent_at + lease_s * DRIFT)
            self._session = Session(held.id, held.epoch, ends_at)
            return True

    def end(self) -> None:
        """Stop answering from the session, for good; tickets drawn before are void."""
        with self._lock:
            self._drop_session()

    def session(self) -> Session | None:
        """Return the session installed, ended or not."""
        return self._session

    def alive(self) -> bool:
        """Tell whether there is a session to fill and to answer from."""
        held = self._session
        return held is not None and self._now() < held.ends_at

    def counters(self) -> dict[str, int]:
        """Return what was counted, and `size`; refused fills are named `refused <why>`."""
        with self._lock:
            hits = self._counts["hits"] + self._hits
            return dict(self._counts) | {"hits": hits, "size": len(self._entries)}

    # The operator's

    def ends(self, count: int) -> tuple[list[Kept], list[Kept]]:
        """Return up to `count` entries least recently used and, of the others, up to `count` most
        recently used, both from least to most: the lock is held for so many steps, not for all.
        """
        with self._lock:
            least = list(islice(self._entries.items(), count))
            others = min(count, len(self._entries) - len(least))
            most = list(islice(reversed(self._entries.items()), others))[::-1]
        return _kept(least), _kept(most)

    def flush(self) -> int:
        """Forget all entries, and return how many; the session and its floors stay, so that what
        may be kept next is what might have been kept without.
        """
        with self._lock:
            flushed = len(self._entries)
            self._entries.clear()
            self._tagged.clear()
            self._counts["flushed"] += flushed
            return flushed

    # With the lock held

    def _drop_session(self) -> None:
        self._ticket += 1
        self._session = None
        self._clear()

    def _clear(self) -> None:
        self._entries: OrderedDict[Key, _Entry[Value]] = OrderedDict()
        self._tagged: dict[str, dict[Key, None]] = {}
        self._floors: OrderedDict[str, int] = OrderedDict()
        self._forgotten_floor = 0

    def _floor(self, tag: str) -> int:
        return self._floors.get(tag, self._forgotten_floor)

    def _raise_floor(self, tag: str, seq: int) -> None:
        self._floors[tag] = max(self._floor(tag), seq)
        self._floors.move_to_end(tag)
        while len(self._floors) > self._floors_max:
            _, dropped = self._floors.popitem(last=False)
            self._forgotten_floor = max(self._forgotten_floor, dropped)

    def _forget(self, tag: str) -> None:
        for key in self._tagged.pop(tag, ()):
            del self._entries[key]
            self._counts["invalidated"] += 1

    def _evict(self) -> None:
        while len(self._entries) > self.capacity:
            key, _ = self._entries.popitem(last=False)
            siblings = self._tagged[key.tag]
            del siblings[key]
            if not siblings:
                del self._tagged[key.tag]
            self._counts["evictions"] += 1


def _kept(items: Iterable[tuple[Key, _Entry[Value]]]) -> list[Kept]:
    return [Kept(key, entry.as_of) for key, entry in items]
