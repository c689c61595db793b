"""What a well-formed field is: ids, titles, authors, topics, prices, quantities, pages, keys.

One place, used by the public API and by the importer. Every refusal is `invalid-request` and names
its field.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Collection, Mapping
from typing import Any

from common.errors import Problem

ID_MAX = 2**63 - 1
TITLE_CHARS_MAX = 1000
AUTHOR_CHARS_MAX = 300
AUTHORS_MAX = 100
TOPIC_CHARS_MAX = 200
TOPICS_MAX = 50
SKU_CHARS_MAX = 100
REASON_CHARS_MAX = 500
TEXT_QUERY_CHARS_MAX = 500
PRICE_CENTS_MAX = 100_000_000
QUANTITY_MAX = 1000  # of one line of a purchase, and of one restock
STOCK_MAX = 1_000_000_000
BASKET_LINES_MAX = 100
KEY_CHARS_MAX = 255
EXACT_FLOAT_MAX = 2**53 - 1  # beyond, a float may stand for several whole numbers
LIMIT_DEFAULT, LIMIT_MAX = 50, 200

# What `text` takes, for those who must say so beforehand: no control characters but those that are
# blanks, and something that is no blank. Lengths and half surrogate pairs are not in it.
_BLANK = r"\t-\r\x1c- \x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_UNFIT = r"\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f"
TEXT_PATTERN = f"^[^{_UNFIT}]*[^{_UNFIT}{_BLANK}][^{_UNFIT}]*$"
# Of a key in a header, around which blanks do not count.
KEY_PATTERN = r"^[!-~]([ -~]*[!-~])?$"

_LIMIT = re.compile(r"[0-9]{1,4}", re.ASCII)
_ID = re.compile(r"[1-9][0-9]{0,18}", re.ASCII)
_KEY = re.compile(r"[\x20-\x7e]{1,255}")
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")  # categories Cc and Cs


def invalid(field: str, why: str) -> Problem:
    """Return the problem that names a field and what is wrong with it."""
    return Problem("invalid-request", f"{field}: {why}", field=field)


def parse_id(text: str) -> int | None:
    """Return the id a path names, or None unless it is a canonical decimal 1..2^63-1."""
    if not _ID.fullmatch(text):
        return None
    number = int(text)
    return number if number <= ID_MAX else None


def topic_key(text: str) -> str:
    """Return what a topic is matched by: NFC, casefold, blanks collapsed."""
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    return " ".join(folded.split())


def text(field: str, value: Any, chars_max: int) -> str:
    """Return a line of text, NFC, blanks (newlines too) collapsed; it must not be empty."""
    if not isinstance(value, str):
        raise invalid(field, "must be a string")
    if len(value) > 4 * chars_max:  # before NFC, which is quadratic in a long run of accents
        raise invalid(field, f"at most {chars_max} characters, this has {len(value)}")
    line = " ".join(unicodedata.normalize("NFC", value).split())
    if not line:
        raise invalid(field, "must not be empty")
    if len(line) > chars_max:
        raise invalid(field, f"at most {chars_max} characters, this has {len(line)}")
    if _UNPRINTABLE.search(line):
        raise invalid(field, "holds a control character or half a surrogate pair")
    return line


def texts(field: str, value: Any, chars_max: int, items_max: int, items_min: int = 0) -> list[str]:
    """Return a list of lines of text."""
    if not isinstance(value, list):
        raise invalid(field, "must be a list of strings")
    if not items_min <= len(value) <= items_max:
        raise invalid(field, f"{items_min} to {items_max} entries, this has {len(value)}")
    return [text(f"{field}[{index}]", item, chars_max) for index, item in enumerate(value)]


def topics(value: Any) -> list[str]:
    """Return topics as spelled, the first spelling of each once."""
    spelled = texts("topics", value, TOPIC_CHARS_MAX, TOPICS_MAX, items_min=1)
    first: dict[str, str] = {}
    for topic in spelled:
        first.setdefault(topic_key(topic), topic)
    return list(first.values())


def integer(field: str, value: Any, low: int, high: int) -> int:
    """Return a whole number in low..high; 5.0 is one, as in JSON Schema and JavaScript."""
    if isinstance(value, float) and value.is_integer() and abs(value) <= EXACT_FLOAT_MAX:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise invalid(field, "must be a whole number")
    if not low <= value <= high:
        raise invalid(field, f"must be {low} to {high}")
    return value


def known(body: Mapping[str, Any], allowed: Collection[str]) -> None:
    """Raise unless every member of the body is one we know."""
    for name in body:
        if name not in allowed:
            fields = ", ".join(sorted(allowed)) or "none"
            raise invalid(name[:100], f"no such field here (known: {fields})")


def book(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of a new book: all of them, `sku` None when it has none."""
    known(body, ("title", "authors", "topics", "price_cents", "quantity", "sku"))
    for name in ("title", "authors", "topics", "price_cents", "quantity"):
        if name not in body:
            raise invalid(name, "is missing")
    sku = body.get("sku")
    return {
        "title": text("title", body["title"], TITLE_CHARS_MAX),
        "authors": texts("authors", body["authors"], AUTHOR_CHARS_MAX, AUTHORS_MAX),
        "topics": topics(body["topics"]),
        "price_cents": integer("price_cents", body["price_cents"], 0, PRICE_CENTS_MAX),
        "quantity": integer("quantity", body["quantity"], 0, STOCK_MAX),
        "sku": None if sku is None else text("sku", sku, SKU_CHARS_MAX),
    }


