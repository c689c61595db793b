"""A catalogue is loaded into a running shop with `python -m catalog.importer`, from outside."""

from __future__ import annotations

import csv
import gzip
import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote

import pytest
import requests

from tests.support.processes import Process
from tests.support.real import RealShop, seed_csv

ROWS = 2_000
SAMPLE = 120
HEADER = [
    "id",
    "sku",
    "title",
    "authors",
    "language",
    "topic",
    "topics",
    "lcc",
    "subjects",
    "price_cents",
    "stock",
]
SCRIPTS = {
    "fr": ("Éloge de l'été", "Çélestine Noël", "Littérature"),
    "el": ("Ἡ Ὀδύσσεια τῶν βιβλίων", "Ὅμηρος", "Ποίηση"),
    "ru": ("Приключения книготорговца", "Лев Толстой", "Романы"),
    "ar": ("كتاب الأسواق", "نجيب محفوظ", "روايات"),
    "hi": ("किताबों का बाज़ार", "प्रेमचंद", "कहानियाँ"),
    "zh": ("書店之夢", "曹雪芹", "小說"),
    "he": ("ספר השוק", "עמוס עוז", "ספרות"),
}
GIVEN = [name for name in [os.environ.get("BAZAR_CATALOG")] if name]
PG_CATALOG = Path(__file__).parents[1] / "support" / "pg_catalog.csv"
PATIENCE_S = 120


def generated(path: Path, rows: int = ROWS, prefix: str = "GEN") -> Path:
    """Write a catalogue in the layout of config/catalog.csv, its titles in seven scripts."""
    random = Random(prefix)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for number in range(1, rows + 1):
            language, (title, author, topic) = random.choice(list(SCRIPTS.items()))
            topics = f"{topic}|{prefix} shelf {number % 20}"
            price, stock = random.randint(1, 9_999), random.randint(0, 50)
            name = f"{title} {prefix.lower()}{number}"
            writer.writerow([number, f"{prefix}-{number}", name, f"{author}; N. N.", language,
                             topic, topics, "", "", price, stock])  # fmt: skip
    return path


@dataclass(frozen=True)
class Imported:
    """How one run of the importer ended."""

    code: int
    said: str


def importer(shop: RealShop, file: Path, *options: str) -> Process:
    """Start the importer."""
    log = shop.folder / f"import of {file.name}.log"
    log.unlink(missing_ok=True)
    command = ["-m", "catalog.importer", str(file), "--config", str(shop.config), *options]
    return Process(command, log)


def load(shop: RealShop, file: Path, *options: str) -> Imported:
    """Run the importer to its end."""
    with importer(shop, file, *options) as process:
        return Imported(process.ends(PATIENCE_S), process.logs())


def rows_of(file: Path) -> list[dict[str, str]]:
    """Read a catalogue as any CSV reader does."""
    opener = gzip.open if file.suffix == ".gz" else open
    with opener(file, "rt", encoding="utf-8", newline="") as source:
        return list(csv.DictReader(source))


def line(text: str) -> str:
    """Return text as a title keeps it: one line, blanks collapsed, NFC."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def all_books(shop: RealShop) -> list[dict[str, Any]]:
    """Return every item of `/books`."""
    found: list[dict[str, Any]] = []
    after = ""
    while after is not None:
        page = shop.get(f"/books?limit=200{after and f'&after={after}'}").json()
        found += page["items"]
        after = page["next"]
    return found


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """A shop of three books, before anything is imported."""
    with RealShop(tmp_path_factory.mktemp("import"), seed=seed_csv(books=3)) as shop:
        yield shop


@pytest.fixture(scope="module", params=["generated", *GIVEN])
def file(request: pytest.FixtureRequest, shop: RealShop) -> Path:
    """A catalogue: one made up here, and the one that BAZAR_CATALOG names, if it names one."""
    if request.param == "generated":
        return generated(shop.folder / "generated.csv")
    return Path(request.param)


@pytest.fixture(scope="module")
def loaded(shop: RealShop, file: Path) -> Imported:
    """The file, imported."""
    return load(shop, file)


@pytest.fixture(scope="module")
def sample(file: Path, loaded: Imported) -> list[dict[str, str]]:
    """Some of the file's rows, the first and the last among them."""
    assert loaded.code == 0, loaded.said
    rows = rows_of(file)
    return [rows[0], rows[-1], *Random(1).sample(rows, SAMPLE)]


def test_every_row_is_loaded_and_counted(shop: RealShop, file: Path, loaded: Imported) -> None:
    """Exit code 0, and the tally says how many."""
    rows = len(rows_of(file))
    assert loaded.code == 0
    assert loaded.said.strip() == f"{rows:,} added, 0 changed, 0 unchanged, 0 bad rows"
    assert shop.get("/books?limit=1").json()["total"] >= rows


