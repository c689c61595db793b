"""What the shop says and draws: names, prices, baskets in cookies, covers of any title."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.errors import PUBLIC, Problem
from common.fields import BASKET_LINES_MAX, ID_MAX, QUANTITY_MAX
from frontend.shop import basket, words
from frontend.shop.apologies import BUYING, NOT_TWICE
from frontend.shop.artwork import DESIGNS, HEIGHT, PALETTES, WIDTH
from frontend.shop.basket import Held
from frontend.shop.cover import cover, drawn
from frontend.shop.lettering import LEADING, clusters, ems, fitted, is_rtl

KEY = "0123456789abcdef" * 2
IDS = st.integers(1, ID_MAX)
LINES = st.dictionaries(IDS, st.integers(1, QUANTITY_MAX), min_size=1, max_size=BASKET_LINES_MAX)


@pytest.mark.parametrize(
    ("stored", "shown"),
    [
        ("Lem, Stanisław", "Stanisław Lem"),
        ("Brooks, Frederick P., Jr.", "Frederick P. Brooks, Jr."),
        ("Burton, Richard Francis, Sir", "Sir Richard Francis Burton"),
        ("Eliot, T. S. (Thomas Stearns)", "T. S. Eliot"),
        ("Beauvoir, Simone de", "Simone de Beauvoir"),
        ("Black Hawk, Sauk chief", "Black Hawk, Sauk chief"),
        ("Bazar Press", "Bazar Press"),
        ("Books & Sons, Ltd.", "Books & Sons, Ltd."),
        ("Marguerite, Queen, consort of Henry II, King of Navarre",) * 2,
    ],
)
def test_an_author_is_named_as_on_a_cover(stored: str, shown: str) -> None:
    """What is not plainly family name, given name stays as it is."""
    assert words.name(stored) == shown


def test_many_authors_are_one_and_others() -> None:
    """Up to three are named."""
    assert words.people(["A", "B"]) == "A and B"
    assert words.people(["A", "B", "C"]) == "A, B and C"
    assert words.people(["A", "B", "C", "D"]) == "A and others"
    assert words.families(["Gray, Jim", "Reuter, Andreas"]) == "Gray · Reuter"
    assert words.families(["Gray, Jim"]) == "Jim Gray"
    assert words.families(["Gray, Jim", "B", "C"]) == "Gray and others"
    assert words.families([""]) == ""
    assert words.people([]) == words.people([""]) == ""


def test_prices_and_numbers_are_written_as_people_do() -> None:
    """Cents are two digits, thousands have a comma."""
    assert [words.money(cents) for cents in (0, 5, 2499, 123456)] == [
        "$0.00", "$0.05", "$24.99", "$1,234.56",
    ]  # fmt: skip
    assert words.counted(1, "copy", "copies") == "1 copy"
    assert words.counted(18433, "book") == "18,433 books"
    assert [words.in_stock(n) for n in (0, 1, 5, 6)] == [
        "Sold out", "Only 1 left", "Only 5 left", "In stock",
    ]  # fmt: skip


@given(st.text(), st.integers(1, 50))
def test_a_shortened_text_is_short(text: str, chars_max: int) -> None:
    """And untouched when it was short enough."""
    short = words.shortened(text, chars_max)
    assert len(short) <= chars_max
    assert short == text or short.endswith("…")


# --- baskets ---


@given(LINES, st.booleans())
def test_a_basket_comes_back_from_its_cookie(lines: dict[int, int], in_doubt: bool) -> None:
    """In its order, with its key; and in a cookie's characters and size."""
    cookie = basket.kept(Held(KEY, lines, in_doubt))
    assert basket.brought(cookie) == Held(KEY, lines, in_doubt)
    assert list(basket.brought(cookie).lines) == list(lines)
    assert cookie.isascii()
    assert cookie.replace(".", "").isalnum()
    assert len(cookie) < 4000


@given(st.text() | st.from_regex(r"\A[0-9a-f]{32}u{0,2}(\.[0-9]{1,20}x[0-9]{1,5}){0,4}\Z"))
def test_any_other_cookie_is_an_empty_basket(cookie: str) -> None:
    """Unless it is to the letter what we would have written."""
    held = basket.brought(cookie)
    assert basket.kept(held) == (cookie if held.lines else "")


@pytest.mark.parametrize(
    "lines",
    ["1x0", "0x1", "01x1", "1x01", "1x1001", "1x1.1x2", "1x1.", ".1x1", "1", "1x", "x1", "1x-1",
     "1x1,2x1", "1x1 ", "9223372036854775808x1", "\uff11x1", "1x1" + ".2x1" * 5,
     ".".join(f"{n}x1" for n in range(1, BASKET_LINES_MAX + 2))],
)  # fmt: skip
def test_a_basket_that_the_till_would_refuse_is_none(lines: str) -> None:
    """Numbers, order of magnitude, every book once."""
    assert basket.read(lines) is None
    assert not basket.brought(f"{KEY}.{lines}").lines


