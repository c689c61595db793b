"""The rules of every field, shared by the API and the importer."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import fields
from common.errors import Problem

BOOK = {
    "title": "Dune",
    "authors": ["Frank Herbert"],
    "topics": ["Science fiction"],
    "price_cents": 999,
    "quantity": 3,
}
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=8,
)


def refused(check: Callable[[], object], field: str | None = None) -> None:
    """Assert that a check refuses, and names the field."""
    with pytest.raises(Problem) as caught:
        check()
    assert caught.value.code == "invalid-request"
    assert field is None or caught.value.members["field"] == field


@pytest.mark.parametrize("text", ["1", "42", str(2**63 - 1)])
def test_an_id_is_a_canonical_decimal(text: str) -> None:
    """1 to 2^63-1."""
    assert fields.parse_id(text) == int(text)


@pytest.mark.parametrize(
    "text", ["", "0", "-1", "+1", "01", "1.0", "1e3", " 1", "1\n", "٣", "²", str(2**63)]
)
def test_anything_else_is_no_id(text: str) -> None:
    """So that a book has one address."""
    assert fields.parse_id(text) is None


@given(text=st.text())
def test_an_id_is_written_in_one_way(text: str) -> None:
    """Whatever is accepted writes itself back."""
    number = fields.parse_id(text)
    assert number is None or str(number) == text


@given(text=st.text())
def test_a_topics_key_is_its_own_key(text: str) -> None:
    """Matching twice changes nothing; blanks and case do not count."""
    key = fields.topic_key(text)
    assert fields.topic_key(key) == key
    assert fields.topic_key(f"  {text}\n") == key
    assert fields.topic_key(unicodedata.normalize("NFD", text)) == key


def test_topics_match_whatever_their_spelling() -> None:
    """NFC, casefold, blanks collapsed."""
    assert fields.topic_key("  Große\t Straße ") == fields.topic_key("grosse STRASSE")
    assert fields.topic_key("Cafe\u0301") == fields.topic_key("CAFÉ")
    assert fields.topic_key("a/b") == "a/b"


def test_of_a_topic_spelled_twice_the_first_spelling_counts() -> None:
    """In the order given."""
    assert fields.topics(["Sci-Fi", "Space", "SCI-FI", "space "]) == ["Sci-Fi", "Space"]


@given(value=st.text(max_size=60))
def test_a_line_of_text_is_clean_or_refused(value: str) -> None:
    """NFC, one line, no blanks at its ends, no control characters."""
    try:
        line = fields.text("title", value, 50)
    except Problem as problem:
        line = None
        code = problem.code
    if line is None:
        assert code == "invalid-request"
        return
    assert 1 <= len(line) <= 50
    assert unicodedata.is_normalized("NFC", line)
    assert re.fullmatch(r"\S+( \S+)*", line)
    assert not any(unicodedata.category(char) in ("Cc", "Cs") for char in line)
    assert fields.text("title", line, 50) == line


@pytest.mark.parametrize("value", [None, 1, True, ["x"], "", " \n\t", "x" * 51, "a\0b", "\ud800"])
def test_what_is_no_line_of_text_is_refused(value: Any) -> None:
    """The refusal names the field."""
    refused(lambda: fields.text("title", value, 50), "title")


@pytest.mark.parametrize("value", [True, 1.5, 1e300, 2.0**53, "1", None, 0, 1001, 10**30])
def test_a_quantity_is_a_whole_number_in_its_range(value: Any) -> None:
    """JSON's true is no 1 here."""
    refused(lambda: fields.integer("quantity", value, 1, fields.QUANTITY_MAX), "quantity")


def test_a_whole_number_may_be_written_with_a_point() -> None:
    """To JSON Schema and to JavaScript 5.0 is 5; it is the same request under the same key."""
    found = fields.integer("quantity", json.loads("5.0"), 1, fields.QUANTITY_MAX)
    assert (found, type(found)) == (5, int)
    refused(lambda: fields.integer("id", 2.0**53, 1, fields.ID_MAX), "id")


def test_a_book_comes_out_checked() -> None:
    """Texts tidied, topics once, no sku when there is none."""
    book = fields.book(BOOK | {"title": " Dune \n Messiah", "topics": ["SF", "sf"]})
    assert book == BOOK | {"title": "Dune Messiah", "topics": ["SF"], "sku": None}


@pytest.mark.parametrize("name", BOOK)
def test_a_book_needs_all_its_fields(name: str) -> None:
    """Each missing one is named."""
    refused(lambda: fields.book({key: BOOK[key] for key in BOOK if key != name}), name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("title", "x" * 1001),
        ("authors", "Frank Herbert"),
        ("authors", ["x"] * 101),
        ("topics", []),
        ("topics", ["x"] * 51),
        ("price_cents", -1),
        ("price_cents", fields.PRICE_CENTS_MAX + 1),
        ("quantity", fields.STOCK_MAX + 1),
        ("sku", ""),
        ("isbn", "1"),
    ],
)
def test_a_wrong_field_of_a_book_is_named(name: str, value: Any) -> None:
    """Too long, too many, out of range, unknown."""
    refused(lambda: fields.book(BOOK | {name: value}), name)


def test_an_entry_of_a_list_is_named_by_its_place() -> None:
    """`authors[1]`, counted from 0 as in the JSON."""
    refused(lambda: fields.book(BOOK | {"authors": ["x", 7]}), "authors[1]")


