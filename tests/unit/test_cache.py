"""The rules of the cache, one by one."""

import threading
from collections.abc import Callable, Iterator

import pytest

from frontend.cache import DRIFT, Cache, Grant, Key, book_key, page_key
from tests.support.frontend_fakes import FakeClock

T = 2.0


class Shelf:
    """A cache with a session, and short ways to use it."""

    def __init__(self, capacity: int = 8, floors_max: int = 100, **floors: int) -> None:
        self.clock = FakeClock(100.0)
        self.cache = Cache[str](
            capacity, now=self.clock.now, lock=threading.Lock(), floors_max=floors_max
        )
        self.begin("s1", **{name.replace("_", ":"): seq for name, seq in floors.items()})

    def begin(self, session: str, epoch: int = 1, lease_s: float = T, **floors: int) -> bool:
        grant = Grant(session, epoch, lease_s, floors)
        return self.cache.install(self.cache.ticket(), grant, self.clock.now())

    def fill(self, book: int, value: str = "v", as_of: int = 10, epoch: int = 1) -> bool:
        ticket = self.cache.ticket()
        return self.cache.fill(ticket, book_key(book), value, epoch=epoch, as_of=as_of)

    def fill_page(self, topic: str, limit: int = 50, after: str | None = None) -> bool:
        key = page_key(topic, limit, after)
        return self.cache.fill(self.cache.ticket(), key, "page", epoch=1, as_of=10)

    def count(self, name: str) -> int:
        return self.cache.counters().get(name, 0)


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


def test_a_kept_fill_is_a_hit(shelf: Shelf) -> None:
    """What was filled is answered."""
    assert shelf.cache.book(1) is None
    assert shelf.fill(1, "moby")
    assert shelf.cache.book(1) == "moby"


def test_books_and_pages_do_not_answer_for_one_another(shelf: Shelf) -> None:
    """Key, limit and cursor all count."""
    shelf.fill_page("art", 50, None)
    assert shelf.cache.topic_page("art", 50, None) == "page"
    assert shelf.cache.topic_page("art", 51, None) is None
    assert shelf.cache.topic_page("art", 50, "c") is None
    assert shelf.cache.topic_page("arts", 50, None) is None
    assert shelf.cache.book(1) is None


def test_without_a_session_nothing_is_kept() -> None:
    """No lease, no cache."""
    shelf = Shelf()
    shelf.cache.end()
    assert not shelf.fill(1)
    assert shelf.cache.book(1) is None
    assert shelf.count("refused no-session") == 1


def test_an_entry_is_not_answered_once_the_lease_has_ended(shelf: Shelf) -> None:
    """A process paused past its lease finds nothing when it wakes."""
    shelf.fill(1)
    shelf.clock.advance(T * DRIFT - 0.001)
    assert shelf.cache.book(1) == "v"
    shelf.clock.advance(0.001)
    assert shelf.cache.book(1) is None
    assert not shelf.cache.alive()


class PausedAfter(list[Key]):
    """Keys, and a process that sleeps past its lease once the last of them has been looked up."""

    def __init__(self, shelf: Shelf, *keys: Key) -> None:
        super().__init__(keys)
        self._shelf = shelf

    def __iter__(self) -> Iterator[Key]:
        yield from super().__iter__()
        self._shelf.clock.advance(T)


def test_a_pause_after_several_entries_is_noticed(shelf: Shelf) -> None:
    """One look at the clock is enough for all of them, after the last."""
    shelf.fill(1)
    assert shelf.cache.hits([book_key(1), book_key(2)]) == ["v", None]
    assert shelf.cache.hits(PausedAfter(shelf, book_key(1), book_key(2))) == [None, None]
    assert (shelf.count("hits"), shelf.count("misses")) == (1, 0)


def test_a_pause_between_entry_and_clock_is_noticed() -> None:
    """The clock is read after the entry: sleeping inside the look-up itself gives no stale hit."""
    times = iter([0.0, 100.0])  # the fill's reading, then the look-up's, an age later
    cache = Cache[str](4, now=lambda: next(times), lock=threading.Lock())
    cache.install(cache.ticket(), Grant("s", 1, T), sent_at=0.0)
    cache.fill(cache.ticket(), book_key(1), "old", epoch=1, as_of=1)
    assert cache.book(1) is None


def test_the_lease_counts_from_when_the_call_was_sent() -> None:
    """A grant that was long on its way is worth less."""
    shelf = Shelf()
    grant = Grant("s2", 1, T)
    shelf.cache.install(shelf.cache.ticket(), grant, sent_at=shelf.clock.now() - 1.5)
    session = shelf.cache.session()
    assert session is not None
    assert session.ends_at == pytest.approx(shelf.clock.now() - 1.5 + T * 0.99)


