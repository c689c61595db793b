"""Which books are asked for, and how often: request lines for both shops, in equal order.

Law: everything follows from a seed, so each shop and each round is asked the same things.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from random import Random
from urllib.parse import quote, quote_plus

from bench.books import Book

# Book demand by rank, flatter at its head than Zipf's law: (last rank, slope) of each piece.
SLOPES = ((100, 0.52), (1_000, 0.83), (None, 1.04))
# TPC-W's shopping mix, projected on the three operations: shares in percent.
SHOPPING = {"search": 48, "lookup": 49, "purchase": 3}


def weights(count: int) -> list[float]:
    """Return the demand for ranks 1 to `count`, relative to that for rank 1."""
    found: list[float] = []
    level, start = 1.0, 1
    for last, slope in SLOPES:
        end = count if last is None else min(last, count)
        found += [level * (rank / start) ** -slope for rank in range(len(found) + 1, end + 1)]
        if last is not None:
            level, start = level * (last / start) ** -slope, last
    return found


@dataclass(frozen=True)
class Demand:
    """Draws books as customers do; ranks are spread over the ids by the seed."""

    books: Sequence[Book]
    seed: int = 1

    def draw(self, count: int) -> list[Book]:
        """Return `count` books, popular ones often."""
        random = Random(self.seed)
        ranked = random.sample(self.books, len(self.books))
        return random.choices(ranked, cum_weights=list(accumulate(weights(len(ranked)))), k=count)

    def spread(self, count: int) -> list[Book]:
        """Return `count` books, each as likely as any other."""
        return Random(self.seed).choices(self.books, k=count)


def lookup(book: Book) -> str:
    """Return the request line's start of a look-up."""
    return f"GET /lookup/{book.id}"


def search(book: Book) -> str:
    """Return that of the first page of a book's first topic."""
    return f"GET /search/{quote(book.topics[0])}"


def purchase(book: Book) -> str:
    """Return that of the purchase of one copy."""
    return f"POST /purchase/{book.id}"


def text_search(book: Book) -> str:
    """Return that of a search as a person types it: a word of the title and the author's name."""
    word = max(book.title.split(), key=len)
    return f"GET /books?q={quote_plus(f'{word} {book.authors[0].split()[-1]}')}"


OPERATIONS = {"search": search, "lookup": lookup, "purchase": purchase}


def shopping(demand: Demand, count: int) -> list[str]:
    """Return `count` requests of the shopping mix."""
    kinds = Random(demand.seed).choices(list(SHOPPING), list(SHOPPING.values()), k=count)
    books = demand.draw(count)
    return [OPERATIONS[kind](book) for kind, book in zip(kinds, books, strict=True)]
