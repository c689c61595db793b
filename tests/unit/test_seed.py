"""The seed catalogue: perfect, the course's books first, a shop worth looking at."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from catalog.bookfile import read_books

SEED = Path(__file__).parents[2] / "config" / "catalog.csv"

COURSE_BOOKS = [
    "How to get a good grade in DOS in 40 minutes a day",
    "RPCs for Noobs",
    "Xen and the Art of Surviving Undergraduate School",
    "Cooking for the Impatient Undergrad",
    "How to finish Project 3 on time",
    "Why theory classes are so hard",
    "Spring in the Pioneer Valley",
]


@pytest.fixture(scope="module")
def books() -> list[dict[str, Any]]:
    return read_books(SEED)  # raises on any bad row


def test_the_seven_course_books_come_first(books: list[dict[str, Any]]) -> None:
    """A new shop gives ids in the file's order, so these are books 1 to 7."""
    assert [book["title"] for book in books[:7]] == COURSE_BOOKS


def test_the_assignments_topics_hold_the_assignments_books(books: list[dict[str, Any]]) -> None:
    """The first two are about distributed systems, the next two about undergraduate school."""
    assert all("distributed systems" in book["topics"] for book in books[:2])
    assert all("undergraduate school" in book["topics"] for book in books[2:4])


def test_there_are_sixty_others_over_a_dozen_topics(books: list[dict[str, Any]]) -> None:
    """No topic is there for one book alone, and some books have two."""
    topics = [topic for book in books for topic in book["topics"]]
    assert len(books) - 7 >= 60
    assert len(set(topics)) >= 12
    assert all(topics.count(topic) >= 2 for topic in topics)
    assert sum(len(book["topics"]) == 2 for book in books) >= 10


def test_titles_and_authors_are_not_all_ascii(books: list[dict[str, Any]]) -> None:
    """A shop that only ever saw ASCII has not been tried."""
    assert sum(not book["title"].isascii() for book in books) >= 5
    assert sum(not "".join(book["authors"]).isascii() for book in books) >= 5


def test_skus_are_ours_and_in_order(books: list[dict[str, Any]]) -> None:
    """The sku is a book's identity across files, so it never moves to another book."""
    assert [book["sku"] for book in books] == [f"BZ-{n:04}" for n in range(1, len(books) + 1)]
    assert len({(book["title"], *book["authors"]) for book in books}) == len(books)


def test_every_seed_book_can_be_bought(books: list[dict[str, Any]]) -> None:
    """It has a price and copies."""
    assert all(book["price_cents"] > 0 and book["quantity"] > 0 for book in books)
