"""The importer against pretended catalogs: what it sends, whom it asks, when it gives up."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import re
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from rich.console import Console

from catalog.importer import main, report
from catalog.layouts import Book
from catalog.loading import BATCH_BYTES_MAX, Tally, batches
from catalog.messenger import PATIENCE_S
from common.auth import Signer
from common.errors import Problem
from common.peer import NoAnswer, NotSent, PeerDown, Request, Response

SECRET = "s" * 40
SETTINGS = {
    "FRONTENDS": "frontend-1=http://127.0.0.1:8000",
    "CATALOGS": "catalog-1=http://127.0.0.1:8101 catalog-2=http://127.0.0.1:8102",
    "ORDERS": "order-1=http://127.0.0.1:8201 order-2=http://127.0.0.1:8202",
    "BACKUP": "",
    "DATA_DIR": "data",
    "CACHE_CAPACITY": "10",
    "CACHE_LEASE_S": "2",
    "CLUSTER_SECRET": SECRET,
    "ADMIN_TOKEN": "a" * 40,
}
PG_CATALOG = Path(__file__).parents[1] / "support" / "pg_catalog.csv"
HEADER = "sku,title,authors,topics,price_cents,stock\n"

Fault = Problem | PeerDown | KeyboardInterrupt
Script = Callable[[Request], Fault | None]  # what goes wrong with this call


class FakeClock:
    """Time that passes only in pauses."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def now(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return datetime.fromtimestamp(self.seconds, UTC)

    def pause(self, seconds: float) -> None:
        self.seconds += seconds


@dataclass
class FakeCatalogs:
    """Both catalogs: the leader upserts, the other points at it; `script` breaks calls."""

    leader: str = "catalog-1"
    script: Script = lambda request: None
    books: dict[str, Book] = field(default_factory=dict)
    outcomes: dict[str, tuple[bytes, Counter[str]]] = field(default_factory=dict)
    restocks: dict[str, dict[str, Any]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)  # (node, key)

    def send(self, request: Request) -> Response:
        Signer(request.to, SECRET).check(
            request.headers, request.method, request.target, request.body
        )
        if request.method == "GET":
            return self._look_up(request)
        assert (request.method, request.target) == ("POST", "/operations")
        document = json.loads(request.body)
        key = (document[0] if isinstance(document, list) else document)["key"]
        self.asked.append((request.to, key))
        fault = self.script(request)
        if request.to != self.leader and not isinstance(fault, PeerDown):
            fault = Problem("not-leader", "ask the leader", leader=self.leader)
        answer: Any = None
        if fault is None or isinstance(fault, NoAnswer):
            if isinstance(document, list):
                answer = [self._restock(**operation) for operation in document]
            else:
                self._run(key, request.body)
                answer = {"status": 200, "answer": self.outcomes[key][1]}
        if isinstance(fault, Problem):
            return Response(fault.status, {}, json.dumps(fault.body()).encode())
        if fault is not None:
            raise fault
        return Response(200, {}, json.dumps(answer).encode())

    def _look_up(self, request: Request) -> Response:
        """Find a book by its sku; its id is its place in the order of arrival."""
        fault = self.script(request)
        if isinstance(fault, Problem):
            return Response(fault.status, {}, json.dumps(fault.body()).encode())
        (sku,) = parse_qs(request.target.removeprefix("/books?"))["sku"]
        items = [{"id": n} for n, known in enumerate(self.books, start=1) if known == sku]
        return Response(200, {}, json.dumps({"items": items}).encode())

    def _restock(self, key: str, kind: str, body: dict[str, Any]) -> dict[str, Any]:
        """Add copies once for a key; another body under it is what is never done."""
        assert kind == "restock"
        if self.restocks.setdefault(key, body) != body:
            return Problem("idempotency-mismatch", "another request had this key").body()
        return {"status": 200, "answer": {"id": body["book_id"]}}

    def _run(self, key: str, body: bytes) -> None:
        """Do an operation once; its key with another body would be a defect."""
        if key in self.outcomes:
            assert self.outcomes[key][0] == body
            return
        counts = Counter(added=0, changed=0, unchanged=0)
        for row in json.loads(body)["body"]["rows"]:
            before = self.books.get(row["sku"])
            counts["added" if not before else "unchanged" if before == row else "changed"] += 1
            self.books[row["sku"]] = row
        self.outcomes[key] = (body, counts)


