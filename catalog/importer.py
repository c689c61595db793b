"""`python -m catalog.importer FILE`: loads a file of books through the catalog's leader.

Law: a file can be loaded again at any time: a book is known by its sku, so what is there already
stays as it is. A bad row is named and left out, the others are loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import secrets
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from queue import Full, Queue
from typing import BinaryIO, TextIO, TypeVar

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from catalog.bookfile import BadFile, Book, read
from catalog.delivery import Delivery, Undelivered
from common.auth import Signer
from common.clock import Clock, SystemClock
from common.config import ConfigError, Settings, add_config_argument, load_cluster
from common.csvrows import BadRow
from common.peer import Http, Peer, RequestsHttp

BATCH_ROWS_MAX = 500
BATCH_BYTES_MAX = 256 * 1024
BAD_ROWS_NAMED_MAX = 1000
BATCHES_AHEAD = 2
AHEAD_LOOK_S = 0.1
T = TypeVar("T")

LOADED, SOME_BAD, NOT_DONE, INTERRUPTED = 0, 1, 2, 130  # exit codes
AGAIN = (
    "the batch under way may be loaded or not."
    " Running this again is safe: what is loaded stays as it is."
)


@dataclass
class Tally:
    """What one run did."""

    books: Counter[str] = field(default_factory=Counter)  # added, changed, unchanged
    bad: int = 0

    def __str__(self) -> str:
        counts = [f"{self.books[name]:,} {name}" for name in ("added", "changed", "unchanged")]
        return ", ".join([*counts, f"{self.bad:,} bad row{'' if self.bad == 1 else 's'}"])


class Run:
    """One run of the importer: rows in, batches to the leader, bad rows named."""

    def __init__(self, run_id: str, delivery: Delivery, say: Callable[[str], None]) -> None:
        self.tally = Tally()
        self._run_id = run_id
        self._delivery = delivery
        self._say = say

    def load(self, items: Iterable[Book | BadRow], tick: Callable[[], None]) -> None:
        """Load the books and name the bad rows, `tick()` after each batch.

        Raises `BadFile` or `Undelivered`; the tally then says what was loaded before.
        """
        for number, rows in enumerate(ahead(batches(self._good(items))), start=1):
            key = f"import-{self._run_id}-{number}"
            self.tally.books.update(self._delivery.deliver(key, "import", {"rows": rows}))
            tick()

    def _good(self, items: Iterable[Book | BadRow]) -> Iterator[Book]:
        for item in items:
            if not isinstance(item, BadRow):
                yield item
                continue
            self.tally.bad += 1
            if self.tally.bad <= BAD_ROWS_NAMED_MAX:
                self._say(f"line {item.line}: {item.reason}")


def batches(books: Iterable[Book]) -> Iterator[list[Book]]:
    """Group books into lists that each make one operation of a bounded size."""
    batch: list[Book] = []
    size_bytes = 0
    for book in books:
        book_bytes = len(json.dumps(book, separators=(",", ":"))) + 1
        if batch and (len(batch) == BATCH_ROWS_MAX or size_bytes + book_bytes > BATCH_BYTES_MAX):
            yield batch
            batch, size_bytes = [], 0
        batch.append(book)
        size_bytes += book_bytes
    if batch:
        yield batch


def ahead(items: Iterable[T]) -> Iterator[T]:
    """Yield items while a thread makes the next ones: a fifth of an import is reading the file."""
    made: Queue[T | BaseException | None] = Queue(BATCHES_AHEAD)
    over = threading.Event()

    def put(item: T | BaseException | None) -> None:
        while not over.is_set():
            try:
                return made.put(item, timeout=AHEAD_LOOK_S)
            except Full:
                continue

    def make() -> None:
        try:
            for item in items:
                put(item)
                if over.is_set():
                    return
            put(None)
        except BaseException as error:
            put(error)

    maker = threading.Thread(target=make, name="reader", daemon=True)
    maker.start()
    try:
        while (item := made.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        over.set()
        maker.join()  # it reads the file, which the caller closes


@contextmanager
def progress_of(source: BinaryIO, console: Console) -> Iterator[Callable[[], None]]:
    """Yield what redraws the bar: bytes read of the file itself, packed or not.

    A console that is no terminal shows nothing, nor does a file without an end (a pipe).
    """
    columns = (TextColumn("importing"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    shown = console.is_terminal and source.seekable()
    with Progress(*columns, console=console, disable=not shown) as progress:
        if shown:
            task = progress.add_task("", total=os.fstat(source.fileno()).st_size)
            yield lambda: progress.update(task, completed=source.tell())
        else:
            yield lambda: None


def import_file(
    run: Run, books: Callable[[BinaryIO], Iterator[Book | BadRow]], path: Path, console: Console
) -> tuple[int, str]:
    """Load one file; return the exit code, and why it stopped early or the empty string."""
    try:
        with path.open("rb") as source, progress_of(source, console) as tick:
            run.load(books(source), tick)
    except OSError as error:
        return NOT_DONE, f"{path}: {error.strerror or error}"
    except BadFile as error:
        return NOT_DONE, f"{path}: {error}"
    except Undelivered as error:
        return NOT_DONE, f"stopped: {error}; {AGAIN}"
    except KeyboardInterrupt:
        return INTERRUPTED, f"stopped: interrupted; {AGAIN}"
    return (SOME_BAD if run.tally.bad else LOADED), ""


def report(tally: Tally, stopped: str, say: Callable[[str], None], out: TextIO) -> None:
    """Say how it ended: the tally on `out`, what needs attention through `say`."""
    if tally.bad > BAD_ROWS_NAMED_MAX:
        say(f"and {tally.bad - BAD_ROWS_NAMED_MAX:,} more")
    if stopped:
        say(stopped)
        if tally.books:
            say(f"loaded before that: {tally}")
    else:
        print(tally, file=out)


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return the command line's file and config, and what Gutenberg's rows get that say neither."""
    parser = argparse.ArgumentParser(
        prog="python -m catalog.importer",
        description="Load a file of books through the catalog's leader. It is safe to run again.",
    )
    parser.add_argument("file", type=Path, help="CSV, plain or .gz; or Gutenberg's pg_catalog.csv")
    parser.add_argument("--price-cents", type=int, default=999, help="for pg_catalog.csv (999)")
    parser.add_argument("--stock", type=int, default=10, help="for pg_catalog.csv (10)")
    add_config_argument(parser)
    return parser.parse_args(argv)


