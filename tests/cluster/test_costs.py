"""What each call costs the cluster, counted: messages, syncs, SQL statements, their steps, bytes.

Messages and syncs are exact: with fewer it would be another protocol. The rest are bounds, at or
just above what was counted: whoever gets below one lowers it, and whoever gets above one says why.
The figures are of SQLite 3.54; its own statements, to record and apply changesets, are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from catalog.writer import COMMIT_WAITS_S
from common.peer import Response
from common.service import Call
from tests.cluster.calls import FRONTEND, OTHER, buy, look
from tests.support.counting import HOP_S, Cost, Counted, write_books
from tests.support.scheduler import Job

LEADER, REPLICA = "catalog-1", "catalog-2"
ORDERS = ("order-1", "order-2")
SALES, OPERATIONS = "frontend to order: POST /sales", "order to catalog: POST /operations"
PREPARE = "catalog to catalog: POST /replication/prepare"
COMMIT = "catalog to catalog: POST /replication/commit"
INVALIDATE = "catalog to frontend: POST /internal/invalidate"

BOOKS, TOPIC, OTHER_TOPIC = 50, "Sea", "Land"
TOGETHER = 32


@contextmanager
def opened(folder: Path, books: int) -> Iterator[Counted]:
    """Open a shop of two frontends that trace nothing by themselves."""
    seed = write_books(folder / "catalog.csv", books, TOPIC, OTHER_TOPIC)
    with closing(Counted(folder, seed_file=seed, frontends=2, traces_per_s=0)) as cluster:
        cluster.open()
        yield cluster


@pytest.fixture
def shop(folder: Path) -> Iterator[Counted]:
    with opened(folder, BOOKS) as cluster:
        yield cluster


def search(cluster: Counted, limit: int = 10, frontend: str = FRONTEND) -> Response:
    """Ask for a topic's first page."""
    target = f"/search/{TOPIC}?limit={limit}"
    response: Response = cluster.do(lambda: cluster.ask(frontend, "GET", target))
    assert response.status == 200
    return response


def buying(
    cluster: Counted, number: int, frontend: str = FRONTEND, after_s: float = 0.0
) -> Response:
    """Buy the book of that number, as a client that comes a little later."""
    if after_s:
        cluster.scheduler.sleep(after_s)
    return cluster.ask(frontend, "POST", f"/purchase/{number}", key=f"buyer-{number:03}")


def sell_to(cluster: Counted, *purchases: Callable[[], Response]) -> None:
    """Let clients buy who all begin now; each is sold what it asks for."""
    answers: list[Response] = []

    def client(purchase: Callable[[], Response]) -> Job:
        job: Job = cluster.client("client", lambda: answers.append(purchase()))
        return job

    clients = [client(purchase) for purchase in purchases]
    cluster.run(lambda: all(job.done for job in clients), 10)
    assert {answer.status for answer in answers} == {201}


def bought_by(cluster: Counted, buyers: int, first: int = 1) -> Cost:
    """Return the cost of so many purchases, each of another book, begun now at one frontend."""
    purchases = [partial(buying, cluster, first + number) for number in range(buyers)]
    return cluster.cost_of(lambda: sell_to(cluster, *purchases))


# --- the ruler itself ---


def test_nobody_speaks_and_nothing_is_read_unless_asked(shop: Counted) -> None:
    """Else every other figure here would be a figure of heartbeats."""
    cost = shop.cost_of(lambda: None)
    assert (cost.sent, cost.run, cost.syncs) == ([], [], {})


def test_a_whole_table_that_is_read_is_noticed(shop: Counted) -> None:
    """The digest of a catalog reads them all; so `slow` is no list that is always empty."""
    cost = shop.cost_of(shop.node(LEADER).digest)
    assert {one.sql for one in cost.slow} >= {"SELECT * FROM books ORDER BY 1"}


# --- reads ---


def test_a_cached_lookup_asks_nobody_and_reads_nothing(shop: Counted) -> None:
    """No message, no SQL, at any node; and a head in which only the tag and the length vary."""
    look(shop)
    cost = shop.cost_of(lambda: look(shop))
    assert (cost.sent, cost.run, cost.syncs) == ([], [], {})
    hit = shop.running[FRONTEND].service.at_once(Call("GET", b"/lookup/1", {b"host": b"shop"}))
    assert hit is not None
    # A status line and six headers: type, length, cache-control, cache-status, by whom, tag.
    assert len(hit.head) <= 182, hit.head


def test_a_lookup_that_misses_is_one_message_and_five_statements(shop: Counted) -> None:
    """One catalog is asked, in one transaction: is it dirty, as of which entry, the row."""
    cost = shop.cost_of(lambda: look(shop))
    assert cost.messages == {"frontend to catalog: GET /books/1": 1}
    assert len(cost.sql()) <= 5, cost.sql()  # BEGIN, the three, ROLLBACK
    assert cost.steps() <= 43, cost.run
    assert (cost.slow, cost.syncs) == ([], {})
    assert cost.size <= 600  # 260 of the call, 300 of the answer; most of both is heads


@pytest.mark.parametrize("limit", [1, 10, 24])
def test_a_page_that_misses_is_one_message_and_seven_statements(shop: Counted, limit: int) -> None:
    """However long it is: dirty, as of, the books in one query, the topic's name, its number."""
    cost = shop.cost_of(lambda: search(shop, limit))
    assert cost.messages == {"frontend to catalog: GET /search": 1}
    assert len(cost.sql()) <= 7, cost.sql()  # BEGIN, the five, ROLLBACK
    assert cost.steps() <= 73 + 10 * limit, cost.run  # ten for each book: two cursors, four columns
    assert (cost.slow, cost.syncs) == ([], {})
    assert cost.size <= 560 + 72 * limit  # of these books; 525 and 70 counted