def test_a_fill_after_the_leases_end_is_refused(shelf: Shelf) -> None:
    """Only a session that is alive can be filled."""
    shelf.clock.advance(T)
    assert not shelf.fill(1)
    assert shelf.count("refused session-ended") == 1


def test_a_fill_of_another_epoch_is_refused(shelf: Shelf) -> None:
    """Floors compare numbers of one epoch only."""
    assert not shelf.fill(1, epoch=2)
    assert not shelf.fill(1, epoch=0)
    assert shelf.count("refused other-epoch") == 2


def test_a_late_fill_is_refused(shelf: Shelf) -> None:
    """An answer from before the invalidated write arrives after the invalidation."""
    assert shelf.cache.invalidate("s1", 1, 11, ["book:1"])
    assert not shelf.fill(1, as_of=10)
    assert shelf.count("refused below-floor") == 1
    assert shelf.fill(1, as_of=11)


def test_a_floor_never_sinks(shelf: Shelf) -> None:
    """Invalidations may arrive in any order, any number of times."""
    for seq in (12, 11, 12, 3):
        assert shelf.cache.invalidate("s1", 1, seq, ["book:1"])
    assert not shelf.fill(1, as_of=11)
    assert shelf.fill(1, as_of=12)


def test_a_floor_holds_for_its_key_alone(shelf: Shelf) -> None:
    """Other keys are filled as before."""
    shelf.cache.invalidate("s1", 1, 11, ["book:1"])
    assert shelf.fill(2, as_of=10)


def test_an_invalidation_deletes_its_keys_and_nothing_else(shelf: Shelf) -> None:
    """Deleting more would be safe but slow, deleting less wrong."""
    shelf.fill(1)
    shelf.fill(2)
    shelf.cache.invalidate("s1", 1, 11, ["book:1", "ledger", "text"])
    assert shelf.cache.book(1) is None
    assert shelf.cache.book(2) == "v"


def test_a_tag_deletes_every_page_of_its_topic(shelf: Shelf) -> None:
    """Whatever limit and cursor they were asked with."""
    for limit, after in ((50, None), (10, None), (10, "c")):
        shelf.fill_page("art", limit, after)
    shelf.fill_page("war")
    shelf.cache.invalidate("s1", 1, 11, ["topic:art"])
    assert shelf.cache.topic_page("art", 50, None) is None
    assert shelf.cache.topic_page("art", 10, None) is None
    assert shelf.cache.topic_page("art", 10, "c") is None
    assert shelf.cache.topic_page("war", 50, None) == "page"
    assert shelf.count("size") == 1


def test_a_page_never_seen_before_is_under_its_topics_floor(shelf: Shelf) -> None:
    """The floor belongs to the tag, not to the pages that were kept."""
    shelf.cache.invalidate("s1", 1, 11, ["topic:art"])
    assert not shelf.fill_page("art", 7, "cursor")


def test_only_the_session_installed_is_acknowledged(shelf: Shelf) -> None:
    """An invalidation for a session not (or no longer) installed is obeyed, not acknowledged."""
    shelf.fill(1)
    assert not shelf.cache.invalidate("s0", 1, 11, ["book:1"])
    assert shelf.cache.book(1) is None
    assert not shelf.fill(1, as_of=10)


def test_an_invalidation_that_overtakes_its_grant_is_not_acknowledged() -> None:
    """Acknowledged, it would be forgotten by the session that the grant is about to install."""
    shelf = Shelf()
    shelf.cache.end()
    assert not shelf.cache.invalidate("s2", 1, 11, ["book:1"])
    shelf.begin("s2")
    assert shelf.cache.invalidate("s2", 1, 11, ["book:1"])


def test_a_foreign_epochs_number_raises_no_floor(shelf: Shelf) -> None:
    """An old leader's numbers say nothing about this epoch."""
    shelf.fill(1)
    assert not shelf.cache.invalidate("s0", 9, 999, ["book:1"])
    assert shelf.cache.book(1) is None
    assert shelf.fill(1, as_of=10)


def test_an_entry_of_an_older_epoch_raises_the_floor_of_its_session(shelf: Shelf) -> None:
    """A leader re-prepares what it adopted; for its own session that is a write like any other."""
    shelf.begin("s2", epoch=5)
    assert shelf.cache.invalidate("s2", 4, 11, ["book:1"])
    assert not shelf.fill(1, as_of=10, epoch=5)
    assert shelf.fill(1, as_of=11, epoch=5)


