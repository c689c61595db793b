"""Digests of rows that only grow: the same whoever makes them, in whatever steps."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing

import apsw
import pytest

from common.chain import BELIEVED_S, BLOCK_ROWS, BLOCKS_MAX, START, Chain
from tests.support.frontend_fakes import FakeClock

QUERY = """
SELECT CAST(group_concat(number || body, char(10) ORDER BY number) AS BLOB), sum(body ->> 'n')
FROM numbered WHERE number > ? AND number <= ?"""


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def db() -> Iterator[apsw.Connection]:
    """A table of rows 1..3500, each counting for one."""
    with closing(apsw.Connection(":memory:")) as db:
        db.execute("CREATE TABLE numbered (number INTEGER PRIMARY KEY, body TEXT)")
        write(db, 1, 3 * BLOCK_ROWS + 500)
        yield db


def write(db: apsw.Connection, first: int, last: int) -> None:
    """Add rows."""
    rows = [(number, '{"n":1}') for number in range(first, last + 1)]
    db.executemany("INSERT INTO numbered VALUES (?, ?)", rows)


def chain(clock: FakeClock) -> Chain:
    """Return a chain that knows nothing yet."""
    return Chain(QUERY, clock=clock, lock=threading.Lock())


@pytest.mark.parametrize("number", [0, 1, BLOCK_ROWS, BLOCK_ROWS + 1, 3 * BLOCK_ROWS + 500])
def test_steps_do_not_matter(db: apsw.Connection, clock: FakeClock, number: int) -> None:
    """Who asked before for fewer or for more rows gets the same as who asks for the first time."""
    old = chain(clock)
    for before in (7, 3 * BLOCK_ROWS, 2 * BLOCK_ROWS):
        old.upto(db, before)
    found = old.upto(db, number)
    assert found == chain(clock).upto(db, number)
    assert (found.upto, found.total) == (number, number)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE numbered SET body = '{\"n\":2}' WHERE number = 1500",
        "UPDATE numbered SET body = 'no JSON any more' WHERE number = 1",
        "DELETE FROM numbered WHERE number = 3000",
        "UPDATE numbered SET number = 9999 WHERE number = 2000",
    ],
)
def test_every_row_counts(db: apsw.Connection, clock: FakeClock, change: str) -> None:
    """One that is changed, unreadable, missing or moved makes another digest."""
    good = chain(clock).upto(db, 3000).digest
    db.execute(change)
    assert chain(clock).upto(db, 3000).digest != good


def test_a_row_that_is_changed_is_found_after_a_while(
    db: apsw.Connection, clock: FakeClock
) -> None:
    """What was digested is believed, but not for ever; and not at all when told to forget."""
    known = chain(clock)
    before = known.upto(db, 3000)
    db.execute("UPDATE numbered SET body = '{\"n\":5}' WHERE number = 10")
    assert known.upto(db, 3000) == before
    clock.advance(BELIEVED_S + 1)
    assert known.upto(db, 3000).total == before.total + 4
    db.execute("UPDATE numbered SET body = '{\"n\":1}' WHERE number = 10")
    known.forget()
    assert known.upto(db, 3000) == before


def test_another_disk_is_read_from_its_first_row(db: apsw.Connection, clock: FakeClock) -> None:
    """Its rows may be others."""
    known = chain(clock)
    before = known.upto(db, 3000, "disk-1")
    db.execute("UPDATE numbered SET body = '{\"n\":3}' WHERE number = 10")
    assert known.upto(db, 3000, "disk-2") != before


def test_one_call_reads_so_many_rows_and_the_next_goes_on(
    db: apsw.Connection, clock: FakeClock
) -> None:
    """Nobody waits for half a million rows; each answer says how far it goes."""
    limit, more = BLOCKS_MAX * BLOCK_ROWS, 3 * BLOCK_ROWS + 500
    write(db, more + 1, limit + more)
    known = chain(clock)
    assert known.upto(db, limit + more).upto == limit
    found = known.upto(db, limit + more)
    assert (found.upto, found.total) == (limit + more, limit + more)


def test_no_rows_have_a_digest_too(db: apsw.Connection, clock: FakeClock) -> None:
    """An empty one."""
    assert chain(clock).upto(db, 0) == START