def test_an_imported_book_is_found_by_its_text_and_its_id(
    shop: RealShop, sample: list[dict[str, str]]
) -> None:
    """Whatever script it is written in; the page of the book says what the row says."""
    for row in sample:
        title = line(row["title"])
        text = quote(title[:400], safe="")
        found = [item for item in shop.get(f"/books?limit=200&q={text}").json()["items"]]
        books = [shop.look(item["id"]) for item in found if item["title"] == title]
        book = next(book for book in books if book["sku"] == row["sku"])
        assert book["price_cents"] == int(row["price_cents"])
        assert book["quantity"] == int(row["stock"])
        assert book["authors"] == [line(part) for part in row["authors"].split(";") if line(part)]


def test_an_imported_book_is_found_under_each_of_its_topics(
    shop: RealShop, file: Path, sample: list[dict[str, str]]
) -> None:
    """And the topic's total is the number of rows that name it."""
    totals = Counter(
        topic
        for row in rows_of(file)
        for topic in {line(t).casefold() for t in (row["topics"] or row["topic"]).split("|")}
    )
    for row in sample[:20]:
        for topic in (row["topics"] or row["topic"]).split("|"):
            page = shop.get(f"/search/{quote(topic, safe='')}?limit=200").json()
            assert page["total"] >= totals[line(topic).casefold()]
            assert page["total"] > 200 or line(row["title"]) in {i["title"] for i in page["items"]}


def test_an_imported_book_can_be_bought(shop: RealShop, sample: list[dict[str, str]]) -> None:
    """Like any other."""
    row = next(row for row in sample if int(row["stock"]) > 0)
    text = quote(line(row["title"]), safe="")
    items = shop.get(f"/books?limit=200&q={text}").json()["items"]
    (book,) = [item["id"] for item in items if shop.look(item["id"])["sku"] == row["sku"]]
    left = shop.stock(book)
    assert shop.buy(book).status_code == 201
    assert shop.stock(book) == left - 1
    assert shop.restock(book, 1).ok


def test_the_second_import_of_a_file_changes_nothing(
    shop: RealShop, file: Path, loaded: Imported
) -> None:
    """Not the books, and not the stock: what was sold meanwhile stays sold."""
    (book,) = shop.get("/books?limit=1").json()["items"]
    assert shop.buy(book["id"]).ok
    before, looks = all_books(shop), [shop.look(n) for n in (1, 10, 100, 1000)]
    again = load(shop, file)
    assert again.code == 0
    rows = len(rows_of(file))
    assert again.said.strip() == f"0 added, 0 changed, {rows:,} unchanged, 0 bad rows"
    assert all_books(shop) == before
    assert [shop.look(n) for n in (1, 10, 100, 1000)] == looks


def test_a_changed_row_changes_its_book_in_every_cache(shop: RealShop, tmp_path: Path) -> None:
    """Title, price and topic; not the stock, which only a delivery changes."""
    file = generated(tmp_path / "changing.csv", rows=3, prefix="CHG")
    assert load(shop, file).said.startswith("3 added")
    (book,) = [item["id"] for item in shop.get("/books?q=chg2").json()["items"]]
    before = shop.hit(f"/lookup/{book}").json()
    shop.hit("/search/CHG%20shelf%202")
    text = (
        file.read_text("utf-8")
        .replace("chg2,", "chg2 revised,")
        .replace("CHG shelf 2", "CHG attic")
    )
    lines = text.splitlines()
    cells = lines[2].split(",")
    lines[2] = ",".join([*cells[:-2], "1", "9999"])
    file.write_text("\n".join(lines), "utf-8")
    assert load(shop, file).said.strip() == "0 added, 1 changed, 2 unchanged, 0 bad rows"
    after = shop.look(book)
    assert after["title"] == before["title"] + " revised"
    assert (after["price_cents"], after["quantity"]) == (1, before["quantity"])
    assert shop.get("/search/CHG%20shelf%202").json()["items"] == []
    assert [item["id"] for item in shop.get("/search/chg%20ATTIC").json()["items"]] == [book]


