"""Catalogues of any size with titles, authors and topics as bookshops have them.

Law: book n is the same in every catalogue and on every machine, whatever the catalogue's size.
"""

from __future__ import annotations

import csv
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TextIO

STOCK = 1_000_000  # nothing sells out: a refusal is less work than a sale
COLUMNS = ("sku", "title", "authors", "topics", "price_cents", "stock")

WORDS = tomllib.loads(Path(__file__).with_name("words.toml").read_text("utf-8"))
ADJECTIVES, NOUNS, GIVEN, SYLLABLES = (
    WORDS[kind].split() for kind in ("adjectives", "nouns", "given", "syllables")
)
TOPICS = WORDS["topics"].split("|")
SHAPES = (
    "The {a} {n}", "The {n} of {m}", "{a} {n}s", "A {n} in {m}", "The {a} {n}: A Novel",
    "Notes on the {n}", "{n} and {m}", "An Introduction to the {a} {n}, Volume {v}",
    "A History of {m} and the {n}, with an Account of Its {a} {k}s", "The {n}'s {k}",
)  # fmt: skip


@dataclass(frozen=True)
class Book:
    """A book of the generated catalogue; `id` is what an empty shop gives it."""

    id: int
    title: str
    authors: tuple[str, ...]
    topics: tuple[str, ...]
    price_cents: int

    @property
    def sku(self) -> str:
        """Return what names it in a file."""
        return f"BENCH-{self.id}"


def catalogue(count: int) -> list[Book]:
    """Return books 1 to `count`."""
    return [_book(number) for number in range(1, count + 1)]


def _book(number: int) -> Book:
    random = Random(number)
    title = random.choice(SHAPES).format(
        a=random.choice(ADJECTIVES), n=random.choice(NOUNS), m=_name(random),
        k=random.choice(NOUNS), v=random.randint(1, 9),
    )  # fmt: skip
    authors = tuple(
        f"{random.choice(GIVEN)} {_name(random)}" for _ in range(random.choice((1, 1, 1, 2)))
    )
    topics = random.sample(TOPICS, random.choice((1, 1, 2, 3)))
    return Book(number, title, authors, tuple(topics), random.randint(3, 60) * 100 - 1)


def _name(random: Random) -> str:
    """Return one of some ten thousand names of people and places."""
    return "".join(random.choices(SYLLABLES, k=3)).capitalize()


def write_csv(books: Iterable[Book], file: TextIO) -> None:
    """Write a catalogue in the layout that the importer reads."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    for book in books:
        topics, authors = "|".join(book.topics), ";".join(book.authors)
        writer.writerow([book.sku, book.title, authors, topics, book.price_cents, STOCK])
