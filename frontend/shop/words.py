"""How the shop puts things to people: prices, names, numbers of copies. PURE."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence

FEW = 5  # copies: from here on the page says how many are left
NAMED_MAX = 3  # authors
FAMILIES_MAX = 2
AFTER_THE_NAME = ("Jr.", "Sr.", "II", "III", "IV")
BEFORE_THE_NAME = ("Sir", "Mrs.", "Miss", "Lady", "Dr.", "Saint", "Baroness", "Princess")
PARTICLES = ("de", "da", "di", "du", "des", "del", "la", "le", "von", "van", "der", "den", "zu",
             "af", "av", "of", "y", "e", "d'", "ibn", "al")  # fmt: skip
COMPANY = ("Inc.", "Ltd.", "Ltd", "LLC", "Co.", "Corp.", "GmbH")


def money(cents: int) -> str:
    """Return a price as it stands on the tag; the shop has one currency."""
    return f"${cents // 100:,}.{cents % 100:02}"


def name(author: str) -> str:
    """Return an author as on a cover: "Brooks, Frederick P., Jr." is Frederick P. Brooks, Jr.

    What is not plainly a family name before its given names stays as it is.
    """
    parts = author.partition(" (")[0].split(", ")
    if len(parts) == 3 and parts[2] in AFTER_THE_NAME:
        return f"{parts[1]} {parts[0]}, {parts[2]}"
    if len(parts) == 3 and parts[2] in BEFORE_THE_NAME:
        return f"{parts[2]} {parts[1]} {parts[0]}"
    if len(parts) != 2 or parts[1] in COMPANY:
        return author
    last = parts[1].rpartition(" ")[2]
    is_description = last.islower() and last not in PARTICLES  # "Black Hawk, Sauk chief"
    return author if is_description else f"{parts[1]} {parts[0]}"


def people(authors: Sequence[str]) -> str:
    """Return a book's authors in a line; of many only the first."""
    names = [name(author) for author in authors if author]
    if len(names) > NAMED_MAX:
        return f"{names[0]} and others"
    return " and ".join(filter(None, [", ".join(names[:-1]), *names[-1:]]))


def families(authors: Sequence[str]) -> str:
    """Return who wrote a book as there is room for on a cover: of several the family names."""
    names = [author.partition(",")[0] for author in authors if author]
    if len(names) == 1:
        return people(authors)
    return " · ".join(names) if len(names) <= FAMILIES_MAX else f"{names[0]} and others"


def counted(number: int, one: str, many: str = "") -> str:
    """Return a number with its noun."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def shortened(text: str, chars_max: int) -> str:
    """Return the beginning of a text that is too long for its place, whole accents and all."""
    if len(text) <= chars_max:
        return text
    end = chars_max - 1
    while end and unicodedata.combining(text[end]):
        end -= 1
    return text[:end].rstrip() + "…"


def in_stock(quantity: int) -> str:
    """Say how many copies there are, as far as it matters."""
    if quantity <= 0:
        return "Sold out"
    return f"Only {quantity} left" if quantity <= FEW else "In stock"


def capitalised(text: str) -> str:
    """Return a text with a capital at its head, the rest as spelled."""
    return text[:1].upper() + text[1:]
