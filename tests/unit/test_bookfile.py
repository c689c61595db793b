"""What the reader of book files promises: sound rows come out, a broken row costs only itself."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from catalog.bookfile import BadFile, LeftOut, books, mapping, opened, read_books
from catalog.layouts import Book, Given
from common import fields
from common.csvrows import FIELD_LINES_MAX, LINE_BYTES_MAX, BadRow

PG_CATALOG = Path(__file__).parents[1] / "support" / "pg_catalog.csv"  # a few real rows
HEADER = "id,sku,title,authors,language,topic,topics,lcc,subjects,price_cents,stock"


def row(sku: str, title: str = "Emma", price: str = "999", stock: str = "5") -> str:
    return f'1,{sku},{title},"Austen, Jane",en,novels,novels|classics,PR,,{price},{stock}'


def read(data: bytes, mapped: str = "", **given: Any) -> Iterator[Book | BadRow | LeftOut]:
    yield from books(opened(io.BytesIO(data), mapping(mapped)), Given(**given))


def read_text(text: str | bytes, mapped: str = "", **given: Any) -> list[Book | BadRow]:
    data = text if isinstance(text, bytes) else text.encode()
    return [item for item in read(data, mapped, **given) if not isinstance(item, LeftOut)]


def read_rows(*rows: str | bytes) -> list[dict[str, Any] | BadRow]:
    encoded = [line if isinstance(line, bytes) else line.encode() for line in (HEADER, *rows)]
    return read_text(b"\n".join(encoded) + b"\n")


def skus(items: list[dict[str, Any] | BadRow]) -> list[str]:
    return [item["sku"] for item in items if not isinstance(item, BadRow)]


def bad(items: list[dict[str, Any] | BadRow]) -> list[tuple[int, str]]:
    return [(item.line, item.reason) for item in items if isinstance(item, BadRow)]


def test_a_sound_row_becomes_a_checked_book() -> None:
    """Every column lands in its field, lists are split."""
    line = '7,PG18,The Federalist,"Jay, John; Madison, James",en,Law,Law|Politics,JK,x,1399,18'
    assert read_rows(line) == [
        {
            "sku": "PG18", "title": "The Federalist", "authors": ["Jay, John", "Madison, James"],
            "topics": ["Law", "Politics"], "price_cents": 1399, "quantity": 18,
        }
    ]  # fmt: skip


BROKEN: list[tuple[str | bytes, str]] = [
    (row("B1", title=""), "title: must not be empty"),
    (row("B2", title="x" * 1001), "title: at most 1000 characters"),
    (row("B3", price="cheap"), "price_cents: must be a whole number"),
    (row("B4", price="-1"), "price_cents: must be 0 to"),
    (row("B5", price="9.99"), "price_cents: must be a whole number"),
    (row("B6", price=""), "price_cents: must not be empty"),
    (row("B7", stock="-3"), "stock: must be 0 to"),
    (row("B8", stock="many"), "stock: must be a whole number"),
    (row(""), "sku: must not be empty"),
    (row("good-1"), "sku: good-1 is already on line 2"),
    (row("B11").encode().replace(b"Emma", b"Caf\xe9"), "not UTF-8: 0xe9 at byte 10 of line"),
    (row("B12", title="Em\0ma"), "holds a NUL byte"),
    (row("B13") + ",more", "11 columns expected, this row has 12"),
    ("1,B14,short", "11 columns expected, this row has 3"),
    ('1,B15,"Emma,Plato,en,novels,novels,,,999,5', "a quote opened in this row is not closed"),
    (row("B15", title='"Emma'), "text after a closing quote: one is missing"),
    (row("B16", title='"Emma" or not'), "text after a closing quote"),
    (row("B17", title="Em\x07ma"), "title: holds a control character"),
    (row("B18").replace("novels|classics", "").replace("novels", ""), "topics: 1 to 50 entries"),
    (row("B19", title="x" * LINE_BYTES_MAX), "the line is longer than 256 KiB"),
    (row("B20", title="Em\rma"), "a carriage return outside quotes"),
]


def test_every_broken_row_is_named_and_the_sound_rows_around_it_load() -> None:
    """One file with every kind of broken row, sound rows before, between and after."""
    lines: list[str | bytes] = [row("good-1")]
    for number, (broken, _) in enumerate(BROKEN, start=2):
        lines += [broken, row(f"good-{number}")]
    items = read_rows(*lines)
    assert skus(items) == [f"good-{number}" for number in range(1, len(BROKEN) + 2)]
    assert [line for line, _ in bad(items)] == [3 + 2 * index for index in range(len(BROKEN))]
    for (_, reason), (_, expected) in zip(bad(items), BROKEN, strict=True):
        assert reason.startswith(expected)


@pytest.mark.parametrize("broken", [broken for broken, _ in BROKEN])
def test_a_broken_row_at_the_end_of_the_file_is_named_too(broken: str | bytes) -> None:
    """The last row has nothing after it that could give it away."""
    items = read_rows(row("good-1"), row("good-2"), broken)
    assert skus(items) == ["good-1", "good-2"]
    assert [line for line, _ in bad(items)] == [4]


def test_titles_in_six_scripts_stay_intact() -> None:
    """Latin with marks, Cyrillic, Greek, Arabic, Han, Devanagari."""
    titles = ["Les Misérables", "Война и мир", "Ὀδύσσεια", "ألف ليلة وليلة", "紅樓夢", "गोदान"]
    items = read_rows(*(row(f"S{index}", title) for index, title in enumerate(titles)))
    assert [item["title"] for item in items if not isinstance(item, BadRow)] == titles


def test_a_newline_inside_a_quoted_field_becomes_a_blank() -> None:
    """Such a row is sound, and the rows after it have their own line numbers."""
    items = read_rows(
        row("A", '"Emma:\r\na ""novel"",\n\nin three parts"'), row("B", price="x"), row("C")
    )
    assert items[0]["title"] == 'Emma: a "novel", in three parts'  # type: ignore[index]
    assert skus(items) == ["A", "C"]
    assert [line for line, _ in bad(items)] == [6]


@pytest.mark.parametrize(
    "following",
    [
        pytest.param(["1,N1,Emma,Plato,en,novels,novels,,,999,5"], id="no quotes at all"),
        pytest.param([row("N1", '""""'), row("N2")], id="an escaped quote"),
        pytest.param(
            ['1,N1,"",Plato,en,novels,novels,,,999,5', row("N2")], id="an empty quoted field"
        ),
        pytest.param([row("N1", '", he said"'), row("N2")], id="a field that begins with a comma"),
        pytest.param(
            ['1,N1,Emma",Plato,en,novels,novels,,,999,5', row("N2")], id="a stray closing quote"
        ),
        pytest.param(
            [row("N1", "x" * 1001), "1,N2,E,P,en,novels,novels,,,9,5"], id="a bad row first"
        ),
        pytest.param([row("N1", '"Emma'), row("N2", '"Emma'), row("N3")], id="two more of them"),
        pytest.param([row("N1", "Em\0ma"), row("N2")], id="a NUL byte"),
    ],
)
def test_an_unterminated_quote_does_not_swallow_what_follows(following: list[str]) -> None:
    """Whatever the rows after it look like, they are read as if the broken one were not there."""
    alone = read_rows(*following)
    items = read_rows('1,OPEN,"Emma,Plato,en,novels,novels,,,999,5', *following)
    assert bad(items)[0][0] == 2
    assert skus(items) == skus(alone)
    assert [line - 1 for line, _ in bad(items)[1:]] == [line for line, _ in bad(alone)]


