"""Readers who miss on one key at once. Each reader is a greenlet; calls and waits switch."""

import threading
from collections.abc import Callable

import greenlet  # type: ignore[import-untyped]
import pytest

from common.errors import Problem
from common.peer import NoAnswer, Response
from frontend.balancer import Balancer
from frontend.cache import Cache, Grant
from frontend.gateway import Group
from frontend.reads import Answer, Page, Reads
from tests.support.frontend_fakes import FakeClock, InlineTasks, answer
from tests.support.tracing import tracer


class SwitchingEvent:
    """Waiting gives the turn back to the test, until the flag is up or the test says: time over."""

    def __init__(self) -> None:
        self._up = False

    def set(self) -> None:
        self._up = True

    def clear(self) -> None:
        self._up = False

    def wait(self, timeout_s: float | None = None) -> bool:
        while not self._up:
            assert timeout_s is not None
            assert timeout_s <= 0.4
            if greenlet.getcurrent().parent.switch("waits") == "time over":
                return False
        return True


class SwitchingTasks(InlineTasks):
    """Tasks whose events switch."""

    def event(self) -> SwitchingEvent:  # type: ignore[override]
        return SwitchingEvent()


class HeldPeer:
    """A catalog whose answer is on its way until the test lets it arrive."""

    def __init__(self) -> None:
        self.asked = 0
        self.as_of = 10

    def call(self, method: str, path: str, **options: object) -> Response:
        self.asked += 1
        # Decided now, delivered later: this is what an overtaken answer looks like.
        made = answer({"id": 1, "seen": self.as_of}, bazar_epoch="1", bazar_as_of=str(self.as_of))
        failure = greenlet.getcurrent().parent.switch("asks")
        if failure == "lost":
            raise NoAnswer("lost")
        return made


class Scene:
    """One cache, one catalog, as many readers as a test wants."""

    def __init__(self, capacity: int = 8) -> None:
        self.clock = FakeClock()
        self.cache = Cache[Page](capacity, now=self.clock.now, lock=threading.Lock())
        self.cache.install(self.cache.ticket(), Grant("s", 1, 2.0), self.clock.now())
        self.peer = HeldPeer()
        peers = {"catalog-1": self.peer}
        balancer = Balancer(list(peers), lock=threading.Lock())
        group = Group(peers, balancer, self.clock)  # type: ignore[arg-type]
        tasks = SwitchingTasks(self.clock)
        self.reads = Reads(
            "frontend-1",
            group,
            self.cache,
            clock=self.clock,
            tasks=tasks,
            lock=threading.Lock(),
            tracer=tracer(self.clock),
        )

    def reader(self, book: int = 1) -> "Reader":
        return Reader(lambda: self.reads.book(book))


class Reader:
    """A greenlet that reads; `go` runs it on until it asks, waits or is done."""

    def __init__(self, read: Callable[[], Answer]) -> None:
        self.answer: Answer | Problem | None = None
        self._greenlet = greenlet.greenlet(lambda: self._run(read))

    def _run(self, read: Callable[[], Answer]) -> str:
        try:
            self.answer = read()
        except Problem as problem:
            self.answer = problem
        return "done"

    def go(self, said: str | None = None) -> str:
        state: str = self._greenlet.switch(*(() if said is None else (said,)))
        return state


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_readers_of_one_key_share_one_fetch(scene: Scene) -> None:
    """Ten miss, one asks; nine take the entry it filled."""
    first, *others = [scene.reader() for _ in range(10)]
    assert first.go() == "asks"
    assert {reader.go() for reader in others} == {"waits"}
    assert first.go() == "done"
    assert {reader.go() for reader in others} == {"done"}
    assert scene.peer.asked == 1
    assert all(isinstance(reader.answer, Answer) and reader.answer.hit for reader in others)


def test_a_fetch_that_was_not_kept_is_not_shared(scene: Scene) -> None:
    """It is older than an invalidation, so it may be older than a waiting reader's request."""
    first, second = scene.reader(), scene.reader()
    assert first.go() == "asks"
    assert second.go() == "waits"
    scene.cache.invalidate("s", 1, 11, ["book:1"])
    scene.peer.as_of = 11
    assert first.go() == "done"
    assert second.go() == "asks"
    assert second.go() == "done"
    assert isinstance(second.answer, Answer)
    assert b'"seen": 11' in second.answer.page.body
    assert not second.answer.hit


def test_a_kept_fetch_invalidated_before_the_waiter_looks_is_not_shared(scene: Scene) -> None:
    """The waiter looks under the cache's own rules, at its own time."""
    first, second = scene.reader(), scene.reader()
    first.go()
    second.go()
    first.go()
    scene.cache.invalidate("s", 1, 11, ["book:1"])
    scene.peer.as_of = 11
    assert second.go() == "asks"
    assert second.go() == "done"
    assert isinstance(second.answer, Answer)
    assert b'"seen": 11' in second.answer.page.body


def test_a_waiter_does_not_take_over_a_failure(scene: Scene) -> None:
    """Another reader's bad luck is not ours."""
    first, second = scene.reader(), scene.reader()
    first.go()
    second.go()
    assert first.go("lost") == "done"
    assert isinstance(first.answer, Problem)
    assert second.go() == "asks"
    assert second.go() == "done"
    assert isinstance(second.answer, Answer)


def test_a_waiter_that_waited_long_enough_fetches_for_itself(scene: Scene) -> None:
    """A stuck fetch holds nobody but its own reader."""
    first, second = scene.reader(), scene.reader()
    first.go()
    second.go()
    assert second.go("time over") == "asks"
    assert second.go() == "done"
    assert isinstance(second.answer, Answer)


def test_readers_of_different_keys_do_not_wait_for_one_another(scene: Scene) -> None:
    """One key, one flight."""
    first, second = scene.reader(1), scene.reader(2)
    assert first.go() == "asks"
    assert second.go() == "asks"


def test_the_next_miss_begins_a_new_fetch(scene: Scene) -> None:
    """A flight that has landed is nobody's."""
    for _ in range(2):
        scene.cache.invalidate("s", 1, 10, ["book:1"])
        reader = scene.reader()
        assert reader.go() == "asks"
        assert reader.go() == "done"
    assert scene.peer.asked == 2


def test_with_no_cache_nobody_waits_for_anybody() -> None:
    """Nothing will be kept, so nothing can be shared."""
    scene = Scene(capacity=0)
    assert [scene.reader().go() for _ in range(3)] == ["asks"] * 3


def test_without_a_live_session_nobody_waits_for_anybody(scene: Scene) -> None:
    """As with no cache."""
    scene.clock.advance(2.0)
    assert [scene.reader().go() for _ in range(3)] == ["asks"] * 3
