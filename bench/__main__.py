"""`python -m bench`: measures everything side by side and writes docs/performance.md."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
)

from bench import machine, report, results
from bench.lines import LINES, Line
from bench.results import Results
from bench.run import Run
from tests.support.processes import ROOT

RESULTS = ROOT / "bench" / "results.json"
DOCS = ROOT / "docs"
ROUNDS, SECONDS = 5, 2
MINUTES, MINUTES_QUICK = 0.5, 0.1
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def arguments_of(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return what the command line asks for."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description="Measure Bazar beside nginx and beside Flask on PostgreSQL; write the report.",
        epilog="lines: " + "; ".join(f"{line.name}: {line.what}" for line in LINES),
    )
    parser.add_argument("--only", type=_lines, default=LINES, metavar="LINE,LINE", help="a part")
    parser.add_argument("--rounds", type=_rounds, default=ROUNDS, help=f"of each line ({ROUNDS})")
    parser.add_argument("--minutes", type=float, help=f"of load, watching memory ({MINUTES:g})")
    parser.add_argument("--quick", action="store_true", help="1 s samples: does it work at all?")
    parser.add_argument("--render", action="store_true", help="make the report again, no more")
    parser.add_argument(
        "--results", type=Path, help="raw figures (a whole run: bench/results.json)"
    )
    parser.add_argument("--docs", type=Path, default=DOCS, help="folder of the report (docs)")
    parser.add_argument("--disk", default="/var/tmp", help="where the databases are (/var/tmp)")
    arguments = parser.parse_args(argv)
    if arguments.minutes is None:
        arguments.minutes = MINUTES_QUICK if arguments.quick else MINUTES
    return arguments


def _rounds(text: str) -> int:
    rounds = int(text)
    if rounds < 1:
        raise argparse.ArgumentTypeError("at least one round")
    return rounds


def _lines(text: str) -> tuple[Line, ...]:
    """Return the lines of some names."""
    names = text.split(",")
    unknown = set(names) - {line.name for line in LINES}
    if unknown:
        known = ", ".join(line.name for line in LINES)
        raise argparse.ArgumentTypeError(
            f"no line {', '.join(sorted(unknown))} (there are {known})"
        )
    return tuple(line for line in LINES if line.name in names)


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and report, or only report; return the exit code."""
    arguments = arguments_of(argv)
    console = Console(stderr=True)
    try:
        machine.check_modules()
        if arguments.render:
            report.write(results.load(arguments.results or RESULTS), arguments.docs)
            return OK
        machine.check_programs({name for line in arguments.only for name in line.needs})
    except (machine.Missing, OSError) as error:
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        return USAGE
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(FAILED))  # children end with their blocks
    try:
        found, failed = measure(arguments, console)
    except KeyboardInterrupt:
        return INTERRUPTED
    shown = Console()
    shown.print(report.terminal(found, shown.width))
    whole = arguments.only is LINES and not arguments.quick
    if arguments.results or whole:
        found.save(arguments.results or RESULTS)
        report.write(found, arguments.docs)
    return FAILED if failed else OK


def measure(arguments: argparse.Namespace, console: Console) -> tuple[Results, bool]:
    """Run the lines; return what they measured, and whether one of them failed."""
    with ExitStack() as stack:
        name = stack.enter_context(
            tempfile.TemporaryDirectory(prefix="bazar-bench-", dir=arguments.disk)
        )
        folder = Path(name)
        folder.chmod(0o711)  # PostgreSQL may be another user
        progress = stack.enter_context(_progress(console))
        task = progress.add_task("starting", total=len(arguments.only))
        found = Results(_about(arguments, folder))
        run = Run(
            folder, found, stack, arguments.rounds, 1 if arguments.quick else SECONDS,
            arguments.minutes, arguments.quick,
            say=lambda text: progress.update(task, description=text),
        )  # fmt: skip
        failed, took_s = False, found.about["took_s"]
        for line in arguments.only:
            began = time.monotonic()
            try:
                line.run(run)
            except Exception as error:  # one line's failure is no reason to lose the others
                failed = True
                found.forget(line.name)
                run.note(f"{line.name} was not measured: {type(error).__name__}")
                console.print(f"{line.name}: {error!r}", markup=False, highlight=False)
            took_s[line.name] = round(time.monotonic() - began, 1)
            progress.advance(task)
        return found, failed


def _about(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    return {
        "at": datetime.now(UTC).strftime("%Y-%m-%d"),
        "rounds": arguments.rounds,
        "minutes": arguments.minutes,
        "quick": arguments.quick,
        "took_s": {},
        "versions": machine.versions(),
        **machine.describe(folder),
    }


def _progress(console: Console) -> Progress:
    return Progress(
        SpinnerColumn(), BarColumn(24), MofNCompleteColumn(), TimeElapsedColumn(),
        TextColumn("{task.description}", style="dim"),
        console=console,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(main())
