"""How the sales ledger is followed, and what it means to have caught up."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from common.database import Database
from common.errors import Problem
from common.peer import NoAnswer, Request, Response
from order.follower import TICK_S, Follower
from order.ledger import QUARANTINE_S, RECENT_S, Ledger
from order.metrics import Metrics
from order.model import order_of
from order.store import Place, StorageBroken, Store, open_database
from tests.support.order_fakes import (
    CLUSTER_ID,
    FakeClock,
    FakeHttp,
    Hub,
    Shop,
    TellingWriter,
    answer,
    network,
    order,
    peers,
)


class Follow:
    """A follower with everything around it."""

    def __init__(self, path: Path) -> None:
        self.clock = FakeClock()
        self.hub = Hub(self.clock)
        self.shop = Shop()
        self.http: FakeHttp = network(self.shop)
        self.metrics = Metrics()
        self.database: Database = open_database(path)
        self.store = Store(self.database)
        catalogs = peers(self.http, lambda: self.store.place.cluster)
        self.ledger = Ledger(catalogs, self.clock)
        self.follower = Follower(
            self.ledger, self.store, clock=self.clock, tasks=self.hub, metrics=self.metrics
        )
        self.results: dict[str, str] = {}

    def catch_up(self, within_s: float = 0.4) -> str:
        """Return `caught up`, or the code of the problem."""
        try:
            self.follower.catch_up(self.clock.now() + within_s)
        except Problem as problem:
            return problem.code
        return "caught up"

    def spawn_catch_up(self, name: str, within_s: float = 0.4) -> None:
        """Let a reader catch up beside others; its result comes into `results`."""

        def read() -> None:
            self.results[name] = f"{self.catch_up(within_s)} to {self.store.place.number}"

        self.hub.spawn(name, read)
        self.hub.run()

    def hold(self, name: str) -> Callable[[], None]:
        """Keep back the next answer of a catalog, as true as it was, until it is released."""
        node, released = self.http.nodes[name], self.hub.event()

        def late(request: Request) -> Response:
            self.http.nodes[name] = node
            made = node(request)
            if not released.wait(request.timeout_s):
                raise NoAnswer("timed out")
            return made

        self.http.nodes[name] = late
        return released.set

    def fail_once(self, name: str) -> None:
        """Let a catalog say once that it may not answer."""
        node = self.http.nodes[name]

        def fail(request: Request) -> Response:
            self.http.nodes[name] = node
            raise Problem("unavailable", "recovering")

        self.http.nodes[name] = fail


@pytest.fixture
def follow(tmp_path: Path) -> Iterator[Follow]:
    follow = Follow(tmp_path / "orders.db")
    yield follow
    follow.database.close()


def says(problem: Problem) -> Callable[[Request], Response]:
    """Return a catalog that says nothing but this."""

    def node(request: Request) -> Response:
        raise problem

    return node


def mute(request: Request) -> Response:
    raise NoAnswer("timed out")


# --- following ---


def test_one_tick_follows_to_the_end_over_many_pages(follow: Follow) -> None:
    """A server that lost its disk fills itself again without waiting between pages."""
    follow.shop.page_rows_max = 3
    follow.shop.sell_many(20)
    follow.follower.tick()
    assert follow.store.place == Place(CLUSTER_ID, 20)
    assert follow.follower.lag == 0
    assert follow.metrics.registry.get_sample_value("bazar_order_followed_rows_total") == 20


def test_a_restart_goes_on_where_the_cursor_stood(follow: Follow, tmp_path: Path) -> None:
    """Nothing is fetched twice but the one row that proves the ledger to be the same."""
    follow.shop.sell_many(4)
    follow.follower.tick()
    follow.database.close()
    again = Follow(tmp_path / "orders.db")
    again.shop.sell_many(5)
    again.follower.tick()
    assert again.http.sent[0].target == "/ledger?after=3&limit=500"
    assert again.store.place.number == 5
    again.database.close()


def test_a_log_that_was_lost_is_filled_again(follow: Follow, tmp_path: Path) -> None:
    """An empty disk ends up with the same orders."""
    follow.shop.sell_many(7)
    follow.follower.tick()
    before = follow.store.listing(0, 50)
    empty = Follow(tmp_path / "empty" / "orders.db")
    empty.shop.orders = follow.shop.orders
    empty.follower.tick()
    assert empty.store.listing(0, 50) == before
    empty.database.close()


def test_an_order_stored_by_a_sale_first_is_no_obstacle(follow: Follow) -> None:
    """Whoever comes first, sale or follower, stores the same order."""
    sold = follow.shop.sell()
    follow.store.record([order_of(sold, 1)], CLUSTER_ID)
    follow.shop.sell()
    follow.follower.tick()
    assert follow.store.place.number == 2


def test_a_page_with_a_gap_is_taken_from_nobody(follow: Follow) -> None:
    """The cursor waits; the other catalog is asked instead."""
    follow.shop.sell_many(3)
    gap = {"end": 3, "rows": [{"number": at, "order": order(at)} for at in (1, 3)]}
    follow.http.nodes["catalog-1"] = lambda request: answer(gap)
    follow.follower.tick()
    assert follow.store.place.number == 3
    follow.http.nodes["catalog-2"] = lambda request: answer(gap)
    follow.shop.sell()
    follow.follower.tick()
    assert follow.store.place.number == 3
    assert follow.catch_up() == "unavailable"


def test_the_same_page_again_changes_nothing(follow: Follow) -> None:
    """Answers may arrive twice."""
    follow.shop.sell_many(2)
    follow.follower.tick()
    follow.follower.tick()
    assert follow.store.listing(0, 50)[1] == 2


def test_the_catalogs_are_asked_in_turn(follow: Follow) -> None:
    """Both carry the load."""
    for _ in range(4):
        follow.follower.tick()
    assert [sent.to for sent in follow.http.sent] == ["catalog-1", "catalog-2"] * 2


def test_a_dirty_ledger_is_read_at_the_leader(follow: Follow) -> None:
    """A replica with a prepared sale cannot say; the leader it names can."""
    follow.shop.sell()
    follow.http.nodes["catalog-1"] = says(Problem("dirty", "a sale", leader="catalog-2"))
    follow.follower.tick()
    assert follow.store.place.number == 1


def test_nobody_can_say_when_the_leader_itself_is_dirty(follow: Follow) -> None:
    """An adopted sale may have been seen already: no older ledger may be believed."""
    dirty = says(Problem("dirty", "adopted", leader="catalog-1"))
    follow.http.nodes["catalog-1"] = dirty
    assert follow.catch_up() == "unavailable"
    assert [sent.to for sent in follow.http.sent] == ["catalog-1"]


@pytest.mark.parametrize("problem", ["unavailable", "not-leader", "rate-limited"])
def test_a_catalog_that_may_not_answer_is_passed_over(follow: Follow, problem: str) -> None:
    """Recovering, diverged or too busy: the other one has the same ledger."""
    follow.shop.sell()
    follow.http.nodes["catalog-1"] = says(Problem(problem, "not now"))
    assert follow.catch_up() == "caught up"


def test_a_silent_catalog_is_asked_last_for_a_while(follow: Follow) -> None:
    """Readers must not wait for it again and again; later it gets its turn back."""
    follow.http.nodes["catalog-1"] = mute
    for _ in range(3):
        assert follow.catch_up() == "caught up"
    assert [sent.to for sent in follow.http.sent] == ["catalog-1", "catalog-2"] + ["catalog-2"] * 2
    follow.clock.advance(QUARANTINE_S)
    follow.catch_up()
    follow.catch_up()
    assert "catalog-1" in [sent.to for sent in follow.http.sent[4:]]


def test_the_first_catalog_gets_half_of_the_time(follow: Follow) -> None:
    """The other one must have time to answer."""
    follow.http.nodes["catalog-1"] = mute
    follow.catch_up(within_s=0.4)
    assert [sent.timeout_s for sent in follow.http.sent] == pytest.approx([0.2, 0.4])


def test_the_catalogs_count_as_reachable_for_a_moment(follow: Follow) -> None:
    """An answer, even a problem, shows that somebody is there."""
    assert not follow.ledger.reachable
    follow.http.nodes["catalog-1"] = says(Problem("unavailable", "recovering"))
    del follow.http.nodes["catalog-2"]
    follow.follower.tick()
    assert follow.ledger.reachable
    follow.clock.advance(RECENT_S)
    assert not follow.ledger.reachable


def test_nobody_there_is_no_reason_to_stop(follow: Follow) -> None:
    """The follower waits for its next turn."""
    follow.http.nodes.clear()
    follow.follower.tick()
    assert follow.catch_up() == "unavailable"
    assert follow.follower.refusing is None


def test_it_follows_again_and_again_until_it_is_stopped(follow: Follow) -> None:
    """Every 200 ms, and it ends at once when told to, wherever it is."""
    follow.hub.spawn("follower", follow.follower.run)
    follow.hub.run()
    follow.shop.sell()
    follow.clock.advance(TICK_S)
    follow.hub.run()
    assert follow.store.place.number == 1
    asked = len(follow.http.sent)
    follow.follower.stop()
    follow.hub.run_all()
    assert len(follow.http.sent) == asked == 2


# --- refusing ---


def test_another_cluster_is_refused_loudly(
    follow: Follow, caplog: pytest.LogCaptureFixture
) -> None:
    """Two shops are never mixed, whether they say so or only answer."""
    follow.shop.sell()
    follow.follower.tick()
    follow.shop.cluster = "another"
    follow.follower.tick()
    assert "another" in (follow.follower.refusing or "")
    assert "REFUSING" in caplog.text
    assert follow.catch_up() == "unavailable"
    assert follow.store.place == Place(CLUSTER_ID, 1)


def test_a_catalog_that_calls_us_foreign_is_refused(follow: Follow) -> None:
    """The catalogs check the cluster too."""
    follow.http.nodes["catalog-1"] = says(Problem("foreign-cluster", "this is another shop"))
    follow.follower.tick()
    assert follow.follower.refusing == "this is another shop"


def test_the_cluster_goes_with_every_call(follow: Follow) -> None:
    """Once it is known; before that a catalog takes the call of a new server."""
    follow.follower.tick()
    follow.follower.tick()
    assert [sent.headers["Bazar-Cluster"] for sent in follow.http.sent] == ["", CLUSTER_ID]


def test_a_shortened_ledger_is_refused(follow: Follow) -> None:
    """It has lost sales; what is here is kept, and nothing is answered from it."""
    follow.shop.sell_many(3)
    follow.follower.tick()
    follow.shop.orders.pop()
    follow.follower.tick()
    assert "lost sales" in (follow.follower.refusing or "")
    assert follow.store.place.number == 3


def test_a_ledger_that_was_shortened_and_grew_again_is_refused(follow: Follow) -> None:
    """Its end tells nothing then; the row at the cursor does."""
    follow.shop.sell_many(3)
    follow.follower.tick()
    follow.shop.orders = [*follow.shop.orders[:2], order(90), order(91)]
    follow.follower.tick()
    assert "DIVERGED" in (follow.follower.refusing or "")
    assert follow.store.place.number == 3


def test_an_order_that_differs_is_refused(follow: Follow) -> None:
    """A sale stored here and the ledger must be the same."""
    follow.store.record([order_of(order(1) | {"total_cents": 3}, 1)], CLUSTER_ID)
    follow.shop.sell()
    assert follow.catch_up() == "unavailable"
    assert "DIVERGED" in (follow.follower.refusing or "")


def test_a_ledger_that_fits_again_is_followed_again(follow: Follow) -> None:
    """One catalog on an old disk must not put the order log out of service for ever."""
    follow.shop.sell_many(3)
    follow.follower.tick()
    lost = follow.shop.orders.pop()
    follow.follower.tick()
    follow.shop.orders.append(lost)
    follow.shop.sell()
    follow.follower.tick()
    assert follow.follower.refusing is None
    assert follow.store.place.number == 4


# --- the disk ---


def test_a_full_disk_is_waited_for(follow: Follow) -> None:
    """What is here stays readable, and following goes on when there is room."""

    def full(sql: str) -> None:
        if sql == "COMMIT" and full_now:
            raise apsw.FullError("database or disk is full")

    full_now = True
    TellingWriter(follow.database, full)
    follow.shop.sell()
    follow.follower.tick()
    assert follow.catch_up() == "unavailable"
    assert follow.follower.lag == 1
    full_now = False
    follow.follower.tick()
    assert follow.store.place.number == 1


def test_an_io_error_ends_the_process(follow: Follow) -> None:
    """Its loop raises, even when it was a reader or a sale that met the error."""

    def fail(sql: str) -> None:
        if sql == "COMMIT":
            raise apsw.IOError("disk I/O error")

    TellingWriter(follow.database, fail)
    follow.shop.sell()
    assert follow.catch_up() == "unavailable"
    assert "disk I/O error" in (follow.follower.refusing or "")
    follow.http.nodes.clear()
    with pytest.raises(StorageBroken):
        follow.follower.run()


def test_stopping_ends_a_long_tick(follow: Follow) -> None:
    """A server that refills itself can be stopped between two pages."""
    follow.shop.page_rows_max = 2
    follow.shop.sell_many(10)
    node = follow.http.nodes["catalog-1"]

    def stop_then_answer(request: Request) -> Response:
        follow.follower.stop()
        return node(request)

    follow.http.nodes["catalog-1"] = stop_then_answer
    follow.follower.tick()
    assert follow.store.place.number == 2


# --- catching up ---


def test_catching_up_reads_even_when_nothing_seems_missing(follow: Follow) -> None:
    """What was the end a moment ago proves nothing about now."""
    follow.shop.sell()
    follow.follower.tick()
    follow.shop.sell()
    assert follow.follower.lag == 0
    assert follow.catch_up() == "caught up"
    assert follow.store.place.number == 2


def test_a_round_begun_before_the_arrival_is_not_enough(follow: Follow) -> None:
    """Its ledger read may be older than the sale that the late reader knows of."""
    release = follow.hold("catalog-1")
    follow.spawn_catch_up("early")
    follow.shop.sell()
    follow.spawn_catch_up("late")
    release()
    follow.hub.run()
    assert follow.results == {"early": "caught up to 0", "late": "caught up to 1"}
    assert len(follow.http.sent) == 2


def test_readers_that_wait_share_the_next_round(follow: Follow) -> None:
    """Its first read begins after all of them arrived: one is enough."""
    release = follow.hold("catalog-1")
    follow.spawn_catch_up("first")
    follow.shop.sell()
    for name in ("a", "b", "c"):
        follow.spawn_catch_up(name)
    release()
    follow.hub.run()
    shared = dict.fromkeys("abc", "caught up to 1")
    assert follow.results == {"first": "caught up to 0"} | shared
    assert len(follow.http.sent) == 2


def test_a_reader_that_comes_during_the_shared_round_needs_another(follow: Follow) -> None:
    """Each round serves only those who were there when it began."""
    release_first, release_second = follow.hold("catalog-1"), follow.hold("catalog-2")
    follow.spawn_catch_up("first")
    follow.spawn_catch_up("second")
    release_first()
    follow.hub.run()
    follow.shop.sell()
    follow.spawn_catch_up("third")
    release_second()
    follow.hub.run()
    assert follow.results["second"] == "caught up to 0"
    assert follow.results["third"] == "caught up to 1"


def test_a_failed_round_fails_only_the_reader_who_ran_it(follow: Follow) -> None:
    """The others have learnt nothing from it; they have time left and read themselves."""
    release = follow.hold("catalog-1")
    follow.spawn_catch_up("first")
    follow.shop.sell()
    follow.spawn_catch_up("second")
    follow.spawn_catch_up("third")
    for name in ("catalog-1", "catalog-2"):
        follow.fail_once(name)
    release()
    follow.hub.run()
    assert follow.results["second"] == "unavailable to 0"
    assert follow.results["third"] == "caught up to 1"


def test_catching_up_takes_as_many_pages_as_it_needs(follow: Follow) -> None:
    """The end that the first page shows is the goal, not the page."""
    follow.shop.page_rows_max = 2
    follow.shop.sell_many(5)
    assert follow.catch_up() == "caught up"
    assert follow.store.place.number == 5


def test_nobody_waits_longer_than_its_time(follow: Follow) -> None:
    """A reader behind a round that hangs gets its `unavailable` in time."""
    follow.hold("catalog-1")
    del follow.http.nodes["catalog-2"]
    follow.spawn_catch_up("patient", within_s=5.0)
    started = follow.clock.now()
    follow.spawn_catch_up("hasty", within_s=0.3)
    follow.clock.advance(0.3)
    follow.hub.run()
    assert follow.results == {"hasty": "unavailable to 0"}
    assert follow.clock.now() - started == pytest.approx(0.3)
    follow.hub.run_all()
    assert follow.results["patient"] == "unavailable to 0"


def test_a_tick_that_hangs_keeps_no_reader(follow: Follow) -> None:
    """The ticker has rounds of its own; a reader behind it asks for itself."""
    follow.hold("catalog-1")
    follow.hub.spawn("tick", follow.follower.tick)
    follow.hub.run()
    follow.shop.sell()
    follow.spawn_catch_up("reader")
    assert follow.results == {"reader": "caught up to 1"}


def test_an_answer_overtaken_by_a_later_one_is_no_shortened_ledger(follow: Follow) -> None:
    """Its end was true when it was read; the cursor has gone on since."""
    release = follow.hold("catalog-1")
    follow.hub.spawn("tick", follow.follower.tick)
    follow.hub.run()
    follow.shop.sell_many(2)
    assert follow.catch_up() == "caught up"
    release()
    follow.hub.run()
    assert follow.follower.refusing is None
    assert follow.store.place.number == 2


def test_a_copy_of_the_log_on_another_machine_follows_on(follow: Follow, tmp_path: Path) -> None:
    """The file is all there is: cursor, cluster and rows."""
    follow.shop.sell_many(3)
    follow.follower.tick()
    follow.database.close()
    (tmp_path / "copy").mkdir()
    shutil.copy(tmp_path / "orders.db", tmp_path / "copy" / "orders.db")
    copied = Follow(tmp_path / "copy" / "orders.db")
    copied.shop.sell_many(4)
    assert copied.catch_up() == "caught up"
    assert copied.store.place == Place(CLUSTER_ID, 4)
    copied.database.close()