def test_an_unterminated_quote_gives_up_after_a_bounded_number_of_lines() -> None:
    """Rows that prove nothing by themselves are still read one by one, and the file goes on."""
    rubbish = [f"rubbish {number}" for number in range(FIELD_LINES_MAX * 2)]
    items = read_rows(row("A", '"Emma'), *rubbish, row("B"))
    assert skus(items) == ["B"]
    assert len(bad(items)) == len(rubbish) + 1


def test_a_sku_is_taken_only_by_a_row_that_loads() -> None:
    """The second row of a sku is the sound one when the first was bad."""
    items = read_rows(row("A", price="x"), row("A"), row("A"))
    assert skus(items) == ["A"]
    assert bad(items)[1] == (4, "sku: A is already on line 3")


def test_blank_lines_are_no_rows() -> None:
    """They are skipped and counted."""
    assert bad(read_rows("", row("A"), "  ", row("B", price=""))) == [
        (5, "price_cents: must not be empty")
    ]


def test_plain_gzipped_and_marked_files_read_the_same() -> None:
    """Compression is told by the first bytes, a byte order mark is no part of the first name."""
    text = f"{HEADER}\r\n{row('A')}\r\n{row('B')}".encode()
    expected = read_text(text)
    assert len(expected) == 2
    for variant in (
        b"\xef\xbb\xbf" + text,
        gzip.compress(text),
        gzip.compress(b"\xef\xbb\xbf" + text),
    ):
        assert read_text(variant) == expected


