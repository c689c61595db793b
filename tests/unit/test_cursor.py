"""Cursors: opaque, and of use only where they came from."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cursor import ROW_MAX, read_cursor, write_cursor
from common.errors import Problem

CLUSTER = "5f0c"


@given(row=st.integers(0, ROW_MAX), kind=st.sampled_from(["orders", "topic:a:b", "books"]))
def test_a_cursor_leads_back_to_its_row(row: int, kind: str) -> None:
    """Written and read are inverse, also when the kind holds the separator."""
    assert read_cursor(kind, CLUSTER, write_cursor(kind, CLUSTER, row)) == row


def test_without_a_cursor_a_list_begins_at_its_start() -> None:
    """No `after`, row 0."""
    assert read_cursor("orders", CLUSTER, None) == 0


@given(row=st.integers(0, ROW_MAX))
def test_a_cursor_fits_into_a_url_as_it_is(row: int) -> None:
    """A client may paste it without quoting."""
    assert write_cursor("orders", CLUSTER, row).replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("kind", "cluster"), [("books", CLUSTER), ("orders", "other"), ("orders:5f0c", "")]
)
def test_a_cursor_of_another_list_or_cluster_is_refused(kind: str, cluster: str) -> None:
    """It would silently skip or repeat rows."""
    cursor = write_cursor("orders", CLUSTER, 7)
    with pytest.raises(Problem, match="not a cursor of this list"):
        read_cursor(kind, cluster, cursor)


@pytest.mark.parametrize("row", ["", "-1", "+1", " 1", "٣", "1.0", str(ROW_MAX + 1), "9" * 400])
def test_a_forged_row_is_refused(row: str) -> None:
    """A row is a plain decimal that SQLite can hold."""
    forged = base64.urlsafe_b64encode(f"orders:{CLUSTER}:{row}".encode()).decode().rstrip("=")
    with pytest.raises(Problem, match="invalid-request"):
        read_cursor("orders", CLUSTER, forged)


@given(text=st.text(st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Z", "C"])))
def test_any_other_text_is_refused(text: str) -> None:
    """Whatever a client sends: a 400 and never an error of ours."""
    with pytest.raises(Problem, match="invalid-request"):
        read_cursor("orders", CLUSTER, text)
