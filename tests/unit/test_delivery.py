"""What a delivery promises: each row is one restock, known by the file's bytes and its line."""

from __future__ import annotations

import hashlib

import pytest

from common.csvrows import BadRow
from common.delivery import Received, read
from common.errors import Problem
from common.fields import QUANTITY_MAX


def rows(data: bytes) -> tuple[list[Received], list[tuple[int, str]]]:
    found = list(read(data))
    good = [row for row in found if not isinstance(row, BadRow)]
    return good, [(row.line, row.reason) for row in found if isinstance(row, BadRow)]


def test_each_row_is_a_restock_under_the_files_digest_and_its_line() -> None:
    """`delivery-<16 hex>-<line>`: the importer's and the control room's keys are the same."""
    data = b"sku,received\nPG1,5\n\nPG2,12\n"
    digest = hashlib.sha256(data).hexdigest()[:16]
    good, bad = rows(data)
    assert bad == []
    assert good == [
        Received(2, "PG1", 5, f"delivery-{digest}-2"),
        Received(4, "PG2", 12, f"delivery-{digest}-4"),
    ]
    assert good[0].restock(7) == {"book_id": 7, "quantity": 5, "reason": "delivery"}


def test_another_file_has_other_keys() -> None:
    """A byte is enough: the next delivery may well hold the same rows."""
    first, _ = rows(b"sku,received\nPG1,5\n")
    second, _ = rows(b"sku,received\nPG1,5\n\n")
    assert {row.key for row in first}.isdisjoint(row.key for row in second)


def test_a_book_on_two_lines_is_received_twice() -> None:
    """Two boxes of one title are two rows."""
    good, _ = rows(b"sku,received\nPG1,5\nPG1,5\n")
    assert len({row.key for row in good}) == 2


def test_the_columns_are_found_by_name_and_others_may_be_there() -> None:
    """As in a file of books."""
    good, _ = rows('\ufeffTitle, Received ,SKU\r\nEmma,3,"A, B"\r\n'.encode())
    assert [(row.sku, row.quantity) for row in good] == [("A, B", 3)]


def test_a_bad_row_is_named_and_the_others_stand() -> None:
    """Numbers, skus, columns, quotes."""
    lines = [
        "A,many", "B,0", f"C,{QUANTITY_MAX + 1}", "D,-1", "E,1.5", "F,", ",3", "x" * 101 + ",3",
        "G", "H,1,2", '"I,1', "J,\u0663", "K,4",
    ]  # fmt: skip
    good, bad = rows(("sku,received\n" + "\n".join(lines)).encode())
    assert [row.sku for row in good] == ["K"]
    assert [line for line, _ in bad] == list(range(2, 14))
    assert bad[0] == (2, "received: must be a whole number, this is 'many'")
    assert bad[1] == (3, f"received: must be 1 to {QUANTITY_MAX}")
    assert bad[6] == (8, "sku: must not be empty")


@pytest.mark.parametrize(
    "data", [b"", b"sku\nA\n", b"received\n1\n", b'"sku', b"\xff\xfes\0", b"sku;received\nA;1\n"]
)
def test_what_is_no_delivery_is_refused_as_a_whole(data: bytes) -> None:
    """It says what the first line must name."""
    with pytest.raises(Problem, match="the first line must name sku and received"):
        list(read(data))