def test_the_order_of_columns_and_unknown_ones_do_not_matter() -> None:
    """Columns are found by name; without `topics` the one `topic` counts."""
    text = (
        'Stock, SKU ,shelf,price_cents,title,authors,topic\n5,A,x,999,Emma,"Austen, Jane",novels\n'
    )
    assert read_text(text) == [
        {
            "sku": "A", "title": "Emma", "authors": ["Austen, Jane"], "topics": ["novels"],
            "price_cents": 999, "quantity": 5,
        }
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("title,authors,topics,stock\n", "columns missing: sku, price_cents"),
        ("sku,title,authors,price_cents,stock\n", r"missing: topics \(or topic\)"),
        ("sku,title,title,authors,topics,price_cents,stock\n", "twice: title"),
        ('sku,"title\n', "not closed"),
        (HEADER.encode("utf-16"), "UTF-16"),
        (b"\x1f\x8b and no more", "gzip"),
    ],
)
def test_a_file_that_holds_no_books_is_refused_as_a_whole(
    text: str | bytes, complaint: str
) -> None:
    """The complaint names what is missing, before any row."""
    with pytest.raises(BadFile, match=complaint):
        read_text(text)


def test_a_gzip_file_cut_short_gives_its_rows_and_then_the_complaint() -> None:
    """What came before the break is good."""
    text = "\n".join(
        [HEADER, *(row(f"S{number}", f"Book {number**7}") for number in range(20_000))]
    )
    seen: list[Any] = []
    with pytest.raises(BadFile, match="damaged"):
        seen.extend(read(gzip.compress(text.encode())[:-5000]))
    assert len(seen) > 10_000
    assert not bad(seen)


def gutenberg(**given: Any) -> dict[str, Book]:
    """Return the books of a few rows of Project Gutenberg's catalogue, by sku."""
    found = read_text(PG_CATALOG.read_bytes(), **given)
    return {item["sku"]: item for item in found if not isinstance(item, BadRow)}


def test_gutenbergs_own_catalogue_is_read() -> None:
    """A title is one line; life dates, translators and the kind of shelf are taken off; price and
    stock are those that --help names.
    """
    assert gutenberg()["PG2"] == {
        "sku": "PG2",
        "title": "The United States Bill of Rights The Ten Original Amendments to the Constitution"
        " of the United States",
        "authors": ["United States"], "topics": ["Law & Criminology", "History - American"],
        "price_cents": 999, "quantity": 10,
    }  # fmt: skip
    authors = {sku: book["authors"] for sku, book in gutenberg().items()}
    assert authors == {
        "PG1": ["Jefferson, Thomas"], "PG2": ["United States"], "PG7": [], "PG2199": ["Homer"],
        "PG3296": ["Augustine, of Hippo, Saint"], "PG17489": ["Hugo, Victor"],
    }  # fmt: skip


