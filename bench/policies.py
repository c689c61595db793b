"""`python -m bench.policies`: what should a cache keep? Policies replayed on book demand.

Law: pure but for `main`; everything follows from seeds, so each policy is asked the same things.
"""

from __future__ import annotations

import sys
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import accumulate, product
from random import Random
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from bench.books import TOPICS, Book, catalogue
from bench.demand import SHOPPING, weights
from bench.report import shown
from bench.run import BOOKS
from bench.stats import summary

SEEDS = (1, 2, 3, 4, 5)
WARM_UP, COUNTED = 200_000, 50_000  # requests
ENTRIES = BOOKS + len(TOPICS)  # a book each, and each topic's first page
DEFAULT = 1_024  # CACHE_CAPACITY as it ships
ROOMS = tuple(sorted([DEFAULT, *(ENTRIES * percent // 100 for percent in (1, 5, 10, 25))]))
TRADE_EVERY = 1_000  # requests
RECENT = 50  # look-ups
WIDTH = 140  # characters of a table that goes to a file

Key = int | str  # a book's id; a topic, for its first page


# --- policies ---


class Lru:
    """Least recently used out first. What a write makes stale is deleted, as `frontend/cache.py`
    does, or (`marks`) keeps its place without its value.
    """

    def __init__(self, room: int, *, marks: bool = False) -> None:
        self._room, self._marks = room, marks
        self._entries: OrderedDict[Key, bool] = OrderedDict()  # oldest first; has it its value?

    def read(self, key: Key) -> bool:
        """Tell whether this is a hit; the next read is one unless something happens meanwhile."""
        hit = self._entries.get(key, False)
        self._entries[key] = True
        self._entries.move_to_end(key)
        if len(self._entries) > self._room:
            self._entries.popitem(last=False)
        return hit

    def invalidate(self, key: Key) -> None:
        """Have no more hits on an entry until it is read again."""
        if not self._marks:
            self._entries.pop(key, None)
        elif key in self._entries:
            self._entries[key] = False


class _Node:
    """A place in the queue; `newer` leads from the tail to the head, and round by the end."""

    __slots__ = ("has_value", "key", "newer", "older", "visited")

    def __init__(self, key: Key) -> None:
        self.key, self.has_value, self.visited = key, True, False
        self.newer = self.older = self


class Sieve:
    """A queue whose hand spares who was visited, once, and takes the first who was not (Zhang et
    al., NSDI 2024); deletes or marks as `Lru` does.
    """

    def __init__(self, room: int, *, marks: bool = False) -> None:
        self._room, self._marks = room, marks
        self._nodes: dict[Key, _Node] = {}
        self._end = self._hand = _Node("")  # lies between head and tail, stands for no entry

    def read(self, key: Key) -> bool:
        """As in `Lru`; a marked entry is refilled where it is, and that is a visit, too."""
        node = self._nodes.get(key)
        if node is not None:
            hit, node.has_value, node.visited = node.has_value, True, True
            return hit
        if len(self._nodes) >= self._room:
            self._evict()
        node = self._nodes[key] = _Node(key)
        node.older, node.newer = self._end.older, self._end
        node.older.newer = node.newer.older = node
        return False

    def invalidate(self, key: Key) -> None:
        """As in `Lru`."""
        node = self._nodes.get(key)
        if node is not None and self._marks:
            node.has_value = False
        elif node is not None:
            self._remove(node)

    def _evict(self) -> None:
        while self._hand is self._end or self._hand.visited:
            self._hand.visited = False
            self._hand = self._hand.newer
        self._remove(self._hand)

    def _remove(self, node: _Node) -> None:
        if node is self._hand:
            self._hand = node.newer
        node.older.newer, node.newer.older = node.newer, node.older
        del self._nodes[node.key]


POLICIES: dict[str, Callable[[int], Lru | Sieve]] = {
    "LRU": Lru,
    "LRU, marked": partial(Lru, marks=True),
    "SIEVE": Sieve,
    "SIEVE, marked": partial(Sieve, marks=True),
}
BOUND = "no limit"  # an LRU with room for everything


# --- demand ---

Step = tuple[str, Key]  # search, lookup or purchase, and what it reads or makes stale


@dataclass(frozen=True)
class Case:
    """A demand, by the shares of its operations in percent."""

    name: str
    shares: Mapping[str, int]
    rooms: Sequence[int] = (DEFAULT,)
    trades: int = 0  # books that trade their ranks after each thousand requests
    repeats: float = 0  # share of look-ups and sales that are of a book looked up just before


CASES = (
    Case("shopping", SHOPPING, (*ROOMS[:-1], 2 * DEFAULT, ROOMS[-1])),
    Case("ordering", {"search": 37, "lookup": 35, "purchase": 28}, ROOMS),
    Case("no sales", SHOPPING | {"purchase": 0}, ROOMS),
    Case("4 frontends", SHOPPING | {"purchase": 12}),  # a quarter of the reads, but all the sales
    Case("slow fashions", SHOPPING, trades=12),
    Case("fast fashions", SHOPPING, trades=120),
    Case("second looks", SHOPPING, repeats=0.3),
)


def drawn(books: Sequence[Book], seed: int, count: int, trades: int = 0) -> list[Book]:
    """Return what `Demand.draw` does, but for the books that trade their ranks."""
    random, found = Random(seed), list[Book]()
    ranked = random.sample(books, len(books))
    levels = list(accumulate(weights(len(books))))
    while len(found) < count:
        batch = min(TRADE_EVERY, count - len(found))
        found += random.choices(ranked, cum_weights=levels, k=batch)
        places = random.sample(range(len(ranked)), trades)
        movers = [ranked[place] for place in places]
        for place, book in zip(places, movers[1:] + movers[:1], strict=True):
            ranked[place] = book
    return found


def trace(case: Case, books: Sequence[Book], seed: int, count: int) -> list[Step]:
    """Return what one cache is asked and told; a sale makes its book stale, but no page."""
    random = Random(f"{case.name} {seed}")
    recent, steps = deque[Book](maxlen=RECENT), list[Step]()
    kinds = random.choices(list(case.shares), list(case.shares.values()), k=count)
    for kind, book in zip(kinds, drawn(books, seed, count, case.trades), strict=True):
        if kind == "search":
            steps.append((kind, book.topics[0]))
            continue
        if recent and random.random() < case.repeats:
            book = random.choice(recent)
        if kind == "lookup":
            recent.append(book)
        steps.append((kind, book.id))
    return steps


# --- measuring ---


class Hits(NamedTuple):
    """What was answered by the cache, in percent."""

    lookups: float
    reads: float


Found = dict[tuple[str, int, str], list[Hits]]  # (case, room, policy) -> a value for each seed


def replay(policy: Lru | Sieve, steps: Sequence[Step], warm_up: int) -> Hits:
    """Return the hits after some steps that do not count."""
    _replay(policy, steps[:warm_up])
    hits = _replay(policy, steps[warm_up:])
    asked = Counter(kind for kind, _ in steps[warm_up:] if kind != "purchase")
    return Hits(100 * hits["lookup"] / asked["lookup"], 100 * sum(hits.values()) / asked.total())


def _replay(policy: Lru | Sieve, steps: Sequence[Step]) -> dict[str, int]:
    hits, read = {"search": 0, "lookup": 0}, policy.read
    for kind, key in steps:
        if kind == "purchase":
            policy.invalidate(key)
        elif read(key):
            hits[kind] += 1
    return hits


def measured(books: Sequence[Book], task: tuple[int, Case]) -> Found:
    """Return what each policy makes of one seed and case."""
    seed, case = task
    steps = trace(case, books, seed, WARM_UP + COUNTED)
    bound = replay(Lru(ENTRIES), steps, WARM_UP)
    found: Found = {(case.name, room, BOUND): [bound] for room in case.rooms}
    for room, (name, policy) in product(case.rooms, POLICIES.items()):
        found[case.name, room, name] = [replay(policy(room), steps, WARM_UP)]
    return found


def table(found: Found, what: str) -> Table:
    """Return medians and ranges of the hits on `lookups` or `reads`."""
    columns = (*POLICIES, BOUND)
    made = Table("demand", "room", *columns, title=f"hits in % of {what}", title_justify="left")
    for case in CASES:
        for room in case.rooms:
            seeds = (found[case.name, room, name] for name in columns)
            cells = [shown(summary([getattr(hits, what) for hits in each])) for each in seeds]
            made.add_row(case.name, f"{room:,}", *cells, end_section=room == case.rooms[-1])
    return made


def main() -> int:
    """Measure all cases and print two tables."""
    tasks, found = list(product(SEEDS, CASES)), Found()
    with ProcessPoolExecutor() as pool:
        parts = pool.map(partial(measured, catalogue(BOOKS)), tasks)
        for part in track(parts, "replaying", len(tasks), console=Console(stderr=True)):
            for key, hits in part.items():
                found.setdefault(key, []).extend(hits)
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    for what in Hits._fields:
        console.print(table(found, what))
    return 0


if __name__ == "__main__":
    sys.exit(main())
