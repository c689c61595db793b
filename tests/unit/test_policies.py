"""The models of cache policies that `python -m bench.policies` replays, and what it replays."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable
from copy import deepcopy
from random import Random

import pytest

from bench.books import catalogue
from bench.demand import Demand
from bench.policies import (
    BOUND,
    CASES,
    DEFAULT,
    POLICIES,
    Case,
    Hits,
    Key,
    Lru,
    Sieve,
    Step,
    drawn,
    replay,
    table,
    trace,
)
from common import fields
from common.config import CONFIG
from frontend.cache import Cache, Grant, book_key, page_key

BOOKS = catalogue(400)
ROOMS = (1, 2, 7, 40, 300)
Model = Callable[[int], Lru | Sieve]


class Real:
    """The frontend's cache, asked and told as the models are."""

    def __init__(self, room: int) -> None:
        self.cache = Cache[str](room, now=lambda: 0.0, lock=threading.Lock())
        self.seq = 0
        assert self.cache.install(self.cache.ticket(), Grant("s", 1, 2.0), 0.0)

    def read(self, key: Key) -> bool:
        if isinstance(key, int):
            name = book_key(key)
        else:
            name = page_key(fields.topic_key(key), fields.LIMIT_DEFAULT, None)
        if self.cache.hits([name]) != [None]:
            return True
        assert self.cache.fill(self.cache.ticket(), name, "v", epoch=1, as_of=self.seq)
        return False

    def invalidate(self, key: Key) -> None:
        self.seq += 1
        assert self.cache.invalidate("s", 1, self.seq, [f"book:{key}"])


class SlowSieve:
    """The paper's algorithm with a list, the tail first, and an index for the hand."""

    def __init__(self, room: int) -> None:
        self.room, self.hand = room, 0
        self.queue: list[Key] = []
        self.visited: set[Key] = set()

    def read(self, key: Key) -> bool:
        if key in self.queue:
            self.visited.add(key)
            return True
        if len(self.queue) >= self.room:
            while self.queue[self.hand] in self.visited:
                self.visited.discard(self.queue[self.hand])
                self.hand = (self.hand + 1) % len(self.queue)
            self.invalidate(self.queue[self.hand])
        self.queue.append(key)
        return False

    def invalidate(self, key: Key) -> None:
        if key in self.queue:
            place = self.queue.index(key)
            self.queue.remove(key)
            self.visited.discard(key)
            self.hand -= place < self.hand
            if self.hand == len(self.queue):
                self.hand = 0


def walk(seed: int, count: int = 4_000) -> list[Step]:
    """Return reads and sales of thirty books, some of them popular."""
    random = Random(seed)
    kinds = random.choices(("lookup", "purchase"), (4, 1), k=count)
    return [(kind, int(30 * random.random() ** 2)) for kind in kinds]


def outcomes(policy: Lru | Sieve | Real | SlowSieve, steps: Iterable[Step]) -> list[bool]:
    """Return which of the reads are hits."""
    found = []
    for kind, key in steps:
        if kind == "purchase":
            policy.invalidate(key)
        else:
            found.append(policy.read(key))
    return found


def read(policy: Lru | Sieve, keys: str) -> None:
    """Read some keys of one letter."""
    for key in keys:
        policy.read(key)


def kept(policy: Lru | Sieve, keys: str = "abcdefg") -> str:
    """Return the keys a read of which would be a hit."""
    return "".join(key for key in keys if deepcopy(policy).read(key))


# --- policies ---


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_lru_model_is_the_frontends_cache(case: Case) -> None:
    """Hit by hit, in each case that is measured, whatever the room."""
    steps = trace(case, BOOKS, 1, 4_000)
    for room in ROOMS:
        assert outcomes(Lru(room), steps) == outcomes(Real(room), steps), f"room {room}"


def test_sieve_spares_who_was_visited_and_goes_on_where_it_stopped() -> None:
    """Then it has met everybody who is older, so that the new are sieved first."""
    sieve = Sieve(3)
    read(sieve, "abca")
    read(sieve, "d")  # passes over a, takes b
    assert kept(sieve) == "acd"
    read(sieve, "e")  # goes on at c, though a is older and no longer marked as visited
    assert kept(sieve) == "ade"
    read(sieve, "def")  # passes over d and e, begins again at the tail, takes a
    assert kept(sieve) == "def"


def test_sieve_without_hits_is_a_queue() -> None:
    """First in, first out."""
    sieve = Sieve(3)
    read(sieve, "abcde")
    assert kept(sieve) == "cde"


def test_a_hit_moves_nobody_in_sieve() -> None:
    """When all were visited, the oldest goes, however recent its visit."""
    sieve = Sieve(3)
    read(sieve, "abcbca")
    read(sieve, "d")
    assert kept(sieve) == "bcd"


@pytest.mark.parametrize("room", [1, 2, 3, 8, 20])
def test_sieve_is_the_algorithm_of_the_paper(room: int) -> None:
    """Hit by hit, also when entries are deleted under its hand."""
    for seed in range(5):
        steps = walk(seed)
        assert outcomes(Sieve(room), steps) == outcomes(SlowSieve(room), steps), f"seed {seed}"


@pytest.mark.parametrize("policy", POLICIES.values(), ids=POLICIES)
def test_what_was_invalidated_is_a_miss_once(policy: Model) -> None:
    """The read after it brings it back."""
    model = policy(3)
    read(model, "ab")
    model.invalidate("a")
    model.invalidate("g")  # never read
    assert kept(model) == "b"
    assert [model.read("a"), model.read("a")] == [False, True]