def test_gutenbergs_rooms_are_the_topics() -> None:
    """Those called `Browsing:` or `Category:`; without one the other shelves, without any Other."""
    topics = {sku: book["topics"] for sku, book in gutenberg().items()}
    assert topics["PG1"] == ["History - American", "Politics"]
    assert topics["PG2199"] == ["Classics of Literature", "Poetry"]
    assert topics["PG3296"] == ["Harvard Classics", "Christianity"]
    assert topics["PG7"] == ["Other"]
    assert gutenberg(topic="Odds and ends")["PG7"]["topics"] == ["Odds and ends"]


def test_what_gutenberg_lacks_is_given() -> None:
    """One price, one stock."""
    found = gutenberg(price_cents=500, stock=0).values()
    assert {(book["price_cents"], book["quantity"]) for book in found} == {(500, 0)}


def test_gutenbergs_recordings_and_pictures_are_left_out() -> None:
    """They are in order, and no books."""
    left_out = [item for item in read(PG_CATALOG.read_bytes()) if isinstance(item, LeftOut)]
    assert left_out == [LeftOut(6), LeftOut(9)]


ABROAD = 'ISBN,Titel,"Autor, Urheber",Preis,Bestand\n3-1,Emma,"Austen, Jane","12,5",3\n'
MAPPED = 'sku=ISBN, title=Titel,"authors=Autor, Urheber",price=Preis,stock=bestand'


def test_columns_with_other_names_are_mapped() -> None:
    """Blanks and case do not matter; an amount becomes cents; what a file lacks is given."""
    assert read_text(ABROAD, MAPPED, topic="Novels") == [
        {
            "sku": "3-1", "title": "Emma", "authors": ["Austen, Jane"], "topics": ["Novels"],
            "price_cents": 1250, "quantity": 3,
        }
    ]  # fmt: skip


def test_a_mapped_column_takes_the_place_of_one_with_its_name() -> None:
    """A file may have a `title` that is not what we call title."""
    (book,) = read_text(
        "sku,title,name,authors,topics,price_cents,stock\nA,Dr.,Emma,,novels,9,5\n", "title=name"
    )
    assert isinstance(book, dict)
    assert book["title"] == "Emma"


def test_what_is_given_is_for_rows_that_say_nothing() -> None:
    """A cell that holds something counts, wrong or not."""
    text = "sku,title,authors,topics,price_cents,stock\nA,E,,n,7,\nB,E,,,,5\nC,E,,n,x,5\n"
    found = read_text(text, price_cents=100, stock=3, topic="Odds")
    assert [(book["price_cents"], book["quantity"], book["topics"]) for book in found[:2]] == [
        (7, 3, ["n"]), (100, 5, ["Odds"]),
    ]  # type: ignore[index]  # fmt: skip
    assert bad(found) == [(4, "price_cents: must be a whole number, this is 'x'")]


@pytest.mark.parametrize(
    ("amount", "cents"), [("12", 1200), ("12.9", 1290), ("0,05", 5), (" 7.00 ", 700)]
)
def test_an_amount_becomes_cents(amount: str, cents: int) -> None:
    """Exactly, with a point or a comma."""
    text = f'sku,title,authors,topics,price,stock\nA,E,,n,"{amount}",5\n'
    assert [book["price_cents"] for book in read_text(text)] == [cents]  # type: ignore[index]


@pytest.mark.parametrize("amount", ["1.234", "$5", "1,000.00", "-1", "-0.01", "5 EUR", "1e3", "٣"])
def test_what_is_no_amount_is_a_bad_row(amount: str) -> None:
    """Rather than a wrong price."""
    text = f'sku,title,authors,topics,price,stock\nA,E,,n,"{amount}",5\n'
    ((line, reason),) = bad(read_text(text))
    assert (line, reason.partition(":")[0]) == (2, "price")


