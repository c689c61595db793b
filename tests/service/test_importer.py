"""The importer against pretended catalogs: what it sends, whom it asks, when it gives up."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from catalog.bookfile import Book
from catalog.delivery import PATIENCE_S
from catalog.importer import BATCH_BYTES_MAX, batches, main
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
    asked: list[tuple[str, str]] = field(default_factory=list)  # (node, key)

    def send(self, request: Request) -> Response:
        Signer(request.to, SECRET).check(
            request.headers, request.method, request.target, request.body
        )
        assert (request.method, request.target) == ("POST", "/operations")
        key = json.loads(request.body)["key"]
        self.asked.append((request.to, key))
        fault = self.script(request)
        if request.to != self.leader and not isinstance(fault, PeerDown):
            fault = Problem("not-leader", "ask the leader", leader=self.leader)
        if fault is None or isinstance(fault, NoAnswer):
            self._run(key, request.body)
        if isinstance(fault, Problem):
            return Response(fault.status, {}, json.dumps(fault.body()).encode())
        if fault is not None:
            raise fault
        document = {"status": 200, "answer": self.outcomes[key][1]}
        return Response(200, {}, json.dumps(document).encode())

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

    def run(self, text: str, *, environ: dict[str, str] | None = None) -> int:
        (self.folder / "cluster.env").touch()
        (self.folder / "books.csv").write_text(text, encoding="utf-8", newline="")
        out, err = io.StringIO(), io.StringIO()
        code = main(
            [str(self.folder / "books.csv"), "--config", str(self.folder / "cluster.env")],
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
    assert "columns missing: sku, price_cents, stock" in importer.err
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