def test_a_later_epoch_ends_the_session(shelf: Shelf) -> None:
    """Its numbers cannot be compared with our floors: all is given up, and acknowledged."""
    shelf.fill(1)
    shelf.fill(2)
    assert shelf.cache.invalidate("s1", 2, 1, ["book:1"])
    assert shelf.cache.session() is None
    assert shelf.cache.book(2) is None
    assert not shelf.fill(2)


def test_a_new_session_is_an_empty_cache(shelf: Shelf) -> None:
    """Nothing of the old one is answered again."""
    shelf.fill(1)
    assert shelf.begin("s2")
    assert shelf.cache.book(1) is None
    assert shelf.count("size") == 0


def test_a_new_session_starts_with_its_grants_floors() -> None:
    """Writes that were pending when it was granted."""
    shelf = Shelf(book_1=11)
    assert not shelf.fill(1, as_of=10)
    assert shelf.fill(2, as_of=10)


def test_floors_do_not_outlive_their_session(shelf: Shelf) -> None:
    """A new session has the floors of its own grant."""
    shelf.cache.invalidate("s1", 1, 99, ["book:1"])
    shelf.begin("s2", epoch=2)
    assert shelf.fill(1, as_of=5, epoch=2)


def test_a_fetch_begun_in_another_session_is_not_kept(shelf: Shelf) -> None:
    """Its answer may be older than an invalidation the new session was never told of."""
    ticket = shelf.cache.ticket()
    shelf.begin("s2")
    assert not shelf.cache.fill(ticket, book_key(1), "v", epoch=1, as_of=10)
    assert shelf.count("refused session-changed") == 1


def test_a_fetch_begun_before_the_session_ended_is_not_kept_after_another_began(
    shelf: Shelf,
) -> None:
    """Ending and beginning again does not restore a ticket."""
    ticket = shelf.cache.ticket()
    shelf.cache.end()
    shelf.begin("s1")
    assert not shelf.cache.fill(ticket, book_key(1), "v", epoch=1, as_of=10)


def test_a_grant_that_arrives_after_another_was_installed_is_refused(shelf: Shelf) -> None:
    """It has missed what the installed one acknowledged meanwhile."""
    ticket = shelf.cache.ticket()
    shelf.begin("s2")
    assert not shelf.cache.install(ticket, Grant("s3", 1, T), shelf.clock.now())
    session = shelf.cache.session()
    assert session is not None
    assert session.id == "s2"


def test_a_grant_that_arrives_after_the_end_is_refused(shelf: Shelf) -> None:
    """A frontend that has stopped does not begin again."""
    ticket = shelf.cache.ticket()
    shelf.cache.end()
    assert not shelf.cache.install(ticket, Grant("s2", 1, T), shelf.clock.now())
    assert shelf.cache.session() is None


def test_a_renewal_extends_the_session(shelf: Shelf) -> None:
    """Entries live on, floors too."""
    shelf.fill(1)
    shelf.clock.advance(1.5)
    assert shelf.cache.extend("s1", shelf.clock.now(), T)
    shelf.clock.advance(1.5)
    assert shelf.cache.book(1) == "v"


def test_a_renewal_of_another_session_changes_nothing(shelf: Shelf) -> None:
    """An answer that comes late may be for a session long gone."""
    assert not shelf.cache.extend("s0", shelf.clock.now() + 50, T)
    shelf.clock.advance(T)
    assert not shelf.cache.alive()


def test_a_late_renewal_shortens_nothing(shelf: Shelf) -> None:
    """Answers may overtake one another."""
    now = shelf.clock.now()
    shelf.cache.extend("s1", now + 1.0, T)
    shelf.cache.extend("s1", now + 0.2, T)
    session = shelf.cache.session()
    assert session is not None
    assert session.ends_at == pytest.approx(now + 1.0 + T * DRIFT)


def test_the_least_recently_used_goes_first() -> None:
    """A hit makes an entry young again, a fill too."""
    shelf = Shelf(capacity=3)
    for book in (1, 2, 3):
        shelf.fill(book)
    shelf.cache.book(1)
    shelf.fill(2)
    shelf.fill(4)
    assert shelf.cache.book(3) is None
    assert [shelf.cache.book(book) for book in (1, 2, 4)] == ["v", "v", "v"]
    assert shelf.count("evictions") == 1


def test_the_cache_never_grows_beyond_its_capacity() -> None:
    """Pages and books count alike."""
    shelf = Shelf(capacity=5)
    for number in range(1, 50):
        shelf.fill(number)
        shelf.fill_page("art", number)
        assert shelf.count("size") <= 5