def test_a_basket_holds_no_more_than_the_till_takes() -> None:
    """Titles are refused, copies kept to the most."""
    full = {book: 1 for book in range(1, BASKET_LINES_MAX + 1)}
    with pytest.raises(Problem, match="at most 100"):
        basket.with_copies(full, 1000, 1)
    assert basket.with_copies(full, 1, 2000)[1] == QUANTITY_MAX
    assert 1 not in basket.with_copies(full, 1, 0)


def test_only_what_was_bought_leaves_the_basket() -> None:
    """A line that was changed meanwhile stays."""
    assert basket.without({1: 1, 2: 2, 3: 1}, {1: 1, 2: 1}) == {2: 2, 3: 1}


# --- words for what goes wrong ---


def test_whoever_may_ask_again_is_told_that_it_is_safe() -> None:
    """Each word at the till with a button, but for looking things up."""
    for code, said in BUYING.items():
        assert code in PUBLIC
        if said.button and code != "unavailable":
            assert NOT_TWICE in said.text


def test_nothing_was_ordered_is_not_said_of_what_may_have_been() -> None:
    """Nobody knows, or it is still under way."""
    for code in ("outcome-unknown", "in-progress"):
        assert "othing was ordered" not in BUYING[code].text


# --- covers ---


@given(st.text(min_size=1), st.floats(40, 200), st.floats(20, 120))
def test_lettering_stays_in_its_box(text: str, width: float, height: float) -> None:
    """By widths that are rather too large; only what does not fit at all is cut."""
    lines = fitted(text, width, height, (30, 20, 12))
    assert all(ems(line) * lines.size <= width * 1.001 for line in lines.texts)
    assert len(lines.texts) * lines.size * LEADING <= max(height, lines.size * LEADING) * 1.001


def test_lettering_is_as_large_as_fits() -> None:
    """And a word is broken in the smallest size only."""
    assert fitted("Dune", 168, 90, (31, 20, 12)).size == 31
    broken = fitted("Donaudampfschifffahrtsgesellschaft", 100, 90, (31, 20, 12))
    assert broken.size == 12
    assert "".join(broken.texts) == "Donaudampfschifffahrtsgesellschaft"
    assert fitted("word " * 200, 100, 50, (20, 12)).texts[-1].endswith("…")


def test_what_belongs_together_is_not_torn_apart() -> None:
    """Letters and their accents, families of emoji."""
    family = "👩‍👩‍👧‍👦"
    assert list(clusters(f"e\u0301{family}x")) == ["e\u0301", family, "x"]


def test_the_direction_is_that_of_the_first_letter() -> None:
    """Digits and punctuation have none."""
    assert is_rtl("1001 ليلة")
    assert not is_rtl("1984")
    assert not is_rtl("The תנ״ך")


@given(st.text(max_size=1000), st.lists(st.text(max_size=50), max_size=5), st.text(max_size=200))
def test_a_cover_is_drawn_for_any_title(title: str, authors: list[str], topic: str) -> None:
    """It is well-formed and always the same, its lines stand on it, and have one size before they
    are scaled; what a title holds is never markup.
    """
    safe = "".join(char for char in title if char.isprintable())
    names = ["".join(char for char in name if char.isprintable()) for name in authors]
    topic = "".join(char for char in topic if char.isprintable())
    shown = cover(safe, names, topic)
    root = ElementTree.fromstring(shown)
    tags = {element.tag for element in root.iter()}
    assert tags <= {"svg", "path", "rect", "circle", "text", "tspan"}
    for text in root.iter("text"):
        scale = float(text.attrib["transform"].removeprefix("scale(").removesuffix(")"))
        for line in text:
            assert 0 <= float(line.attrib["x"]) * scale <= WIDTH
            assert 0 < float(line.attrib["y"]) * scale <= HEIGHT
    assert shown == drawn.__wrapped__(safe, tuple(names), topic)
    assert "style=" not in shown
    assert [name for element in root.iter() for name in element.attrib].count("font-size") == 1


@pytest.mark.parametrize("palette", PALETTES, ids=lambda palette: palette.ground)
@pytest.mark.parametrize("design", DESIGNS, ids=lambda design: design.__name__)
def test_the_lettering_of_each_design_can_be_read(design: object, palette: object) -> None:
    """Its contrast with the ground is that of large text at least (WCAG 1.4.3: 3 to 1)."""
    canvas = design(palette, bytes(range(30)))  # type: ignore[operator]
    ground = "#f7f1e3" if design.__name__ == "_panel" else palette.ground  # type: ignore[attr-defined]
    for place in filter(None, (canvas.title, canvas.author, canvas.topic)):
        assert contrast(place.colour, ground) >= 4.5


def contrast(one: str, other: str) -> float:
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