# --- purchases ---


def test_a_purchase_is_six_messages_and_three_syncs(shop: Counted) -> None:
    """To the order server, to the leader, to the replica, to each frontend; then the COMMIT.

    Synced are the entry at the replica, at the leader, and its application at the replica: nobody
    waits for the last one. The order server's log is a copy and waits for no disk.
    """
    cost = bought_by(shop, 1)
    assert cost.messages == {SALES: 1, OPERATIONS: 1, PREPARE: 1, INVALIDATE: 2, COMMIT: 1}
    assert cost.syncs == {LEADER: 1, REPLICA: 2}
    # 9 to look around (3 transactions of a reader), 14 of the batch and its entry, 22 of SQLite's.
    assert len(cost.sql(LEADER)) <= 45, cost.sql(LEADER)
    assert len(cost.sql(REPLICA)) <= 36, cost.sql(REPLICA)
    assert len(cost.sql(*ORDERS)) <= 3, cost.sql(*ORDERS)  # BEGIN, INSERT, COMMIT
    assert cost.slow == []
    assert cost.size <= 4800  # 4,700 counted; a third of it is the PREPARE


def test_purchases_that_wait_travel_together_and_cost_what_one_does(shop: Counted) -> None:
    """One buyer finds nobody; while his purchase is on its way 32 more come. These 32 are sent in
    one message, made one entry, synced once: all 33 take twice what one takes.
    """
    one = bought_by(shop, 1, first=BOOKS)
    all_of_them = bought_by(shop, 1 + TOGETHER)
    assert all_of_them.messages == {kind: 2 * count for kind, count in one.messages.items()}
    assert all_of_them.syncs == {node: 2 * count for node, count in one.syncs.items()}
    at_leader, at_replica = all_of_them.sql(LEADER), all_of_them.sql(REPLICA)
    # Each takes 1 to look its key up, 8 to decide it, 3 of SQLite's; then a key and three rows.
    assert len(at_leader) - len(one.sql(LEADER)) <= 33 + 12 * TOGETHER, at_leader
    assert len(at_replica) - len(one.sql(REPLICA)) <= 32 + 4 * TOGETHER, at_replica
    assert len(all_of_them.sql(*ORDERS)) - len(one.sql(*ORDERS)) <= 2 + TOGETHER
    assert all_of_them.slow == []
    assert all_of_them.size - one.size <= 1300 * TOGETHER  # 1,276 counted; alone it takes 4,700


AT_LEADER_S, COMMITTED_S = 3 * HOP_S, 5 * HOP_S  # after a purchase began


@pytest.mark.parametrize(
    ("reaches_leader_s", "commits"),
    [
        pytest.param(COMMITTED_S - HOP_S, 1, id="waits"),
        pytest.param(COMMITTED_S + HOP_S, 1, id="soon"),
        pytest.param(COMMITTED_S + COMMIT_WAITS_S + HOP_S, 2, id="late"),
    ],
)
def test_a_commit_rides_on_the_next_prepare(
    shop: Counted, reaches_leader_s: float, commits: int
) -> None:
    """If the next purchase waits already, or comes before the COMMIT has left, the entry needs none
    of its own, nor a sync to be applied. (It comes by the other frontend, so it is another entry.)
    """
    second = partial(buying, shop, 2, OTHER, after_s=reaches_leader_s - AT_LEADER_S)
    cost = shop.cost_of(lambda: sell_to(shop, partial(buying, shop, 1), second))
    assert cost.messages == {
        SALES: 2, OPERATIONS: 2, PREPARE: 2, INVALIDATE: 4, COMMIT: commits,
    }  # fmt: skip
    assert cost.syncs == {LEADER: 2, REPLICA: 2 + commits}


# --- size ---

Figures = dict[str, tuple[list[str], int]]  # call -> the statements it takes, all their steps


def figures(cluster: Counted, frontend: str = FRONTEND) -> Figures:
    """Return what one lookup, one page and one purchase take at a frontend that was not asked."""
    costs = {
        "lookup": cluster.cost_of(lambda: look(cluster, BOOKS, frontend)),
        "page": cluster.cost_of(lambda: search(cluster, frontend=frontend)),
        "purchase": cluster.cost_of(lambda: buy(cluster, f"by {frontend}", BOOKS, frontend)),
    }
    assert all(cost.run and cost.slow == [] for cost in costs.values())
    return {call: (sorted(cost.sql()), cost.steps()) for call, cost in costs.items()}


def test_nothing_takes_more_in_a_larger_shop(folder: Path) -> None:
    """The same statements and the same steps of SQLite's machine among 50 books and 1,000: what
    reads along a table or sorts would take twenty times as many.
    """
    found: list[Figures] = []
    for books in (BOOKS, 20 * BOOKS):
        own = folder / str(books)
        own.mkdir()
        with opened(own, books) as cluster:
            found.append(figures(cluster))
    assert found[0] == found[1]


def test_nothing_takes_more_after_many_sales(shop: Counted) -> None:
    """Nor among a hundred orders and outcomes, and fifty entries of the log."""
    before = figures(shop)
    bought_by(shop, BOOKS)
    for number in range(BOOKS):
        assert buy(shop, f"k-{number}").status == 201
    assert figures(shop, OTHER) == before