@dataclass
class Importer:
    """The importer with pretended surroundings; `run` gives the exit code."""

    folder: Path
    catalogs: FakeCatalogs = field(default_factory=FakeCatalogs)
    clock: FakeClock = field(default_factory=FakeClock)
    terminal: bool = False
    out: str = ""
    err: str = ""

    def run(self, text: str | bytes, *options: str, environ: dict[str, str] | None = None) -> int:
        (self.folder / "cluster.env").touch()
        data = text if isinstance(text, bytes) else text.encode()
        (self.folder / "books.csv").write_bytes(data)
        out, err = io.StringIO(), io.StringIO()
        config = ["--config", str(self.folder / "cluster.env")]
        code = main(
            [str(self.folder / "books.csv"), *config, *options],
            environ=SETTINGS if environ is None else environ,
            http=self.catalogs,
            clock=self.clock,
            pause=self.clock.pause,
            out=out,
            console=Console(file=err, force_terminal=self.terminal, width=100, _environ={}),
        )
        self.out, self.err = out.getvalue(), err.getvalue()
        return code


@pytest.fixture
def importer(tmp_path: Path) -> Importer:
    return Importer(tmp_path)


def rows(count: int, price: str = "999") -> str:
    return "".join(f'S{n},Book {n},"Doe, J.",novels,{price},5\n' for n in range(count))


def first_times(count: int, fault: Fault) -> Script:
    """Return a script in which the first calls go wrong."""
    left = iter([fault] * count)
    return lambda request: next(left, None)


def test_a_sound_file_is_loaded_and_tallied(importer: Importer) -> None:
    """Exit code 0, and the tally is all that stands on stdout."""
    assert importer.run(HEADER + rows(1200)) == 0
    assert importer.out == "1,200 added, 0 changed, 0 unchanged, 0 bad rows\n"
    assert importer.err == ""
    assert importer.catalogs.books["S7"] == {
        "title": "Book 7", "authors": ["Doe, J."], "topics": ["novels"], "price_cents": 999,
        "quantity": 5, "sku": "S7",
    }  # fmt: skip


def test_rows_travel_in_batches_under_keys_of_their_own(importer: Importer) -> None:
    """500 rows each, numbered within a run; another run has other keys."""
    importer.run(HEADER + rows(1200))
    importer.run(HEADER + rows(1200))
    keys = [key for _, key in importer.catalogs.asked]
    assert [
        len(json.loads(body)["body"]["rows"]) for body, _ in importer.catalogs.outcomes.values()
    ] == ([500, 500, 200] * 2)
    assert [key.rsplit("-", 1)[1] for key in keys] == ["1", "2", "3"] * 2
    assert len({key.rsplit("-", 1)[0] for key in keys}) == 2
    assert all(key.startswith("import-") for key in keys)


def test_a_batch_of_long_rows_stays_small() -> None:
    """It is bounded in bytes as well; a single row of any length still goes."""
    books = [{"title": "x" * 100_000} for _ in range(5)] + [{"title": "x" * BATCH_BYTES_MAX}]
    assert [len(batch) for batch in batches(books)] == [2, 2, 1, 1]


def test_loading_a_file_again_changes_nothing(importer: Importer) -> None:
    """A book is known by its sku."""
    importer.run(HEADER + rows(10))
    assert importer.run(HEADER + rows(10)) == 0
    assert importer.out == "0 added, 0 changed, 10 unchanged, 0 bad rows\n"
    importer.run(HEADER + rows(10, price="1099"))
    assert importer.out == "0 added, 10 changed, 0 unchanged, 0 bad rows\n"


def test_bad_rows_are_named_and_the_others_loaded(importer: Importer) -> None:
    """Exit code 1; each bad row is one line with its number, as it is, on stderr."""
    text = (
        HEADER
        + rows(1)
        + 'B1,[bold]Emma[/bold],"Doe, J.",novels,[red],5\n'
        + "S9,Last,,novels,1,5\n"
    )
    assert importer.run(text) == 1
    assert importer.err == "line 3: price_cents: must be a whole number, this is '[red]'\n"
    assert importer.out == "2 added, 0 changed, 0 unchanged, 1 bad row\n"


