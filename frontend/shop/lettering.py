"""Fits a line of text into a box on a cover: breaks, size, and an end to what is too long. PURE.

Law: whatever the text is, its lines are not wider than the box, by widths that are rather too
large: nobody can ask the fonts of a reader's machine.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LEADING = 1.18  # from one line to the next, of the size
NARROW, WIDE = frozenset("fijlrtI.,;:'!|()[]-\u2019·"), frozenset("mwMWOQ@%&—…")
JOINER = "\u200d"
RTL = ("R", "AL")


@dataclass(frozen=True)
class Lines:
    """Text that was fitted into a box."""

    size: float
    texts: tuple[str, ...]

    @property
    def height(self) -> float:
        """Return how high the lines are together."""
        return len(self.texts) * self.size * LEADING


def fitted(text: str, width: float, height: float, sizes: Sequence[float]) -> Lines:
    """Return the text in the largest of `sizes` in which it fits without breaking a word; in the
    smallest words are broken, and what is too long ends in an ellipsis.
    """
    for size in sizes:
        texts = _wrapped(text, width / size)
        if texts and len(texts) * size * LEADING <= height:
            return Lines(size, tuple(texts))
    size = sizes[-1]
    texts = _wrapped(_broken(text, width / size), width / size)
    room = max(1, int(height / (size * LEADING)))
    if len(texts) > room:
        texts = [*texts[: room - 1], _ended(texts[room - 1], width / size)]
    return Lines(size, tuple(texts))


def is_rtl(text: str) -> bool:
    """Tell whether a text is read from right to left, by its first letter."""
    for character in text:
        direction = unicodedata.bidirectional(character)
        if direction in ("L", *RTL):
            return direction in RTL
    return False


def ems(text: str) -> float:
    """Return about how wide a text is, in units of its size; rather too much than too little."""
    return sum(map(_em, text))


@functools.lru_cache(4096)  # the letters of most alphabets: halves the time a cover takes
def _em(character: str) -> float:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0.0
    if character == " ":
        return 0.35
    if character in NARROW:
        return 0.46
    if unicodedata.east_asian_width(character) in ("W", "F") or character in WIDE:
        return 1.08
    return 0.84 if character.isupper() else 0.69


def clusters(text: str) -> Iterator[str]:
    """Yield what must stay together: a letter with its accents, an emoji with its joined parts."""
    whole = ""
    for character in text:
        joined = unicodedata.category(character) in ("Mn", "Me", "Mc", "Cf", "Sk")
        if whole and not joined and not whole.endswith(JOINER):
            yield whole
            whole = ""
        whole += character
    if whole:
        yield whole


def _words(text: str) -> Iterator[str]:
    """Yield the parts between which a line may end; scripts without blanks break anywhere."""
    for word in text.split():
        wide = [unicodedata.east_asian_width(character) in ("W", "F") for character in word]
        if sum(wide) * 2 > len(word):
            *first, last = clusters(word)
            yield from first
            yield f"{last} "
        else:
            yield f"{word} "


def _wrapped(text: str, width_em: float) -> list[str]:
    """Return lines, the first ones as full as they go; none when a word is too wide."""
    lines = [""]
    for word in _words(text):
        if ems(word.rstrip()) > width_em:
            return []
        if ems((lines[-1] + word).rstrip()) > width_em:
            lines.append("")
        lines[-1] += word
    return [line.rstrip() for line in lines]


def _broken(text: str, width_em: float) -> str:
    """Return the text with words that are too wide cut into pieces."""
    return " ".join(piece for word in text.split() for piece in _pieces(word, width_em))


def _pieces(word: str, width_em: float) -> Iterator[str]:
    piece = ""
    for cluster in clusters(word):
        whole = cluster if ems(cluster) <= width_em else "…"
        if ems(piece + whole) > width_em:
            yield piece
            piece = ""
        piece += whole
    yield piece


def _ended(line: str, width_em: float) -> str:
    kept = list(clusters(line))
    while kept and ems("".join(kept)) + ems("…") > width_em:
        kept.pop()
    return "".join(kept).rstrip() + "…"
