"""The cache against a leader that keeps its side of the protocol: messages lost, late, repeated;
clocks drifting; the leader restarting. No hit is ever older than the last committed write.
"""

import threading
from dataclasses import dataclass, field

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from frontend.cache import Cache, Grant, book_key

T = 2.0
BOOKS = (1, 2)
LEADER, REPLICA = "L", "R"
NAMES = st.sampled_from([LEADER, REPLICA])


@dataclass
class Write:
    """The write that is pending: which books it makes dirty, which sessions are waited for."""

    seq: int
    books: tuple[int, ...]
    waiting: set[str]
    prepared: bool = False
    adopted: bool = False


@dataclass
class Node:
    """What one catalog has applied: book -> seq of the write that changed it last."""

    versions: dict[int, int] = field(default_factory=lambda: dict.fromkeys(BOOKS, 0))
    seq: int = 0
    dirty: tuple[int, ...] = ()


class CacheAndLeader(RuleBasedStateMachine):
    """One frontend's cache, a leader and a replica, and everything that is on its way."""

    @initialize(
        slow=st.sampled_from([0.991, 1.0, 1.009]),
        fast=st.sampled_from([0.991, 1.0, 1.009]),
        capacity=st.integers(1, 3),
        floors_max=st.integers(1, 2),
    )
    def begin(self, slow: float, fast: float, capacity: int, floors_max: int) -> None:
        self.time, self.rate, self.leader_rate = 0.0, slow, fast
        self.cache = Cache[int](
            capacity, now=lambda: self.time * self.rate, lock=threading.Lock(),
            floors_max=floors_max,
        )  # fmt: skip
        self.nodes = {LEADER: Node(), REPLICA: Node()}
        self.epoch, self.granted = 1, 0
        self.no_commit_before = 0.0
        self.sessions: dict[str, float] = {}  # alive at the leader -> end, on its clock
        self.pending: Write | None = None
        self.invalidations: list[tuple[str, int, int, tuple[int, ...]]] = []
        self.fetches: list[tuple[int, int, int, int, int]] = []
        self.begun: list[tuple[int, int]] = []
        self.grants: list[tuple[int, float, Grant]] = []
        self.renewals: list[tuple[str, float]] = []
        self.registers(at_once=True)

    @property
    def leader_now(self) -> float:
        return self.time * self.leader_rate

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 2.1]))
    def time_passes(self, seconds: float) -> None:
        self.time += seconds
        now = self.leader_now
        self.sessions = {name: end for name, end in self.sessions.items() if end > now}

    # The leader

    @precondition(lambda self: self.pending is None)
    @rule(books=st.sets(st.sampled_from(BOOKS), min_size=1))
    def a_write_begins(self, books: set[int]) -> None:
        changed = tuple(sorted(books))
        self.pending = Write(self.nodes[LEADER].seq + 1, changed, set(self.sessions))
        self.tell()

    @precondition(lambda self: self.pending is not None)
    @rule()
    def tell(self) -> None:
        """Send the invalidation (again) to each session waited for."""
        assert self.pending is not None
        for session in self.pending.waiting:
            message = (session, self.epoch, self.pending.seq, self.pending.books)
            self.invalidations.append(message)

    @precondition(lambda self: self.pending is not None)
    @rule()
    def the_write_goes_on(self) -> None:
        """The replica prepares it; then it commits when nobody has to be waited for any more."""
        write = self.pending
        assert write is not None
        if not write.prepared:
            self.the_replica_applies()
            self.nodes[REPLICA].dirty = write.books
            write.prepared = True
        elif not write.waiting & set(self.sessions) and self.leader_now >= self.no_commit_before:
            self.apply(LEADER, write.seq, write.books)
            self.pending = None

    @rule()
    def the_replica_applies(self) -> None:
        """COMMIT arrives: what the replica has prepared and the leader committed."""
        replica, leader = self.nodes[REPLICA], self.nodes[LEADER]
        if replica.dirty and leader.seq > replica.seq:
            self.apply(REPLICA, replica.seq + 1, replica.dirty)

    def apply(self, name: str, seq: int, books: tuple[int, ...]) -> None:
        node = self.nodes[name]
        node.versions |= dict.fromkeys(books, seq)
        node.seq, node.dirty = seq, ()

    @precondition(lambda self: self.epoch < 4)
    @rule()
    def the_leader_restarts(self) -> None:
        """It has forgotten its sessions; it adopts what the replica has prepared."""
        self.the_replica_applies()
        self.epoch += 1
        self.sessions = {}
        self.no_commit_before = self.leader_now + T * 1.01
        if self.pending is not None and self.pending.prepared:
            self.pending.waiting, self.pending.adopted = set(), True
        else:
            self.pending = None

    # The session

    @rule(at_once=st.booleans())
    def registers(self, at_once: bool) -> None:
        sent_at = self.time * self.rate
        self.granted += 1
        name = f"session-{self.granted}"
        floors = {}
        if self.pending is not None:
            floors = {f"book:{book}": self.pending.seq for book in self.pending.books}
        self.sessions[name] = self.leader_now + T * 1.01
        self.grants.append((self.cache.ticket(), sent_at, Grant(name, self.epoch, T, floors)))
        if at_once:
            self.a_grant_arrives(len(self.grants) - 1)

    @precondition(lambda self: self.grants)
    @rule(which=st.integers(0, 9))
    def a_grant_arrives(self, which: int) -> None:
        ticket, sent_at, grant = self.grants.pop(which % len(self.grants))
        if not self.cache.install(ticket, grant, sent_at):
            self.sessions.pop(grant.session, None)  # surrendered: it never answered from it

    @rule(at_once=st.booleans())
    def renews(self, at_once: bool) -> None:
        held = self.cache.session()
        unacknowledged = self.pending.waiting if self.pending else set()
        if held and held.id in self.sessions and held.id not in unacknowledged:
            self.sessions[held.id] = self.leader_now + T * 1.01
            self.renewals.append((held.id, self.time * self.rate))
            if at_once:
                self.a_renewal_arrives(len(self.renewals) - 1)

    @precondition(lambda self: self.renewals)
    @rule(which=st.integers(0, 9))
    def a_renewal_arrives(self, which: int) -> None:
        session, sent_at = self.renewals.pop(which % len(self.renewals))
        self.cache.extend(session, sent_at, T)

    @rule()
    def the_session_is_surrendered(self) -> None:
        held = self.cache.session()
        self.cache.end()
        if held:
            self.sessions.pop(held.id, None)

    @precondition(lambda self: self.invalidations)
    @rule(which=st.integers(0, 9), again=st.booleans(), answered=st.booleans())
    def an_invalidation_arrives(self, which: int, again: bool, answered: bool) -> None:
        index = which % len(self.invalidations)
        session, epoch, seq, books = self.invalidations[index]
        if not again:
            del self.invalidations[index]
        told = self.cache.invalidate(session, epoch, seq, [f"book:{book}" for book in books])
        if told and answered and self.pending is not None and self.pending.seq == seq:
            self.pending.waiting.discard(session)

    # Reads

    @rule(book=st.sampled_from(BOOKS), name=NAMES, hops=st.integers(0, 2))
    def reads(self, book: int, name: str, hops: int) -> None:
        """A fetch begins; it may be held up on the way there and on the way back."""
        self.begun.append((self.cache.ticket(), book))
        before = len(self.fetches)
        if hops > 0:
            self.a_node_answers(len(self.begun) - 1, name)
        if hops > 1 and len(self.fetches) > before:
            self.an_answer_arrives(before)

    @precondition(lambda self: self.begun)
    @rule(which=st.integers(0, 9), name=NAMES)
    def a_node_answers(self, which: int, name: str) -> None:
        ticket, book = self.begun.pop(which % len(self.begun))
        node = self.nodes[name]
        adopted = self.pending.books if self.pending and self.pending.adopted else ()
        if book not in node.dirty and book not in adopted:
            self.fetches.append((ticket, book, node.versions[book], self.epoch, node.seq))

    @precondition(lambda self: self.fetches)
    @rule(which=st.integers(0, 9))
    def an_answer_arrives(self, which: int) -> None:
        ticket, book, version, epoch, as_of = self.fetches.pop(which % len(self.fetches))
        self.cache.fill(ticket, book_key(book), version, epoch=epoch, as_of=as_of)

    @invariant()
    def no_hit_is_stale(self) -> None:
        for book in BOOKS if hasattr(self, "cache") else ():
            found, committed = self.cache.book(book), self.nodes[LEADER].versions[book]
            assert found in (None, committed), f"book {book}: {found}, but {committed} is committed"


TestCacheAndLeader = CacheAndLeader.TestCase
TestCacheAndLeader.settings = settings(
    max_examples=400,
    stateful_step_count=50,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