def test_a_thousand_bad_rows_are_named_and_the_rest_counted(importer: Importer) -> None:
    """A file of nothing but bad rows does not flood the terminal."""
    assert importer.run(HEADER + rows(1234, price="free")) == 1
    lines = importer.err.splitlines()
    assert len(lines) == 1001
    assert lines[-1] == "and 234 more"
    assert importer.out == "0 added, 0 changed, 0 unchanged, 1,234 bad rows\n"
    assert importer.catalogs.asked == []


def test_a_hint_to_the_leader_is_followed_and_remembered(importer: Importer) -> None:
    """Only the first batch asks the wrong node, and nobody waits."""
    importer.catalogs.leader = "catalog-2"
    assert importer.run(HEADER + rows(1200)) == 0
    assert [node for node, _ in importer.catalogs.asked] == ["catalog-1"] + ["catalog-2"] * 3
    assert importer.clock.seconds == 0


def test_the_other_catalog_is_tried_when_one_refuses_connections(importer: Importer) -> None:
    """At once: nothing was sent."""
    importer.catalogs.leader = "catalog-2"
    importer.catalogs.script = lambda request: (
        NotSent("refused") if request.to == "catalog-1" else None
    )
    assert importer.run(HEADER + rows(1)) == 0
    assert importer.clock.seconds == 0


@pytest.mark.parametrize(
    "fault",
    [
        NoAnswer("broke off"),
        Problem("outcome-unknown", "?"),
        Problem("writes-unavailable", "one copy only"),
        Problem("in-progress", "wait"),
        Problem("unavailable", "recovering"),
        Problem("not-leader", "nobody leads", leader=None),
    ],
    ids=lambda fault: str(fault),
)
def test_a_batch_is_sent_again_with_the_same_key_until_it_is_through(
    importer: Importer, fault: Fault
) -> None:
    """The pauses grow, one line says what is waited for, and each book is loaded once."""
    importer.catalogs.script = first_times(7, fault)
    assert importer.run(HEADER + rows(3)) == 0
    assert len({key for _, key in importer.catalogs.asked}) == 1
    assert importer.clock.seconds > 0
    assert importer.err.count("waiting for the catalog: ") == 1
    assert importer.out == "3 added, 0 changed, 0 unchanged, 0 bad rows\n"


def test_it_gives_up_after_a_minute_and_says_what_was_loaded(importer: Importer) -> None:
    """Exit code 2; the batches before are counted, and running it again goes on."""
    down = Problem("writes-unavailable", "one copy only")
    importer.catalogs.script = lambda request: (
        down if len(importer.catalogs.outcomes) == 2 else None
    )
    assert importer.run(HEADER + rows(1200)) == 2
    assert PATIENCE_S - 5 <= importer.clock.seconds <= PATIENCE_S
    assert "no outcome within 60 s: writes-unavailable: one copy only" in importer.err
    assert "loaded before that: 1,000 added, " in importer.err
    assert "Running this again is safe" in importer.err
    assert importer.out == ""
    importer.catalogs.script = lambda request: None
    assert importer.run(HEADER + rows(1200)) == 0
    assert importer.out == "200 added, 0 changed, 1,000 unchanged, 0 bad rows\n"


@pytest.mark.parametrize("code", ["unauthorized", "invalid-request", "idempotency-mismatch"])
def test_what_asking_again_cannot_help_ends_it_at_once(importer: Importer, code: str) -> None:
    """A wrong secret is not waited for."""
    importer.catalogs.script = lambda request: Problem(code, "no")
    assert importer.run(HEADER + rows(1)) == 2
    assert len(importer.catalogs.asked) == 1
    assert f"catalog-1 refused it: {code}: no" in importer.err


def test_a_file_without_the_columns_is_refused_before_anything_is_sent(importer: Importer) -> None:
    """One line names all that are missing."""
    assert importer.run("title,authors,topics\nEmma,Austen,novels\n") == 2
    assert "columns missing: sku, price_cents (or price), stock" in importer.err
    assert importer.catalogs.asked == []


