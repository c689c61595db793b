"""What `orders.db` promises: rows and cursor move together, and a stored order never changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from common.database import Database
from order.model import Malformed, Order, Page, Refused, order_of
from order.store import NotStored, Place, StorageBroken, Store, open_database
from tests.support.order_fakes import TellingWriter, copy_as_after_a_crash, order


def copy(number: int) -> Order:
    """Return an order as the ledger gives it."""
    return order_of(order(number), number)


def page(since: int, *numbers: int, cluster: str = "shop") -> Page:
    orders = tuple(copy(number) for number in numbers)
    return Page(cluster, since, max(numbers, default=since), orders)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "order-1" / "orders.db"


@pytest.fixture
def database(path: Path) -> Iterator[Database]:
    database = open_database(path)
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


def failing(
    database: Database, statement: str, fail: Callable[[], None], times: int = 1
) -> TellingWriter:
    """Make a statement of the writer fail a number of times."""
    left = [times]

    def before(sql: str) -> None:
        if sql.startswith(statement) and left[0] > 0:
            left[0] -= 1
            fail()

    return TellingWriter(database, before)


def test_rows_and_cursor_survive_a_restart(store: Store, path: Path) -> None:
    """What was followed is in the file, not in memory."""
    store.follow(page(0, 1, 2, 3))
    store.close()
    again = Store(open_database(path))
    assert again.place == Place("shop", 3)
    assert again.find("order-2") == copy(2).body
    again.close()


def test_a_crash_before_the_commit_leaves_neither_rows_nor_cursor(
    store: Store, database: Database, path: Path, tmp_path: Path
) -> None:
    """The cursor never stands behind a row that is missing."""

    def crash(sql: str) -> None:
        if sql == "COMMIT":
            copy_as_after_a_crash(path, tmp_path / "crash")

    store.follow(page(0, 1))
    TellingWriter(database, crash)
    store.follow(page(1, 1, 2, 3))
    crashed = Store(open_database(tmp_path / "crash" / "orders.db"))
    assert crashed.place == Place("shop", 1)
    assert crashed.find("order-2") is None
    crashed.close()


def test_a_crash_after_the_commit_loses_nothing(store: Store, path: Path, tmp_path: Path) -> None:
    """Once `follow` and `record` have returned, the next process finds it all."""
    store.follow(page(0, 1, 2))
    store.record([copy(5)], "shop")
    crashed = Store(open_database(copy_as_after_a_crash(path, tmp_path / "crash")))
    assert crashed.place == Place("shop", 2)
    assert crashed.find("order-5") == copy(5).body
    crashed.close()


def test_a_sale_does_not_move_the_cursor(store: Store) -> None:
    """Rows between the cursor and the sale may be missing still, so no listing may show it."""
    store.follow(page(0, 1))
    store.record([copy(3)], "shop")
    assert store.place == Place("shop", 1)
    assert store.find("order-3") == copy(3).body
    assert [item.number for item in store.listing(0, 50)[0]] == [1]


def test_an_order_stored_by_its_sale_is_passed_by_the_follower(store: Store) -> None:
    """The same order twice is one order."""
    store.record([copy(2)], "shop")
    assert store.follow(page(0, 1, 2, 3)) == 3
    assert [item.number for item in store.listing(0, 50)[0]] == [1, 2, 3]


def test_the_same_sale_recorded_twice_is_one_order(store: Store) -> None:
    """A repeated purchase is answered from the ledger and stored again."""
    store.record([copy(1)], "shop")
    store.record([copy(1)], "shop")
    assert store.find("order-1") == copy(1).body


def test_a_number_the_sale_did_not_tell_is_filled_in(store: Store) -> None:
    """The order would be missing in the listing for ever otherwise."""
    store.record([order_of(order(1), None)], "shop")
    store.follow(page(0, 1))
    assert store.listing(0, 50) == ([copy(1)], 1)


def test_the_same_page_twice_moves_the_cursor_once(store: Store) -> None:
    """Two rounds may read the same rows at the same time."""
    assert store.follow(page(0, 1, 2)) == 2
    assert store.follow(page(0, 1, 2)) == 0
    assert store.place == Place("shop", 2)


def test_an_older_page_never_moves_the_cursor_back(store: Store) -> None:
    """A slow round ends after a faster one that began later."""
    store.follow(page(0, 1, 2, 3))
    store.follow(page(0, 1))
    assert store.place == Place("shop", 3)


def test_a_page_beyond_the_cursor_is_not_stored(store: Store) -> None:
    """There would be a gap for ever."""
    with pytest.raises(Malformed):
        store.follow(page(2, 3))
    assert store.place == Place("", 0)


def test_another_body_for_a_stored_order_is_refused(store: Store) -> None:
    """A copy that differs is a divergence, never an update; nothing of its page is kept."""
    store.record([copy(2)], "shop")
    other = order_of(order(2) | {"total_cents": 1}, 2)
    with pytest.raises(Refused, match="DIVERGED"):
        store.follow(Page("shop", 0, 2, (copy(1), other)))
    assert store.place == Place("shop", 0)
    assert store.find("order-1") is None
    assert store.find("order-2") == copy(2).body


def test_another_order_at_a_taken_number_is_refused(store: Store) -> None:
    """The ledger was rolled back and has grown again: the row at the cursor tells."""
    store.follow(page(0, 1, 2))
    with pytest.raises(Refused, match="DIVERGED"):
        store.follow(Page("shop", 2, 3, (order_of(order(9), 2), copy(3))))
    with pytest.raises(Refused, match="DIVERGED"):
        store.record([order_of(order(9), 2)], "shop")


def test_a_log_joins_the_first_cluster_and_no_other(store: Store) -> None:
    """Even an empty ledger binds the log to its cluster; later ones are never mixed in."""
    store.follow(page(0))
    assert store.place == Place("shop", 0)
    with pytest.raises(Refused, match="cluster"):
        store.follow(page(0, 1, cluster="other"))
    with pytest.raises(Refused, match="cluster"):
        store.record([copy(1)], "other")
    assert store.find("order-1") is None


def test_a_sale_can_be_the_first_to_name_the_cluster(store: Store, path: Path) -> None:
    """A sale may come before the follower's first answer; the log is bound durably then."""
    store.record([copy(1)], "shop")
    store.close()
    again = Store(open_database(path))
    assert again.place == Place("shop", 0)
    again.close()