def changes(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of an edit: any but quantity and sku, and a reason."""
    known(body, ("title", "authors", "topics", "price_cents", "reason"))
    checks: dict[str, Callable[[Any], Any]] = {
        "title": lambda value: text("title", value, TITLE_CHARS_MAX),
        "authors": lambda value: texts("authors", value, AUTHOR_CHARS_MAX, AUTHORS_MAX),
        "topics": topics,
        "price_cents": lambda value: integer("price_cents", value, 0, PRICE_CENTS_MAX),
        "reason": lambda value: text("reason", value, REASON_CHARS_MAX),
    }
    if not set(body) - {"reason"}:
        raise Problem(
            "invalid-request", "nothing to change: give title, authors, topics or price_cents"
        )
    return {name: checks[name](value) for name, value in body.items()}


def restock(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the checked fields of a restock: quantity, and a reason or None."""
    known(body, ("quantity", "reason"))
    if "quantity" not in body:
        raise invalid("quantity", "is missing")
    reason = body.get("reason")
    return {
        "quantity": integer("quantity", body["quantity"], 1, QUANTITY_MAX),
        "reason": None if reason is None else text("reason", reason, REASON_CHARS_MAX),
    }


def sale_lines(items: Any) -> list[dict[str, int]]:
    """Return a basket's lines, `[{"book_id", "quantity"}]`, each book once."""
    if not isinstance(items, list) or not 1 <= len(items) <= BASKET_LINES_MAX:
        raise invalid("items", f"must be a list of 1 to {BASKET_LINES_MAX} lines")
    lines = [_sale_line(f"items[{index}]", item) for index, item in enumerate(items)]
    if len({line["book_id"] for line in lines}) < len(lines):
        raise invalid("items", "a book stands in it twice; put its copies on one line")
    return lines


def purchase_lines(book_id: int, body: dict[str, Any]) -> list[dict[str, int]]:
    """Return the lines of a purchase of one book, from its body."""
    known(body, ("quantity",))
    quantity = integer("quantity", body.get("quantity", 1), 1, QUANTITY_MAX)
    return [{"book_id": book_id, "quantity": quantity}]


def basket_lines(body: dict[str, Any]) -> list[dict[str, int]]:
    """Return the lines of a basket, from its body."""
    known(body, ("items",))
    return sale_lines(body.get("items"))


def _sale_line(field: str, item: Any) -> dict[str, int]:
    if not isinstance(item, dict):
        raise invalid(field, "must be an object with book_id and quantity")
    known(item, ("book_id", "quantity"))
    if "book_id" not in item:
        raise invalid(f"{field}.book_id", "is missing")
    return {
        "book_id": integer(f"{field}.book_id", item["book_id"], 1, ID_MAX),
        "quantity": integer(f"{field}.quantity", item.get("quantity", 1), 1, QUANTITY_MAX),
    }


def limit(value: str | None) -> int:
    """Return a page's length."""
    if value is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(value) or not 1 <= int(value) <= LIMIT_MAX:
        raise invalid("limit", f"must be 1 to {LIMIT_MAX}")
    return int(value)


def count(given: Mapping[str, str], name: str, default: int) -> int:
    """Return a query parameter that is a count."""
    value = given.get(name, str(default))
    if not value.isascii() or not value.isdecimal() or len(value) > 18:
        raise invalid(name, "must be a count")
    return int(value)


def idempotency_key(value: Any) -> str | None:
    """Return a given key, checked; None when there is none."""
    if value is not None and not (isinstance(value, str) and _KEY.fullmatch(value)):
        raise invalid("Idempotency-Key", f"1 to {KEY_CHARS_MAX} printable ASCII characters")
    return value
