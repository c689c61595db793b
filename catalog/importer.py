"""`python -m catalog.importer FILE`: loads books through the catalog's leader, or a delivery.

Law: a file can be loaded again at any time and does nothing twice. A bad row is named and left
out, the others are loaded.
"""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, TextIO

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from catalog import receiving
from catalog.bookfile import BadFile, Mapped, books, mapping, opened
from catalog.layouts import GUTENBERG, MAPPABLE, Given
from catalog.loading import BAD_ROWS_NAMED_MAX, Loading, Tally
from catalog.messenger import Messenger, Undelivered
from catalog.receiving import Receiving
from common import delivery, fields
from common.auth import Signer
from common.clock import Clock, SystemClock
from common.config import ConfigError, Settings, add_config_argument, load_cluster
from common.errors import Problem
from common.peer import Http, Peer, RequestsHttp

LOADED, SOME_BAD, NOT_DONE, INTERRUPTED = 0, 1, 2, 130  # exit codes
AGAIN = (
    "the batch under way may be loaded or not."
    " Running this again is safe: what is loaded stays as it is."
)


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


class Import:
    """One file on its way into the shop."""

    def __init__(
        self, messenger: Messenger, say: Callable[[str], None], mapped: Mapped, given: Given
    ) -> None:
        self.tally = Tally.empty()
        self._messenger = messenger
        self._say = say
        self._mapped = mapped
        self._given = given

    def load(self, path: Path, console: Console) -> tuple[int, str]:
        """Load a file; return the exit code, and why it stopped early or the empty string."""
        try:
            with path.open("rb") as source, progress_of(source, console) as tick:
                self._load(source, tick)
        except OSError as error:
            return NOT_DONE, f"{path}: {error.strerror or error}"
        except BadFile as error:
            return NOT_DONE, f"{path}: {error}"
        except Undelivered as error:
            return NOT_DONE, f"stopped: {error}; {AGAIN}"
        except KeyboardInterrupt:
            return INTERRUPTED, f"stopped: interrupted; {AGAIN}"
        return (SOME_BAD if self.tally.bad else LOADED), ""

    def _load(self, source: BinaryIO, tick: Callable[[], None]) -> None:
        """Load what the first line says that it is."""
        sheet = opened(source, self._mapped)
        if set(delivery.COLUMNS) <= set(sheet.names):
            received = Receiving(self._messenger, self._say)
            self.tally = received.tally
            received.run(receiving.rows(source, self._mapped), tick)
        else:
            loading = Loading(secrets.token_hex(8), self._messenger, self._say)
            self.tally = loading.tally
            loading.run(books(sheet, self._given), tick)


def report(tally: Tally, stopped: str, say: Callable[[str], None], out: TextIO) -> None:
    """Say how it ended: the tally on `out`, what needs attention through `say`."""
    if tally.bad > BAD_ROWS_NAMED_MAX:
        say(f"and {tally.bad - BAD_ROWS_NAMED_MAX:,} more")
    if stopped:
        say(stopped)
        if any(tally.done.values()):
            say(f"loaded before that: {tally}")
    elif out.isatty():
        Console(file=out).print(summary(tally))
    else:
        print(tally, file=out)


def summary(tally: Tally) -> Table:
    """Draw the tally for a person."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column(justify="right")
    for number, word in tally.figures():
        wrong = word.startswith("bad") and number > 0
        style = "bold yellow" if wrong else "bold green" if number else "dim"
        table.add_row(Text(f"{number:,}", style), Text(word, "" if number else "dim"))
    return table


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line says; wrong numbers end it."""
    own = GUTENBERG.given
    parser = argparse.ArgumentParser(
        prog="python -m catalog.importer",
        description="Load a file through the catalog's leader, CSV or .csv.gz: books in the columns"
        " of config/catalog.csv, Project Gutenberg's pg_catalog.csv (its texts), or a delivery"
        " (columns sku and received: copies that came in). It is safe to run again.",
    )
    parser.add_argument("file", type=Path, help="the file")
    parser.add_argument(
        "--map", default="", metavar="FIELD=HEADER,...",
        help=f"what the file calls its columns; fields: {', '.join(MAPPABLE)}"
        " (price is an amount like 12.99; authors stand apart by ;, topics by |)",
    )  # fmt: skip
    for name, default, high in (
        ("price-cents", own.price_cents, fields.PRICE_CENTS_MAX),
        ("stock", own.stock, fields.STOCK_MAX),
    ):
        parser.add_argument(
            f"--{name}", type=_whole_up_to(high), metavar="N",
            help=f"for rows that say none (pg_catalog.csv: {default})",
        )  # fmt: skip
    parser.add_argument(
        "--topic", type=_topic, help=f"for rows that say none (pg_catalog.csv: {own.topic})"
    )
    add_config_argument(parser)
    return parser.parse_args(argv)


def _whole_up_to(high: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not (text.isascii() and text.isdecimal() and len(text) < 19 and int(text) <= high):
            raise argparse.ArgumentTypeError(f"must be a whole number, 0 to {high}")
        return int(text)

    return parse


def _topic(text: str) -> str:
    try:
        return fields.text("topic", text, fields.TOPIC_CHARS_MAX)
    except Problem as problem:
        raise argparse.ArgumentTypeError(problem.detail) from None


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
    """Load a file; return the exit code.

    The bar, bad rows and troubles go to `console` (stderr), the tally to `out` (stdout).
    """
    arguments = arguments_of(argv)
    console = console or Console(stderr=True)

    def say(line: str) -> None:  # what a file says is data, never markup
        console.print(line, markup=False, highlight=False, soft_wrap=True)

    try:
        settings, mapped = load_cluster(arguments.config, environ), mapping(arguments.map)
    except (ConfigError, BadFile) as error:
        say(str(error))
        return NOT_DONE
    messenger = Messenger(
        catalogs_of(settings, http or RequestsHttp()),
        clock=clock or SystemClock(),
        pause=pause,
        waiting=lambda error: say(f"waiting for the catalog: {error}"),
    )
    given = Given(arguments.price_cents, arguments.stock, arguments.topic)
    one = Import(messenger, say, mapped, given)
    code, stopped = one.load(arguments.file, console)
    report(one.tally, stopped, say, out or sys.stdout)
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