def main(
    argv: Sequence[str] | None = None,
    *,
    environ: Mapping[str, str] = os.environ,
    http: Http | None = None,
    clock: Clock | None = None,
    pause: Callable[[float], None] = time.sleep,
    out: TextIO | None = None,
    console: Console | None = None,
) -> int:
    """Load a file of books; return the exit code.

    The bar, bad rows and troubles go to `console` (stderr), the tally to `out` (stdout).
    """
    arguments = arguments_of(argv)
    console = console or Console(stderr=True)

    def say(line: str) -> None:  # what a file says is data, never markup
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        settings = load_cluster(arguments.config, environ)
    except ConfigError as error:
        say(str(error))
        return NOT_DONE
    delivery = Delivery(
        catalogs_of(settings, http or RequestsHttp()),
        clock=clock or SystemClock(),
        pause=pause,
        waiting=lambda error: say(f"waiting for the catalog: {error}"),
    )
    run = Run(secrets.token_hex(8), delivery, say)
    books = partial(read, price_cents=arguments.price_cents, quantity=arguments.stock)
    code, stopped = import_file(run, books, arguments.file, console)
    report(run.tally, stopped, say, out or sys.stdout)
    return code


def catalogs_of(settings: Settings, http: Http) -> list[Peer]:
    """Return the catalog nodes as the importer calls them; it knows no cluster id."""
    signer = Signer("importer", settings.cluster_secret)
    return [
        Peer(name, url, http=http, signer=signer, cluster=lambda: "")
        for name, url in settings.catalogs.items()
    ]


if __name__ == "__main__":
    sys.exit(main())
