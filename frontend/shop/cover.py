"""Draws a book's cover as SVG from its title and authors: one book, one cover, on every page.

Law: a cover depends on nothing but its arguments, needs no file, and whatever stands in a title is
lettering, never markup. The topic, where a page knows it, is a line on the cover, no part of the
choice of design: lists do not know a book's topics (decision 14).
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

from frontend.shop.artwork import DESIGNS, PALETTES, WIDTH, Canvas, Place
from frontend.shop.lettering import LEADING, Lines, fitted, is_rtl
from frontend.shop.words import families

TITLE_SIZES = (31, 28, 25, 22, 20, 18, 16, 14, 12.5)
SUBTITLE_SIZES = (12, 11, 10)
AUTHOR_SIZES = (12.5, 11.5, 10.5, 9.5)
TOPIC_SIZES = (9.5, 8.5, 7.5)
BOX = 'viewBox="0 0 200 300"'
FONT_SIZE = 20  # of all lettering, before it is scaled


@dataclass(frozen=True)
class _Titles:
    """A title in its two parts: what is set large, and what follows it."""

    main: str
    rest: str


def cover(title: str, authors: Sequence[str], topic: str = "") -> Markup:
    """Return a cover as an `<svg>` for the inside of a page; its neighbours say in words what it
    is of.
    """
    return drawn(title, tuple(authors), topic)


@functools.lru_cache(1024)  # some 1.5 MB; without it half the welcome page's time was drawing
def drawn(title: str, authors: tuple[str, ...], topic: str) -> Markup:
    """Return the same, and keep it."""
    seed = hashlib.sha256("\0".join([title, *authors]).encode()).digest()
    palette = PALETTES[seed[0] % len(PALETTES)]
    design = DESIGNS[seed[1] % len(DESIGNS)]
    canvas = design(palette, seed[2:])
    return Markup(
        f'<svg class="cover" {BOX} font-size="{FONT_SIZE}" aria-hidden="true" focusable="false">'
        f"{canvas.shapes}{_lettered(canvas, title, authors, topic)}</svg>"
    )


def _lettered(canvas: Canvas, title: str, authors: Sequence[str], topic: str) -> str:
    place = canvas.title
    titles = _parts(title)
    large = fitted(titles.main, place.width, place.height, TITLE_SIZES)
    left = place.height - large.height - 4
    top = place.y
    small = None
    if titles.rest and left > SUBTITLE_SIZES[-1] * LEADING:
        small = fitted(titles.rest, place.width, min(left, 44), SUBTITLE_SIZES)
    if canvas.middle:
        top += (left + 4 - (small.height + 4 if small else 0)) / 2
    texts = [_text(large, place, top, "t")]
    if small:
        texts.append(_text(small, place, top + large.height + 4, "s"))
    by = fitted(families(authors) or " ", canvas.author.width, canvas.author.height, AUTHOR_SIZES)
    texts.append(_text(by, canvas.author, canvas.author.y, "a"))
    if topic and canvas.topic:
        line = fitted(topic.upper(), canvas.topic.width, canvas.topic.height, TOPIC_SIZES)
        texts.append(_text(line, canvas.topic, canvas.topic.y, "k"))
    return "".join(texts)


def _parts(title: str) -> _Titles:
    """Split a title from what follows a colon or semicolon, unless too little would be left."""
    for mark in (": ", "; or, ", "; "):
        main, found, rest = title.partition(mark)
        if found and len(main) > 2:
            return _Titles(main, rest)
    return _Titles(title, "")


def _text(lines: Lines, place: Place, top: float, style: str) -> str:
    """Return lines as SVG, each at its own baseline.

    Scaled, not set in their size: a browser looks up a font anew for each size, and on Linux waits
    for another process each time; that was two fifths of a first visit's layout.
    """
    rtl = is_rtl(" ".join(lines.texts))
    scale = lines.size / FONT_SIZE
    x = WIDTH / 2 if place.centred else place.x + (place.width if rtl else 0)
    first = top / scale + 0.92 * FONT_SIZE
    baselines = [first + index * LEADING * FONT_SIZE for index in range(len(lines.texts))]
    spans = "".join(
        f'<tspan x="{x / scale:.4g}" y="{y:.4g}">{escape(line)}</tspan>'
        for y, line in zip(baselines, lines.texts, strict=True)
    )
    anchor = ' text-anchor="middle"' if place.centred else ""
    direction = ' direction="rtl"' if rtl else ""
    return (
        f'<text class="{style}" transform="scale({scale:g})" fill="{place.colour}"'
        f"{anchor}{direction}>{spans}</text>"
    )