def test_a_missing_file_is_a_plain_message(importer: Importer) -> None:
    """No traceback."""
    err = io.StringIO()
    (importer.folder / "cluster.env").touch()
    argv = [str(importer.folder / "none.csv"), "--config", str(importer.folder / "cluster.env")]
    assert main(argv, environ=SETTINGS, http=importer.catalogs, console=Console(file=err)) == 2
    assert "none.csv: No such file or directory" in err.getvalue()


def test_wrong_settings_are_all_named(importer: Importer) -> None:
    """Exit code 2, before the file is looked at."""
    assert importer.run(HEADER, environ={**SETTINGS, "CLUSTER_SECRET": "", "CATALOGS": ""}) == 2
    assert "CLUSTER_SECRET" in importer.err
    assert "CATALOGS" in importer.err


def test_an_interrupt_ends_it_cleanly(importer: Importer) -> None:
    """It says what was loaded and leaves with the shell's code for it."""
    importer.catalogs.script = lambda request: (
        KeyboardInterrupt() if len(importer.catalogs.outcomes) == 1 else None
    )
    assert importer.run(HEADER + rows(1200)) == 130
    assert "stopped: interrupted" in importer.err
    assert "loaded before that: 500 added, " in importer.err


def test_the_bar_is_drawn_on_a_terminal_only(importer: Importer) -> None:
    """Bad rows and the tally are the same with and without it."""
    text = HEADER + rows(600) + "B1,,x,novels,1,5\n"
    assert importer.run(text) == 1
    assert importer.err == "line 602: title: must not be empty\n"
    importer.terminal = True
    assert importer.run(text) == 1
    assert "importing" in importer.err
    assert "line 602: title: must not be empty\n" in importer.err
    assert importer.out == "0 added, 0 changed, 600 unchanged, 1 bad row\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_on_a_terminal_the_tally_is_a_table(importer: Importer) -> None:
    """A line for each number, aligned."""
    tally = Tally(Counter(added=1200, changed=0, unchanged=3), lambda line: None, bad=1)
    out = Terminal()
    report(tally, "", lambda line: None, out)
    lines = re.sub(r"\033\[[0-9;]*m", "", out.getvalue()).splitlines()
    assert [line.rstrip() for line in lines] == [
        "1,200  added", "    0  changed", "    3  unchanged", "    1  bad row",
    ]  # fmt: skip


# --- what other files need ---


def test_columns_are_mapped_and_what_is_missing_is_given(importer: Importer) -> None:
    """On the command line."""
    text = "Code,Name,Writer\nA,Emma,Jane Austen\n"
    mapped = "sku=Code,title=Name,authors=Writer"
    given = ["--price-cents", "450", "--stock", "0", "--topic", "Novels"]
    assert importer.run(text, "--map", mapped, *given) == 0
    assert importer.catalogs.books["A"] == {
        "title": "Emma", "authors": ["Jane Austen"], "topics": ["Novels"], "price_cents": 450,
        "quantity": 0, "sku": "A",
    }  # fmt: skip


def test_a_mapping_that_is_none_is_a_plain_message(importer: Importer) -> None:
    """Exit code 2, nothing sent."""
    assert importer.run(HEADER + rows(1), "--map", "titel=title") == 2
    assert importer.err.startswith("--map: there is no field titel (fields: sku, title, ")
    assert importer.run(HEADER + rows(1), "--map", "title=Titel") == 2
    assert "--map: columns missing: titel (the first line has 'sku, title, " in importer.err
    assert importer.catalogs.asked == []


