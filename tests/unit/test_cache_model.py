"""The cache against a leader that keeps its side of the protocol: messages lost, late, repeated;
clocks drifting; the leader restarting. No hit is ever older than the last committed write.

A weighted random walk, replayable by its seed. What breaks caches is a rare order of many steps;
a walk of many steps finds in a second what many short examples do not find in minutes.
"""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

import pytest

from frontend.cache import Cache, Grant, book_key, page_key

T = 2.0
STEPS = 12_000
TAGS = ("book:1", "book:2", "topic:art")
KEYS = (book_key(1), book_key(2), page_key("art", 50, None), page_key("art", 50, "c"))


@dataclass
class Write:
    """The write that is pending: which tags it makes dirty, which sessions are waited for."""

    seq: int
    tags: tuple[str, ...]
    waiting: set[str]
    prepared: bool = False
    adopted: bool = False


@dataclass
class Catalog:
    """What one catalog has applied: tag -> seq of the write that changed it last."""

    versions: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TAGS, 0))
    seq: int = 0
    dirty: tuple[str, ...] = ()

    def apply(self, seq: int, tags: tuple[str, ...]) -> None:
        self.versions |= dict.fromkeys(tags, seq)
        self.seq, self.dirty = seq, ()


class Walk:
    """One frontend's cache, a leader, a replica, and everything that is on its way."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.time = 0.0
        self.rate, self.leader_rate = self.random.choices((0.991, 1.0, 1.009), k=2)
        capacity, floors_max = self.random.choice(((1, 1), (3, 1), (3, 2), (9, 9)))
        self.cache = Cache[int](
            capacity, now=lambda: self.time * self.rate, lock=threading.Lock(),
            floors_max=floors_max,
        )  # fmt: skip
        self.leader, self.replica = Catalog(), Catalog()
        self.epoch = 1
        self.granted = 0
        self.no_commit_before = 0.0
        self.sessions: dict[str, float] = {}  # alive at the leader -> end, on its clock
        self.pending: Write | None = None
        self.invalidations: list[tuple[str, int, int, tuple[str, ...]]] = []
        self.begun: list[tuple[int, int]] = []  # ticket, key
        self.answers: list[tuple[int, int, int, int, int]] = []  # .., version, epoch, as-of
        self.grants: list[tuple[int, float, Grant]] = []
        self.renewals: list[tuple[str, float]] = []
        self.hits = 0
        self.actions: dict[Callable[[], None], int] = {
            self.time_passes: 8,
            self.write: 8,
            self.tell: 4,
            self.go_on: 16,
            self.replica_applies: 4,
            self.restart: 1,
            self.register: 2,
            self.grant_arrives: 3,
            self.renew: 8,
            self.renewal_arrives: 8,
            self.surrender: 1,
            self.invalidation_arrives: 16,
            self.fetch: 24,
            self.node_answers: 24,
            self.answer_arrives: 24,
            self.flush: 1,
        }

    def run(self) -> None:
        actions, weights = list(self.actions), list(self.actions.values())
        for action in self.random.choices(actions, weights, k=STEPS):
            action()
            self.check(action.__name__)

    def check(self, after: str) -> None:
        for key in KEYS:
            found = self.cache.peek(key)
            if found is not None:
                self.hits += 1
                committed = self.leader.versions[key.tag]
                assert found == committed, f"{key} is {found}, not {committed}, after {after}"

    def take(self, waiting: list[tuple]) -> tuple:  # type: ignore[type-arg]  # of any message
        return waiting.pop(self.random.randrange(len(waiting)))

    # The leader

    @property
    def leader_now(self) -> float:
        return self.time * self.leader_rate

    def time_passes(self) -> None:
        self.time += self.random.choice((0.1, 0.2, 0.4, 2.0))
        now = self.leader_now
        self.sessions = {name: end for name, end in self.sessions.items() if end > now}

    def write(self) -> None:
        if self.pending is None:
            tags = tuple(self.random.sample(TAGS, self.random.randint(1, 2)))
            self.pending = Write(self.leader.seq + 1, tags, set(self.sessions))
            self.tell()

    def tell(self) -> None:
        """Send the invalidation to every session waited for; again, the second time."""
        for session in sorted(self.pending.waiting) if self.pending else ():
            assert self.pending is not None
            self.invalidations.append((session, self.epoch, self.pending.seq, self.pending.tags))

    def go_on(self) -> None:
        """The replica prepares; then the write commits when nobody has to be waited for."""
        write = self.pending
        if write is None:
            return
        if not write.prepared:
            self.replica_applies()
            self.replica.dirty = write.tags
            write.prepared = True
        elif not write.waiting & set(self.sessions) and self.leader_now >= self.no_commit_before:
            self.leader.apply(write.seq, write.tags)
            self.pending = None

    def replica_applies(self) -> None:
        """COMMIT arrives."""
        if self.replica.dirty and self.leader.seq > self.replica.seq:
            self.replica.apply(self.replica.seq + 1, self.replica.dirty)

    def restart(self) -> None:
        """The leader has forgotten its sessions; it adopts what the replica has prepared."""
        self.replica_applies()
        self.epoch += 1
        self.sessions = {}
        self.no_commit_before = self.leader_now + T * 1.01
        if self.pending is not None and self.pending.prepared:
            self.pending.waiting, self.pending.adopted = set(), True
        else:
            self.pending = None

    # The session

    def register(self) -> None:
        self.granted += 1
        name = f"session-{self.granted}"
        pending = self.pending
        floors = dict.fromkeys(pending.tags, pending.seq) if pending else {}
        self.sessions[name] = self.leader_now + T * 1.01
        grant = Grant(name, self.epoch, T, floors)
        self.grants.append((self.cache.ticket(), self.time * self.rate, grant))

    def grant_arrives(self) -> None:
        if self.grants:
            ticket, sent_at, grant = self.take(self.grants)
            if not self.cache.install(ticket, grant, sent_at):
                self.sessions.pop(grant.session, None)  # surrendered: it never answered from it

    def renew(self) -> None:
        held = self.cache.session()
        unacknowledged = self.pending.waiting if self.pending else set()
        if held and held.id in self.sessions and held.id not in unacknowledged:
            self.sessions[held.id] = self.leader_now + T * 1.01
            self.renewals.append((held.id, self.time * self.rate))

    def renewal_arrives(self) -> None:
        if self.renewals:
            session, sent_at = self.take(self.renewals)
            self.cache.extend(session, sent_at, T)

    def surrender(self) -> None:
        held = self.cache.session()
        self.cache.end()
        if held:
            self.sessions.pop(held.id, None)

    def invalidation_arrives(self) -> None:
        if not self.invalidations:
            return
        session, epoch, seq, tags = message = self.take(self.invalidations)
        told = self.cache.invalidate(session, epoch, seq, tags)
        if self.random.random() < 0.2:
            self.invalidations.append(message)  # and once more
        if told and self.random.random() < 0.8 and self.pending and self.pending.seq == seq:
            self.pending.waiting.discard(session)

    # Reads

    def fetch(self) -> None:
        if len(self.begun) < 4:
            self.begun.append((self.cache.ticket(), self.random.randrange(len(KEYS))))

    def node_answers(self) -> None:
        if not self.begun:
            return
        ticket, key = self.take(self.begun)
        node, tag = self.random.choice((self.leader, self.replica)), KEYS[key].tag
        adopted = self.pending.tags if self.pending and self.pending.adopted else ()
        if tag not in node.dirty and tag not in adopted:
            self.answers.append((ticket, key, node.versions[tag], self.epoch, node.seq))

    def answer_arrives(self) -> None:
        if self.answers:
            ticket, key, version, epoch, as_of = self.take(self.answers)
            self.cache.fill(ticket, KEYS[key], version, epoch=epoch, as_of=as_of)

    # The operator

    def flush(self) -> None:
        self.cache.flush()
        assert not any(self.cache.peek(key) for key in KEYS)


@pytest.mark.parametrize("seed", range(16))
def test_no_hit_is_ever_stale(seed: int) -> None:
    """Whatever is lost, late or repeated, a hit is the last committed write's."""
    walk = Walk(seed)
    walk.run()
    assert walk.hits > STEPS / 50, "the walk hardly ever hit: it proves nothing"