def test_a_listing_is_of_one_moment(store: Store) -> None:
    """Rows and total agree, pages follow one another in the order of the sales."""
    store.follow(page(0, 1, 2, 3, 4, 5))
    orders, total = store.listing(2, 2)
    assert ([item.number for item in orders], total) == ([3, 4], 5)


def test_a_damaged_file_is_moved_aside(
    store: Store, path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The server starts empty and says so; the ledger has everything."""
    store.follow(page(0, *range(1, 200)))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096:] = b"\x5a" * (len(content) - 4096)
    path.write_bytes(content)
    again = Store(open_database(path))
    assert again.place == Place("", 0)
    assert again.follow(page(0, 1, 2)) == 2
    again.close()
    assert path.with_name("orders.db.corrupt-1").exists()
    assert "DAMAGED" in caplog.text


def test_every_damaged_file_is_kept(path: Path) -> None:
    """The second does not overwrite the first."""
    path.parent.mkdir(parents=True)
    for _ in range(2):
        path.write_bytes(b"this is no database " * 500)
        open_database(path).close()
    assert sorted(each.name for each in path.parent.glob("*corrupt*")) == [
        "orders.db.corrupt-1",
        "orders.db.corrupt-2",
    ]


def test_a_full_disk_leaves_the_log_readable_and_writable_later(
    store: Store, database: Database
) -> None:
    """Nothing of the page is kept, the cursor stays, and the next try may work."""
    store.follow(page(0, 1))
    database.writer.pragma("max_page_count", database.writer.pragma("page_count"))
    with pytest.raises(NotStored):
        store.follow(page(1, *range(1, 500)))
    assert store.place == Place("shop", 1)
    assert store.find("order-1") == copy(1).body
    database.writer.pragma("max_page_count", 100_000)
    assert store.follow(page(1, *range(1, 500))) == 498


def test_a_locked_file_is_waited_for(store: Store, database: Database) -> None:
    """Somebody may be looking at it with a tool."""

    def lock() -> None:
        raise apsw.BusyError("database is locked")

    failing(database, "BEGIN", lock)
    with pytest.raises(NotStored):
        store.follow(page(0, 1))
    assert store.follow(page(0, 1)) == 1


def test_a_transaction_rolled_back_by_a_full_disk_is_not_gone_on_with(
    store: Store, database: Database
) -> None:
    """SQLITE_FULL may end the transaction by itself; later statements would commit one by one."""

    def fill_up() -> None:
        database.writer.execute("ROLLBACK")
        raise apsw.FullError("database or disk is full")

    failing(database, "UPDATE cursor SET number", fill_up)
    with pytest.raises(NotStored):
        store.follow(page(0, 1, 2))
    assert store.find("order-1") is None
    assert store.follow(page(0, 1, 2)) == 2


def test_after_an_io_error_nothing_is_answered(store: Store, database: Database) -> None:
    """A failed fsync may have lost what looks stored: only a restart verifies it."""

    def fail() -> None:
        raise apsw.IOError("disk I/O error")

    store.follow(page(0, 1))
    failing(database, "COMMIT", fail)
    with pytest.raises(StorageBroken):
        store.follow(page(1, 1, 2))
    assert store.broken is not None
    with pytest.raises(StorageBroken):
        store.find("order-1")
    with pytest.raises(StorageBroken):
        store.record([copy(3)], "shop")
