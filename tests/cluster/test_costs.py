"""What each call costs the cluster, counted: messages, syncs, SQL statements, steps of SQLite, bytes.

Messages and syncs are exact: with fewer it would be another protocol. The rest are bounds, at or
just above what was counted: whoever gets below one lowers it, and whoever gets above one says why.
The figures are of SQLite 3.54; its own statements, to record and apply changesets, are among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from common.peer import Response
from common.service import Call
from tests.cluster.calls import FRONTEND, OTHER, buy, look
from tests.support.counting import HOP_S, Cost, Counted, write_books

LEADER, REPLICA = "catalog-1", "catalog-2"
ORDERS = ("order-1", "order-2")
SALES, OPERATIONS = "frontend to order: POST /sales", "order to catalog: POST /operations"
PREPARE = "catalog to catalog: POST /replication/prepare"
COMMIT = "catalog to catalog: POST /replication/commit"
INVALIDATE = "catalog to frontend: POST /internal/invalidate"

BOOKS, TOPIC, STOCK = 50, "Sea", 1000
TOGETHER = 32
COMMIT_WAITS_S = 0.003  # the leader's, before it sends a COMMIT of its own


def opened(folder: Path, books: int) -> Counted:
    """Open a shop of two frontends."""
    seed = write_books(folder / "catalog.csv", books, TOPIC, STOCK)
    cluster = Counted(folder, seed_file=seed, frontends=2)
    cluster.open()
    return cluster


@pytest.fixture
def shop(folder: Path) -> Iterator[Counted]:
    with closing(opened(folder, BOOKS)) as cluster:
        yield cluster


def search(cluster: Counted, limit: int = 10) -> Response:
    """Ask for a topic's first page."""
    target = f"/search/{TOPIC}?limit={limit}"
    response = cluster.do(lambda: cluster.ask(FRONTEND, "GET", target))
    assert response.status == 200
    return response


def buying(
    cluster: Counted, number: int, frontend: str = FRONTEND, after_s: float = 0.0
) -> Response:
    """Buy the book of that number, as a client that comes a little later."""
    if after_s:
        cluster.scheduler.sleep(after_s)
    return cluster.ask(frontend, "POST", f"/purchase/{number}", key=f"buyer-{number:03}")


def at_once(cluster: Counted, *calls: Callable[[], Response]) -> Callable[[], None]:
    """Return the work of clients that call at the same time, and are sold what they ask for."""

    def run() -> None:
        answers: list[Response] = []
        clients = [
            cluster.client("client", lambda call=call: answers.append(call()))  # type: ignore[misc]
            for call in calls
        ]
        cluster.run(lambda: all(client.done for client in clients), 10)
        assert {answer.status for answer in answers} == {201}

    return run


def bought_by(cluster: Counted, buyers: int, first: int = 1) -> Cost:
    """Return the cost of so many purchases, begun at the same time at one frontend."""
    numbers = range(first, first + buyers)
    return cluster.cost_of(at_once(cluster, *[lambda n=n: buying(cluster, n) for n in numbers]))  # type: ignore[misc]


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
    # The status line (17) and six headers: type, length, cache-control, cache-status, by whom, tag.
    assert len(hit.head) <= 191, hit.head


def test_a_lookup_that_misses_is_one_message_and_five_statements(shop: Counted) -> None:
    """One catalog is asked, in one transaction: is it dirty, as of which entry, the row."""
    cost = shop.cost_of(lambda: look(shop))
    assert cost.messages == {"frontend to catalog: GET /books/1": 1}
    assert len(cost.sql()) <= 5, cost.sql()  # BEGIN, the three, ROLLBACK
    assert cost.steps() <= 43, cost.run
    assert (cost.slow, cost.syncs) == ([], {})
    assert cost.size <= 600  # 260 of the call, 300 of the answer; most of both is heads


@pytest.mark.parametrize("limit", [1, 10, 49])
def test_a_page_that_misses_is_one_message_and_seven_statements(shop: Counted, limit: int) -> None:
    """However long it is: dirty, as of, the books in one query, the topic's name, its number."""
    cost = shop.cost_of(lambda: search(shop, limit))
    assert cost.messages == {"frontend to catalog: GET /search": 1}
    assert len(cost.sql()) <= 7, cost.sql()  # BEGIN, the five, ROLLBACK
    assert cost.steps() <= 73 + 10 * limit, cost.run  # ten for each book: two cursors, four columns
    assert (cost.slow, cost.syncs) == ([], {})


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
    together = {node: len(all_of_them.sql(node)) - len(one.sql(node)) for node in (LEADER, REPLICA)}
    # Of each: 3 to look its key up, 8 to decide it, 3 of SQLite's; and a key, a row of three tables.
    assert together[LEADER] <= 31 + 14 * TOGETHER, all_of_them.sql(LEADER)
    assert together[REPLICA] <= 32 + 4 * TOGETHER, all_of_them.sql(REPLICA)
    assert all_of_them.slow == []
    assert all_of_them.size - one.size <= 1280 * TOGETHER  # 1,240 counted: a quarter of one alone


@pytest.mark.parametrize(
    ("after_s", "commits"),
    [
        pytest.param(1 * HOP_S, 1, id="it waits already when the first one commits"),
        pytest.param(1 * HOP_S + COMMIT_WAITS_S, 1, id="it comes before the COMMIT has left"),
        pytest.param(3 * HOP_S + COMMIT_WAITS_S, 2, id="it comes too late"),
    ],
)
def test_a_commit_rides_on_the_next_prepare(shop: Counted, after_s: float, commits: int) -> None:
    """Under load no entry but the last has a COMMIT of its own, nor a sync for being applied.

    A purchase reaches the leader after three hops and is committed there after two more; then its
    COMMIT waits for 3 ms. The second one comes from the other frontend, so it is an entry of its own.
    """
    first, second = (lambda: buying(shop, 1)), (lambda: buying(shop, 2, OTHER, after_s))
    cost = shop.cost_of(at_once(shop, first, second))
    assert cost.messages == {
        SALES: 2, OPERATIONS: 2, PREPARE: 2, INVALIDATE: 4, COMMIT: commits,
    }  # fmt: skip
    assert cost.syncs == {LEADER: 2, REPLICA: 2 + commits}


# --- size ---


def test_nothing_takes_more_in_a_larger_shop(folder: Path) -> None:
    """The same statements and the same steps of SQLite's machine among 50 books and 1,000: what
    reads along a table or sorts would take twenty times as many.
    """
    small, large = (figures(folder / str(books), books) for books in (BOOKS, 20 * BOOKS))
    assert large == small


def figures(folder: Path, books: int) -> dict[str, tuple[list[str], int]]:
    """Return call -> the statements it takes, and the steps of all of them."""
    folder.mkdir()
    with closing(opened(folder, books)) as cluster:
        costs = {
            "lookup": cluster.cost_of(lambda: look(cluster, BOOKS // 2)),
            "page": cluster.cost_of(lambda: search(cluster)),
            "purchase": cluster.cost_of(lambda: buy(cluster, "k", BOOKS // 2)),
        }
    assert all(cost.slow == [] for cost in costs.values())
    return {call: (sorted(cost.sql()), cost.steps()) for call, cost in costs.items()}
