"""A basket: what it holds, and how it is written into a cookie and into a form. PURE.

Law: a basket never holds what the till would refuse for its form: at most the API's number of lines
and copies, every book once. It has a key, another one after each change: whoever orders the same
basket again, in whichever tab, means the same order. What is not one of ours, to the letter, is no
basket.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from common.errors import Problem
from common.fields import BASKET_LINES_MAX, QUANTITY_MAX, parse_id

COOKIE = "bazar-basket"
DAYS_KEPT = 30
DOUBT = "u"  # stands after a key; no key holds it
CHARS_MAX = 3000  # 100 lines of the longest numbers, and below what a browser keeps of a cookie

Basket = Mapping[int, int]  # book -> copies, in the order in which they came


class Held(NamedTuple):
    """A visitor's basket, and the key under which it would be bought; `in_doubt`: or perhaps was
    already.
    """

    key: str
    lines: dict[int, int]
    in_doubt: bool = False


_KEY = re.compile(r"[0-9a-f]{32}", re.ASCII)
_LINE = re.compile(r"([1-9][0-9]{0,18})x([1-9][0-9]{0,3})", re.ASCII)


def read(text: str) -> dict[int, int] | None:
    """Return the basket that a text stands for; None unless it is exactly what `written` makes."""
    if not text:
        return {}
    found = [_LINE.fullmatch(line) for line in text[: CHARS_MAX + 1].split(".")]
    lines: dict[int, int] = {}
    for line in found:
        book, quantity = (parse_id(line[1]), int(line[2])) if line else (None, 0)
        if book is None or book in lines or quantity > QUANTITY_MAX:
            return None
        lines[book] = quantity
    return lines if len(text) <= CHARS_MAX and len(lines) <= BASKET_LINES_MAX else None


def written(basket: Basket) -> str:
    """Return a basket as text: `8x1.12x2` is one copy of book 8 and two of book 12."""
    return ".".join(f"{book}x{quantity}" for book, quantity in basket.items())


def kept(held: Held) -> str:
    """Return what a cookie keeps of a basket."""
    mark = DOUBT if held.in_doubt else ""
    return f"{held.key}{mark}.{written(held.lines)}" if held.lines else ""


def brought(cookie: str) -> Held:
    """Return the basket that a cookie stands for; the empty one unless `kept` made it."""
    head, _, text = cookie.partition(".")
    key = head.removesuffix(DOUBT)
    lines = read(text) if is_key(key) else None
    return Held(key, lines, in_doubt=head != key) if lines else Held("", {})


def is_key(text: str) -> bool:
    """Tell whether this may be a basket's key."""
    return _KEY.fullmatch(text) is not None


def with_copies(basket: Basket, book: int, quantity: int) -> dict[int, int]:
    """Return the basket with exactly so many copies of a book; 0 takes it out."""
    changed = dict(basket)
    if quantity <= 0:
        changed.pop(book, None)
        return changed
    if book not in changed and len(changed) >= BASKET_LINES_MAX:
        raise Problem("invalid-request", f"A basket holds at most {BASKET_LINES_MAX} titles.")
    changed[book] = min(quantity, QUANTITY_MAX)
    return changed


def without(basket: Basket, bought: Basket) -> dict[int, int]:
    """Return the basket without the lines that were bought; what was added since stays in it."""
    return {book: copies for book, copies in basket.items() if bought.get(book) != copies}


def lines_of(basket: Basket) -> list[dict[str, int]]:
    """Return a basket as the till takes it."""
    return [{"book_id": book, "quantity": quantity} for book, quantity in basket.items()]