def test_an_evicted_page_leaves_no_trace_in_its_tag() -> None:
    """A tag whose pages were evicted can be invalidated and filled again."""
    shelf = Shelf(capacity=1)
    shelf.fill_page("art", 1)
    shelf.fill_page("art", 2)
    shelf.fill(1)
    assert shelf.cache.invalidate("s1", 1, 5, ["topic:art"])
    assert shelf.fill_page("art", 1)
    assert shelf.count("size") == 1


def test_a_capacity_of_zero_keeps_nothing() -> None:
    """CACHE_CAPACITY=0 turns the cache off: no session either."""
    shelf = Shelf(capacity=0)
    assert not shelf.begin("s2")
    assert not shelf.fill(1)
    assert shelf.cache.book(1) is None
    assert not shelf.cache.alive()


def test_a_forgotten_floor_still_holds() -> None:
    """Floors are bounded; dropping one raises a floor for every key that has none."""
    shelf = Shelf(floors_max=2)
    shelf.cache.invalidate("s1", 1, 11, ["book:1"])
    shelf.cache.invalidate("s1", 1, 12, ["book:2"])
    shelf.cache.invalidate("s1", 1, 13, ["book:3"])
    assert not shelf.fill(1, as_of=10)
    assert not shelf.fill(77, as_of=10)  # nobody can tell it from a forgotten one
    assert shelf.fill(1, as_of=11)
    assert not shelf.fill(3, as_of=12)


def test_a_floor_raised_again_after_it_was_forgotten_is_no_lower() -> None:
    """The floor of all forgotten keys is its least."""
    shelf = Shelf(floors_max=1)
    shelf.cache.invalidate("s1", 1, 20, ["book:1"])
    shelf.cache.invalidate("s1", 1, 21, ["book:2"])
    shelf.cache.invalidate("s1", 1, 5, ["book:1"])
    assert not shelf.fill(1, as_of=19)
    assert shelf.fill(1, as_of=20)


def test_what_happens_is_counted(shelf: Shelf) -> None:
    """Hits, misses, fills, what was invalidated; but not the second look of one reader."""
    shelf.cache.book(1)
    shelf.fill(1)
    shelf.cache.book(1)
    shelf.cache.peek(book_key(1))
    shelf.cache.invalidate("s1", 1, 11, ["book:1", "book:2"])
    counted = shelf.cache.counters()
    expected = {"hits": 1, "misses": 1, "fills": 1, "invalidations": 1, "invalidated": 1, "size": 0}
    assert counted == expected


def test_every_step_takes_the_lock() -> None:
    """Check and insertion share one lock with the invalidation."""
    taken: list[str] = []

    class Lock:
        def __enter__(self) -> None:
            taken.append("")

        def __exit__(self, *error: object) -> None:
            taken[-1] = "released"

    cache = Cache[str](4, now=lambda: 0.0, lock=Lock())
    steps: list[Callable[[], object]] = [
        lambda: cache.install(cache.ticket(), Grant("s", 1, T), 0.0),
        lambda: cache.fill(cache.ticket(), book_key(1), "v", epoch=1, as_of=1),
        lambda: cache.book(1),
        lambda: cache.peek(book_key(1)),
        lambda: cache.extend("s", 0.0, T),
        lambda: cache.invalidate("s", 1, 2, ["book:1"]),
        cache.counters,
        cache.end,
    ]
    for step in steps:
        step()
    assert taken == ["released"] * len(steps)


# --- the operator's ---


def test_entries_are_shown_from_least_to_most_recently_used(shelf: Shelf) -> None:
    """Both ends of a long list, all of a short one; to look changes nothing."""
    for book in range(1, 7):
        shelf.fill(book, as_of=10 + book)
    assert shelf.cache.book(1)
    least, most = shelf.cache.ends(2)
    assert [(entry.key, entry.as_of) for entry in least] == [(book_key(2), 12), (book_key(3), 13)]
    assert [entry.key for entry in most] == [book_key(6), book_key(1)]
    least, most = shelf.cache.ends(4)
    assert [entry.key for entry in least + most] == [book_key(book) for book in (2, 3, 4, 5, 6, 1)]


def test_a_flush_forgets_all_entries_and_nothing_else(shelf: Shelf) -> None:
    """The session goes on, and so do the floors: what was too old to be kept still is."""
    shelf.fill(1)
    shelf.fill_page("art")
    shelf.cache.invalidate("s1", 1, 20, ["book:2"])
    before = shelf.cache.session()
    assert shelf.cache.flush() == 2
    assert (shelf.count("size"), shelf.count("flushed")) == (0, 2)
    assert shelf.cache.book(1) is None
    assert shelf.cache.session() == before
    assert not shelf.fill(2, as_of=19)
    assert shelf.fill(1, "again")
    assert shelf.cache.book(1) == "again"