@pytest.mark.parametrize("policy", [Lru, Sieve])
def test_deletion_makes_room(policy: type[Lru | Sieve]) -> None:
    """The next to come in drives nobody out."""
    model = policy(3)
    read(model, "abc")
    model.invalidate("b")
    read(model, "d")
    assert kept(model) == "acd"


@pytest.mark.parametrize("policy", [Lru, Sieve])
def test_a_mark_takes_room_in_its_place(policy: type[Lru | Sieve]) -> None:
    """Others go before it that are older, and it goes before those that are younger."""
    model = policy(3, marks=True)
    read(model, "abc")
    model.invalidate("b")
    read(model, "d")
    assert kept(model) == "cd"  # a went
    read(model, "e")
    assert kept(model) == "cde"  # the mark went


def test_a_marked_entry_of_sieve_is_refilled_in_place() -> None:
    """It keeps what its visits earned; a refill is one more."""
    sieve = Sieve(3, marks=True)
    read(sieve, "abca")
    sieve.invalidate("a")
    read(sieve, "d")  # passes over the mark, takes b
    assert kept(sieve) == "cd"
    read(sieve, "a")
    assert kept(sieve) == "acd"
    read(sieve, "ef")  # c and d go
    assert kept(sieve) == "aef"


@pytest.mark.parametrize("room", [1, 3, 8, 20])
def test_marks_never_help_an_lru(room: int) -> None:
    """A read makes an entry the youngest, marked or not; the mark only held room meanwhile."""
    for seed in range(5):
        marked, deleted = (
            outcomes(Lru(room, marks=True), walk(seed)),
            outcomes(Lru(room), walk(seed)),
        )
        assert all(hit for hit, too in zip(deleted, marked, strict=True) if too)


@pytest.mark.parametrize("policy", [Lru, Sieve])
def test_without_sales_marks_change_nothing(policy: type[Lru | Sieve]) -> None:
    """There is nothing to mark."""
    steps = [step for step in walk(1) if step[0] != "purchase"]
    assert outcomes(policy(8, marks=True), steps) == outcomes(policy(8), steps)


# --- demand ---


def test_books_are_drawn_as_the_benchmark_draws_them() -> None:
    """Unless some trade their ranks."""
    assert drawn(BOOKS, 3, 2_500) == Demand(BOOKS, 3).draw(2_500)
    assert drawn(BOOKS, 3, 2_500, trades=10) != Demand(BOOKS, 3).draw(2_500)


def test_fashions_change_who_is_popular_but_not_how_popular() -> None:
    """The first book of the first days is one of many later on."""
    count = 40_000
    books = drawn(BOOKS, 1, count, trades=200)
    early, late = Counter(books[: count // 8]), Counter(books[-count // 8 :])
    (favourite, asked), *_ = early.most_common(1)
    assert late[favourite] < asked / 2
    assert abs(late.most_common(1)[0][1] / asked - 1) < 0.5


def test_a_trace_is_the_same_every_time_and_has_its_shares() -> None:
    """Searches are of topics; look-ups and purchases of books."""
    shopping = CASES[0]
    steps = trace(shopping, BOOKS, 1, 20_000)
    assert steps == trace(shopping, BOOKS, 1, 20_000)
    kinds = Counter(kind for kind, _ in steps)
    for operation, percent in shopping.shares.items():
        assert abs(kinds[operation] / 200 - percent) < 1.5
    assert {kind for kind, key in steps if isinstance(key, str)} == {"search"}
    assert {kind for kind, key in steps if isinstance(key, int)} == {"lookup", "purchase"}


def test_second_looks_repeat_what_was_looked_up_just_before() -> None:
    """More of the books were looked up a moment ago."""

    def again(case: Case) -> int:
        books = [key for kind, key in trace(case, BOOKS, 1, 10_000) if kind == "lookup"]
        return sum(book in books[max(0, at - 50) : at] for at, book in enumerate(books))

    shopping = CASES[0]
    assert again(Case("again", shopping.shares, repeats=0.3)) > again(shopping) + 500


# --- measuring ---


def test_only_what_follows_the_warm_up_counts() -> None:
    """Hits on look-ups are also counted alone."""
    steps: list[Step] = [
        ("lookup", 1), ("lookup", 1), ("search", "Art"), ("lookup", 1), ("purchase", 1),
        ("lookup", 1),
    ]  # fmt: skip
    assert replay(Lru(3), steps, 1) == Hits(pytest.approx(200 / 3), 50)
    assert replay(Lru(3), steps, 3) == Hits(50, 50)


def test_the_default_room_is_what_ships() -> None:
    """Else the decision would be about another cache."""
    shipped = re.search(r"^CACHE_CAPACITY=(\d+)", CONFIG.read_text("utf-8"), re.MULTILINE)
    assert shipped is not None
    assert int(shipped[1]) == DEFAULT
    assert all(DEFAULT in case.rooms for case in CASES)


def test_the_table_has_a_row_for_each_case_and_room() -> None:
    """With the median of the seeds, and their range."""
    names = (*POLICIES, BOUND)
    rows = [(case.name, room) for case in CASES for room in case.rooms]
    values = [Hits(10, 50), Hits(30, 60), Hits(20, 70)]
    made = table({(*row, name): values for row in rows for name in names}, "reads")
    assert made.row_count == len(rows)
    assert set(made.columns[2].cells) == {"60.0 (50.0 to 70.0)"}
