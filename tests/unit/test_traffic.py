"""What the real-process tests hold against reads: each kind of wrong one is caught."""

from __future__ import annotations

import pytest

from tests.support.traffic import Read, Write, check_reads

START = (500, 10)  # price, quantity


def write(kind: str, amount: int, called: float, returned: float, status: int = 200) -> Write:
    return Write(f"{kind}-{called}", kind, {1: amount}, called, returned, (status, {}))


HISTORY = [
    write("price", 600, 1, 2),
    write("sell", 3, 3, 4, 201),
    write("sell", 5, 3, 4, 409),  # refused
    write("restock", 2, 5, 7),
    Write("given up", "sell", {1: 9}, called=1),
]


@pytest.mark.parametrize(
    "read",
    [
        Read(0, 0.5, 500, 10),
        Read(1.2, 1.4, 500, 10),  # within the change: either price
        Read(1.2, 1.4, 600, 10),
        Read(3.2, 3.4, 600, 7),
        Read(3.2, 3.4, 600, 10),
        Read(6, 6.5, 600, 9),
        Read(8, 9, 600, 9),
    ],
)
def test_a_read_of_what_was_true_in_between_is_fine(read: Read) -> None:
    """Old or new while a write is under way, new after it."""
    check_reads(START, [read], HISTORY, 1)


@pytest.mark.parametrize(
    "read",
    [
        Read(2.5, 2.6, 500, 10),  # the old price after the change was answered
        Read(0, 0.5, 600, 10),  # a price before anybody asked for it
        Read(4.5, 4.6, 600, 10),  # the old stock after the sale was answered
        Read(2.5, 2.6, 600, 7),  # a sale before anybody bought
        Read(8, 9, 600, 7),  # without the copies received
        Read(8, 9, 600, 4),  # with a sale that was refused
        Read(8, 9, 600, 0),  # with a sale that was given up
    ],
)
def test_a_stale_or_early_read_is_caught(read: Read) -> None:
    """Each is one that no order of the writes explains."""
    with pytest.raises(AssertionError):
        check_reads(START, [read], HISTORY, 1)


def test_the_old_price_after_somebody_saw_the_new_one_is_caught() -> None:
    """Though the change was not answered yet."""
    reads = [Read(1.1, 1.2, 600, 10), Read(1.3, 1.4, 500, 10)]
    with pytest.raises(AssertionError):
        check_reads(START, reads, HISTORY, 1)
    check_reads(START, [Read(1.1, 1.2, 500, 10), Read(1.3, 1.4, 600, 10)], HISTORY, 1)