@pytest.mark.parametrize(
    "option", ["--price-cents=-1", "--stock=x", "--topic=", "--stock=" + "9" * 30]
)
def test_a_wrong_constant_is_refused_with_the_usage(
    importer: Importer, option: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """As any wrong option."""
    with pytest.raises(SystemExit) as ended:
        importer.run(HEADER + rows(1), option)
    assert ended.value.code == 2
    assert option.partition("=")[0] in capsys.readouterr().err


def test_what_is_left_out_is_counted(importer: Importer) -> None:
    """Recordings in Gutenberg's catalogue are no bad rows."""
    assert importer.run(PG_CATALOG.read_bytes()) == 0
    assert importer.out == "6 added, 0 changed, 0 unchanged, 0 bad rows, 2 left out\n"


# --- deliveries ---


def test_a_delivery_is_received_once(importer: Importer) -> None:
    """Each row is a restock under its own key, in messages of 64; once more adds nothing."""
    importer.run(HEADER + rows(100))
    text = "sku,received\n" + "".join(f"S{n},{n + 1}\n" for n in range(100))
    assert importer.run(text) == 0
    assert importer.out == "100 rows received, 5,050 copies, 0 bad rows\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    assert importer.catalogs.restocks[f"delivery-{digest}-9"] == {
        "book_id": 8, "quantity": 8, "reason": "delivery",
    }  # fmt: skip
    assert importer.catalogs.asked[-2:] == [
        ("catalog-1", f"delivery-{digest}-2"), ("catalog-1", f"delivery-{digest}-66"),
    ]  # fmt: skip
    before = dict(importer.catalogs.restocks)
    assert importer.run(text) == 0
    assert importer.catalogs.restocks == before


def test_a_packed_delivery_is_the_same_delivery(importer: Importer) -> None:
    """Its digest is that of what is in it; columns may be mapped."""
    importer.run(HEADER + rows(1))
    text = b"Artikel,Menge\nS0,4\n"
    for data in (text, gzip.compress(text, mtime=1), gzip.compress(text, mtime=2)):
        assert importer.run(data, "--map", "sku=Artikel,received=Menge") == 0
    assert len(importer.catalogs.restocks) == 1


def test_bad_rows_of_a_delivery_are_named_and_the_others_received(importer: Importer) -> None:
    """An unknown sku is never sent: its book may come, and then the same file adds it."""
    importer.run(HEADER + rows(2))
    text = "sku,received\nS0,1\nNEW,2\nS1,none\nS1,5000\nS1,3\n"
    assert importer.run(text) == 1
    assert importer.err.splitlines() == [
        "line 3: sku: there is no book NEW",
        "line 4: received: must be a whole number, this is 'none'",
        "line 5: received: must be 1 to 1000",
    ]
    assert importer.out == "2 rows received, 4 copies, 3 bad rows\n"
    importer.run(HEADER + "NEW,New,,novels,1,0\n")
    importer.run(text)
    assert len(importer.catalogs.restocks) == 3


def test_a_row_whose_key_had_another_request_is_a_bad_row(importer: Importer) -> None:
    """Which takes a hand that made such a key."""
    importer.run(HEADER + rows(2))
    text = "sku,received\nS0,1\nS1,2\n"
    digest = hashlib.sha256(text.encode()).hexdigest()[:16]
    importer.catalogs.restocks[f"delivery-{digest}-2"] = {"book_id": 9}
    assert importer.run(text) == 1
    assert importer.err == "line 2: another request had this key\n"
    assert importer.out == "1 row received, 2 copies, 1 bad row\n"


def test_a_delivery_follows_the_leader_and_waits_for_it(importer: Importer) -> None:
    """Look-ups, too: a catalog that may not answer now is asked again, or the leader that it
    names.
    """
    importer.run(HEADER + rows(1))
    importer.catalogs.leader = "catalog-2"
    troubles = iter([
        Problem("dirty", "a write is under way", leader="catalog-2"),
        Problem("unavailable", "recovering"), None, NoAnswer("broke off"),
    ])  # fmt: skip
    importer.catalogs.script = lambda request: next(troubles, None)
    assert importer.run("sku,received\nS0,1\n") == 0
    assert importer.out == "1 row received, 1 copy, 0 bad rows\n"
    assert len(importer.catalogs.restocks) == 1


def test_a_delivery_that_is_a_pipe_is_refused(importer: Importer) -> None:
    """It is read twice: its digest comes first."""
    (importer.folder / "cluster.env").touch()
    os.mkfifo(importer.folder / "pipe")
    writer = threading.Thread(
        target=(importer.folder / "pipe").write_bytes, args=(b"sku,received\nS0,1\n",)
    )
    writer.start()
    err = io.StringIO()
    argv = [str(importer.folder / "pipe"), "--config", str(importer.folder / "cluster.env")]
    assert main(argv, environ=SETTINGS, http=importer.catalogs, console=Console(file=err)) == 2
    writer.join()
    assert "it must be a file, not a pipe" in " ".join(err.getvalue().split())