@pytest.mark.parametrize(
    ("mapped", "complaint"),
    [
        ("titel=Titel", "there is no field titel .fields: sku, title,"),
        ("title=Titel,title=ISBN", "title is named twice"),
        ("title=Titel,sku=titel", "the column titel is named twice"),
        ("title=Titel,", "'' is not field=header"),
        ("title", "'title' is not field=header"),
        ("title=", "'title=' is not field=header"),
        ("title=Name,sku=Code", "columns missing: code, name .the first line has 'isbn, titel,"),
        ("title=Titel", "columns missing: sku, authors, "),
    ],
)
def test_a_mapping_that_does_not_fit_is_refused(mapped: str, complaint: str) -> None:
    """Unknown fields, missing columns and what stands twice are named before any row."""
    with pytest.raises(BadFile, match=complaint):
        read_text(ABROAD, mapped)


def test_a_file_that_must_be_perfect_names_its_bad_rows(tmp_path: Path) -> None:
    """`read_books` is for the seed: all or nothing."""
    path = tmp_path / "books.csv"
    path.write_text("\n".join([HEADER, row("A"), row("B", price="x")]), encoding="utf-8")
    with pytest.raises(BadFile, match=r"books\.csv: line 3: price_cents"):
        read_books(path)
    path.write_text("\n".join([HEADER, row("A"), row("B")]), encoding="utf-8")
    assert [book["sku"] for book in read_books(path)] == ["A", "B"]


WORDS = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters=";|"), max_size=12
)
LINES = st.lists(
    st.sampled_from(["\n", "\r\n", '"', '""', ",", '",', "x"]) | WORDS, max_size=6
).map("".join)
CELLS = LINES.map(lambda text: f"x{text}x")
ROWS = st.fixed_dictionaries(
    {
        "title": CELLS, "authors": st.lists(CELLS, max_size=3),
        "topics": st.lists(CELLS, min_size=1, max_size=3), "subjects": LINES,
        "price_cents": st.integers(0, 10**8), "quantity": st.integers(0, 10**9),
    }
)  # fmt: skip


@settings(deadline=None)  # a busy machine is no defect
@given(
    rows=st.lists(ROWS, max_size=8),
    quoting=st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    line_end=st.sampled_from(["\n", "\r\n"]),
)
def test_what_a_csv_writer_wrote_comes_back(
    rows: list[dict[str, Any]], quoting: Any, line_end: str
) -> None:
    """For any well-formed file the reader gives the same books and no bad row, unless a line inside
    a field looks like a row: then a quote is taken to be missing.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, quoting=quoting, lineterminator=line_end)
    writer.writerow(HEADER.split(","))
    for number, one in enumerate(rows):
        began = text.tell()
        authors, topics = "; ".join(one["authors"]), "|".join(one["topics"])
        writer.writerow(
            [number, f"S{number}", one["title"], authors, "en", "", topics, "", one["subjects"],
             one["price_cents"], one["quantity"]]
        )  # fmt: skip
        assume(not any(map(looks_like_a_row, text.getvalue()[began:].split("\n")[1:])))
    expected = [expected_of(f"S{number}", one) for number, one in enumerate(rows)]
    assert read_text(text.getvalue()) == expected


def looks_like_a_row(line: str) -> bool:
    try:
        return len(next(csv.reader([line], strict=True), [])) == len(HEADER.split(","))
    except csv.Error:
        return False


def expected_of(sku: str, one: dict[str, Any]) -> dict[str, Any]:
    """Return the book by the contract's own check, which is the reader's only other rule."""
    names = ("title", "authors", "topics", "price_cents", "quantity")
    return fields.book({name: one[name] for name in names} | {"sku": sku})