def test_an_edit_holds_only_what_changes() -> None:
    """Nothing is filled in."""
    assert fields.changes({"price_cents": 5, "reason": " sale "}) == {
        "price_cents": 5,
        "reason": "sale",
    }


@pytest.mark.parametrize("body", [{}, {"reason": "none"}, {"quantity": 1}, {"sku": "x"}])
def test_an_edit_changes_something_that_can_be_edited(body: dict[str, Any]) -> None:
    """Stock and sku have other ways, or none."""
    refused(lambda: fields.changes(body))


def test_a_restock_says_how_many() -> None:
    """And why, if anybody cares."""
    assert fields.restock({"quantity": 5}) == {"quantity": 5, "reason": None}
    refused(lambda: fields.restock({}), "quantity")
    refused(lambda: fields.restock({"quantity": 0}), "quantity")


def test_a_line_of_a_basket_is_one_copy_unless_it_says_more() -> None:
    """The default is filled in, so that equal baskets are equal."""
    lines = fields.sale_lines([{"book_id": 1}, {"book_id": 2, "quantity": 3}])
    assert lines == [{"book_id": 1, "quantity": 1}, {"book_id": 2, "quantity": 3}]


@pytest.mark.parametrize(
    ("items", "field"),
    [
        (None, "items"),
        ([], "items"),
        ([{"book_id": n} for n in range(1, 102)], "items"),
        ([{"book_id": 1}, {"book_id": 1}], "items"),
        ([1], "items[0]"),
        ([{"quantity": 1}], "items[0].book_id"),
        ([{"book_id": 1}, {"book_id": "2"}], "items[1].book_id"),
        ([{"book_id": 1, "quantity": 0}], "items[0].quantity"),
        ([{"book_id": 2**63}], "items[0].book_id"),
        ([{"book_id": 1, "price_cents": 1}], "price_cents"),
    ],
)
def test_a_wrong_basket_is_refused(items: Any, field: str) -> None:
    """With the place of what is wrong."""
    refused(lambda: fields.sale_lines(items), field)


@pytest.mark.parametrize("value", ["", "0", "201", "-1", "1.0", "٣", "00001", "x"])
def test_a_wrong_page_length_is_refused(value: str) -> None:
    """1 to 200, in plain digits."""
    refused(lambda: fields.limit(value), "limit")


def test_a_page_has_fifty_rows_unless_asked_otherwise() -> None:
    """`limit` absent, and at its ends."""
    assert [fields.limit(value) for value in (None, "1", "200")] == [50, 1, 200]


@pytest.mark.parametrize("value", ["", "x" * 256, "a\tb", "ü", "a\nb"])
def test_a_wrong_idempotency_key_is_refused(value: str) -> None:
    """1 to 255 printable ASCII characters."""
    refused(lambda: fields.idempotency_key(value), "Idempotency-Key")


@given(body=st.dictionaries(st.sampled_from([*BOOK, "sku", "reason", "x"]), ANYTHING))
def test_no_document_breaks_the_checks(body: dict[str, Any]) -> None:
    """Any JSON gives clean fields or an `invalid-request`, never another error."""
    for check in (fields.book, fields.changes, fields.restock):
        try:
            check(body)
        except Problem as problem:
            assert problem.code == "invalid-request"  # noqa: PT017  # either way is right


@given(
    items=ANYTHING | st.lists(st.dictionaries(st.sampled_from(["book_id", "quantity"]), ANYTHING))
)
def test_no_basket_breaks_the_checks(items: Any) -> None:
    """Likewise for a basket."""
    try:
        assert fields.sale_lines(items)
    except Problem as problem:
        assert problem.code == "invalid-request"  # noqa: PT017  # either way is right


def test_a_long_run_of_accents_is_refused_before_it_costs_anything() -> None:
    """NFC is quadratic in it: 64 KiB of them would hold a worker for seconds."""
    refused(lambda: fields.text("title", "a" + "\u0301\u0323" * 30_000, 1000), "title")


@given(text=st.text(st.characters(codec="utf-8"), max_size=20))
def test_the_pattern_of_a_text_says_what_is_taken(text: str) -> None:
    """The API's description has no other words for it."""
    try:
        fields.text("title", text, 100)
        taken = True
    except Problem:
        taken = False
    assert bool(re.search(fields.TEXT_PATTERN, text.rstrip("\n"))) == taken


def test_the_pattern_of_a_text_knows_each_blank_and_each_control_character() -> None:
    """One by one."""
    for code in range(0x3100):
        text = chr(code)
        blank, unfit = not text.split(), unicodedata.category(text) == "Cc"
        assert bool(re.search(fields.TEXT_PATTERN, text + "x")) == (blank or not unfit), hex(code)
        assert bool(re.search(fields.TEXT_PATTERN, text)) == (not blank and not unfit), hex(code)


@given(key=st.text(st.characters(min_codepoint=0x1F, max_codepoint=0x80), max_size=260))
def test_the_pattern_of_a_key_says_what_a_header_can_carry(key: str) -> None:
    """A header's value ends where its last character that is no blank stands."""
    carried = key == key.strip(" ")
    try:
        taken = fields.idempotency_key(key) is not None and carried
    except Problem:
        taken = False
    fits = re.search(fields.KEY_PATTERN, key) is not None and len(key) <= fields.KEY_CHARS_MAX
    assert fits == taken