GOOD = "{0},BAD-{0},Good Book {0},N. N.,en,odds,odds,,,100,5"
BROKEN = [  # (a row, what is said of it)
    (b"2,BAD-2,Short Row", "11 columns expected, this row has 3"),
    (b"3,BAD-3,Too Dear,N. N.,en,odds,odds,,,many,5", "price_cents: must be a whole number"),
    (b"4,BAD-4,Owed,N. N.,en,odds,odds,,,100,-1", "stock"),
    (b"5,BAD-5,,N. N.,en,odds,odds,,,100,5", "title: must not be empty"),
    (b"6,,No Sku,N. N.,en,odds,odds,,,100,5", "sku: must not be empty"),
    (b"7,BAD-7,Latin\xe9,N. N.,en,odds,odds,,,100,5", "not UTF-8: 0xe9 at byte 14 of line"),
    (b"8,BAD-8,Nul\x00,N. N.,en,odds,odds,,,100,5", "holds a NUL byte"),
    (b"9,BAD-9," + b"x" * 1001 + b",N. N.,en,odds,odds,,,100,5", "title: at most 1000 characters"),
    (b"10,BAD-1,Again,N. N.,en,odds,odds,,,100,5", "sku: BAD-1 is already on line 2"),
    (b"11,BAD-11,No Topic,N. N.,en,,,,,100,5", "topics"),
    (b'12,BAD-12,"Quote" broken,N. N.,en,odds,odds,,,100,5', "text after a closing quote"),
    (
        b'13,BAD-13,"Never closed,N. N.,en,odds,odds,,,100,5',
        "a quote opened in this row is not closed",
    ),
]


def test_broken_rows_are_named_and_the_others_loaded(shop: RealShop, tmp_path: Path) -> None:
    """Each with its line and the reason; exit code 1; a good row after every broken one."""
    lines, expected = [",".join(HEADER).encode(), GOOD.format(1).encode()], []
    for number, (row, reason) in enumerate(BROKEN):
        lines.append(row)
        expected.append((len(lines), reason))
        lines.append(GOOD.format(100 + number).encode())
    file = tmp_path / "broken.csv"
    file.write_bytes(b"\r\n".join(lines) + b"\r\n")
    result = load(shop, file)
    assert result.code == 1, result.said
    *said, tally = result.said.splitlines()
    assert len(said) == len(expected), result.said
    for told, (number, reason) in zip(said, expected, strict=True):
        assert told.startswith(f"line {number}: "), (told, reason)
        assert reason in told
    assert tally == f"{len(BROKEN) + 1} added, 0 changed, 0 unchanged, {len(BROKEN)} bad rows"
    assert shop.get("/search/odds").json()["total"] == len(BROKEN) + 1


def test_a_line_break_inside_quotes_becomes_a_blank(shop: RealShop, tmp_path: Path) -> None:
    """A title is one line, on pages and in logs."""
    file = tmp_path / "broken lines.csv"
    row = '1,NL-1,"A Title\r\nOver Two\nOr Three Lines",N. N.,en,verse,verse,,,100,5'
    file.write_text(",".join(HEADER) + "\n" + row + "\n", "utf-8", newline="")
    assert load(shop, file).said.startswith("1 added")
    (item,) = shop.get("/search/verse").json()["items"]
    assert item["title"] == "A Title Over Two Or Three Lines"


@pytest.mark.parametrize("content", [None, b"", b"a,b\n1,2\n", b"\x1f\x8bnot gzip", b"\xff\xfea"])
def test_what_is_no_catalogue_is_refused(
    shop: RealShop, tmp_path: Path, content: bytes | None
) -> None:
    """Exit code 2, one line that names the file, nothing changed."""
    file = tmp_path / "books.csv"
    if content is not None:
        file.write_bytes(content)
    total = shop.get("/books?limit=1").json()["total"]
    result = load(shop, file)
    assert result.code == 2
    assert str(file) in result.said
    assert "Traceback" not in result.said
    assert shop.get("/books?limit=1").json()["total"] == total


def test_an_import_waits_for_a_catalog_that_is_away(shop: RealShop, tmp_path: Path) -> None:
    """It says so, and goes on by itself; every book is there once, in both copies."""
    file = generated(tmp_path / "patient.csv", rows=700, prefix="PAT")
    shop.kill("catalog-2")
    with importer(shop, file) as process:
        process.wait_for("waiting for the catalog")
        shop.start("catalog-2")
        assert process.ends(PATIENCE_S) == 0
        assert "700 added, 0 changed, 0 unchanged, 0 bad rows" in process.logs()
    shop.wait_ready()
    assert shop.get("/search/PAT%20shelf%200").json()["total"] == 35
    shop.check_copies()


def test_an_import_that_was_killed_is_finished_by_running_it_again(
    shop: RealShop, tmp_path: Path
) -> None:
    """What was loaded stays, the rest is added."""
    file = generated(tmp_path / "killed.csv", prefix="KIL")
    before = shop.get("/books?limit=1").json()["total"]
    with importer(shop, file) as process:
        shop.wait_until(
            lambda: shop.get("/books?limit=1").json()["total"] > before, PATIENCE_S, "a batch"
        )
        process.popen.kill()
    assert load(shop, file).code == 0
    assert shop.get("/books?limit=1").json()["total"] == before + ROWS
    assert shop.get("/search/KIL%20shelf%200").json()["total"] == ROWS / 20


def test_gutenbergs_catalogue_is_on_sale_after_one_command(shop: RealShop) -> None:
    """Its texts, under its shelves, at the price and with the stock given."""
    result = load(shop, PG_CATALOG, "--price-cents", "450", "--stock", "3")
    assert result.said.strip() == "6 added, 0 changed, 0 unchanged, 0 bad rows, 2 left out"
    (item,) = shop.get("/search/french%20literature").json()["items"]
    book = shop.look(item["id"])
    assert (book["sku"], book["authors"]) == ("PG17489", ["Hugo, Victor"])
    assert (book["price_cents"], book["quantity"]) == (450, 3)


def test_a_file_with_other_columns_is_loaded_as_mapped(shop: RealShop, tmp_path: Path) -> None:
    """And what it lacks is given."""
    file = tmp_path / "other.csv"
    file.write_text("Code,Name,Writer,Price\nMAP-1,Mapped Book,N. N.,12.50\n", "utf-8")
    mapped = "sku=Code,title=Name,authors=Writer,price=Price"
    result = load(shop, file, "--map", mapped, "--stock", "4", "--topic", "mapped books")
    assert result.said.startswith("1 added")
    (item,) = shop.get("/search/mapped%20books").json()["items"]
    assert (item["title"], item["price_cents"]) == ("Mapped Book", 1250)
    assert shop.stock(item["id"]) == 4


def test_a_delivery_that_is_loaded_twice_adds_its_copies_once(
    shop: RealShop, tmp_path: Path
) -> None:
    """In every cache; an unknown sku is named, and received once its book is there."""
    first = generated(tmp_path / "shelved.csv", rows=70, prefix="DEL")
    assert load(shop, first).code == 0
    items = shop.get("/books?q=del7").json()["items"]
    (book,) = [i["id"] for i in items if shop.look(i["id"])["sku"] == "DEL-7"]
    before = shop.hit(f"/lookup/{book}").json()["quantity"]
    file = tmp_path / "delivery.csv"
    rows = [f"DEL-{n},{n}" for n in range(1, 71)]
    file.write_text("\n".join(["sku,received", *rows, "DEL-late,2", "DEL-7,none"]), "utf-8")
    for _ in range(2):
        result = load(shop, file)
        assert result.code == 1
        *said, tally = result.said.strip().splitlines()
        assert said == [
            "line 72: sku: there is no book DEL-late",
            "line 73: received: must be a whole number, this is 'none'",
        ]
        assert tally == "70 rows received, 2,485 copies, 2 bad rows"
        assert shop.stock(book) == before + 7
    late = tmp_path / "late.csv"
    late.write_text(",".join(HEADER) + "\n1,DEL-late,Late Book,N.,en,late,late,,,1,0\n", "utf-8")
    load(shop, late)
    assert load(shop, file).said.strip().endswith("71 rows received, 2,487 copies, 1 bad row")
    (item,) = shop.get("/search/late").json()["items"]
    assert shop.stock(item["id"]) == 2
    assert shop.stock(book) == before + 7
    shop.check_copies()


def test_a_delivery_that_comes_both_ways_adds_its_copies_once(
    shop: RealShop, tmp_path: Path
) -> None:
    """Through the importer and through the stock desk, in either order: the keys are the same."""
    load(shop, generated(tmp_path / "both.csv", rows=3, prefix="BOTH"))
    (book, *_) = [item["id"] for item in shop.get("/books?q=both1").json()["items"]]
    with requests.Session() as desk:
        desk.trust_env = False
        url = shop.url("frontend-1")
        desk.post(url + "/ops/login", {"token": shop.settings.admin_token})

        def upload(file: Path) -> None:
            headers = {"X-Requested-By": "bazar"}
            assert desk.post(url + "/ops/do/delivery", file.read_bytes(), headers=headers).ok

        def bring(file: Path) -> None:
            assert load(shop, file).code == 0

        for copies, ways in ((5, (bring, upload)), (6, (upload, bring))):
            file = tmp_path / f"{copies} copies.csv"
            file.write_text(f"sku,received\nBOTH-1,{copies}\n", "utf-8")
            before = shop.stock(book)
            for way in ways:
                way(file)
                assert shop.stock(book) == before + copies
