"""`make chaos SECONDS=60`: break a shop of real processes in every way we know, then check it all.

Five nodes (six with `--backup`) and a second frontend, each in a network namespace of its own,
under load; the faults are drawn from a seed. Needs Linux and root; nothing outside of its own
namespaces is touched.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from secrets import randbits
from time import monotonic
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from tests.support.auditor import Auditor
from tests.support.chaos_clocks import sweep_clocks
from tests.support.chaos_disks import sweep_disks
from tests.support.chaos_history import READS, WRITES, History
from tests.support.chaos_nemesis import Nemesis
from tests.support.chaos_network import PREFIX, Network, NetworkFailed, sweep_namespaces
from tests.support.chaos_report import Outcome, document, headline, write
from tests.support.chaos_run import run
from tests.support.chaos_shop import AUDITOR, FIVE, SIX, disks_of
from tests.support.processes import ROOT

LOCK = Path(tempfile.gettempdir()) / f"{PREFIX}lock"
REPORT = ROOT / "chaos-report"
EXIT_VIOLATED, EXIT_CANNOT, EXIT_STOPPED = 1, 2, 130
WINDOW_S = 3.0


class Cannot(Exception):
    """A chaos run is not possible here; the message says why."""


@contextmanager
def the_only_run() -> Iterator[None]:
    """Be the only chaos run on this machine, with whatever an earlier one left cleaned up."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Cannot("network namespaces and mounts need Linux and root: run it as root")
    with LOCK.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Cannot("another chaos run is going on on this machine") from None
        sweep()
        yield


def sweep() -> list[str]:
    """Clean up what runs that were killed have left; return what that was."""
    folders = [path for path in Path(tempfile.gettempdir()).glob(f"{PREFIX}*") if path.is_dir()]
    found = sweep_namespaces() + sweep_disks()
    sweep_clocks(folders)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    return found + [str(folder) for folder in folders]


@contextmanager
def progress_line(seconds: float, console: Console) -> Iterator[Any]:
    """Yield what shows how a run is going; call it often."""
    columns = (
        TextColumn("chaos"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[told]}"),
    )  # fmt: skip
    began, shown = monotonic(), [0.0]
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=seconds, told="")

        def watch(nemesis: Nemesis, history: History, auditor: Auditor) -> None:
            now = monotonic()
            if now - shown[0] < 0.25:
                return
            if not shown[0]:
                print("ready, and breaking; Ctrl-C ends that and checks what was done", flush=True)
            shown[0] = now
            told = _told(nemesis, history, auditor, now)
            progress.update(task, completed=now - began, told=told)

        yield watch


def _told(nemesis: Nemesis, history: History, auditor: Auditor, now: float) -> str:
    reads, writes = (
        sum(moment > now - WINDOW_S for moment in history.ends(kinds)) / WINDOW_S
        for kinds in (READS, WRITES)
    )
    wrong = len(history.violations) + len(auditor.violations)
    last = nemesis.faults[-1] if nemesis.faults else None
    fault = f"{last.kind} ({', '.join(last.nodes[:2])})" if last and not last.healed else "healed"
    return (
        f"{len(nemesis.faults)} faults, {reads:.0f} reads/s, {writes:.0f} writes/s,"
        f" {wrong} violations; {fault}"
    )


def chaos(seed: int, seconds: float, report: Path, console: Console, *, backup: bool) -> Outcome:
    """Make the network and the disks, run, write the report, and take all down again."""
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        nodes = SIX if backup else FIVE
        network = stack.enter_context(Network([*nodes, AUDITOR]))
        disks = stack.enter_context(disks_of(folder, nodes, seconds))
        network.join(AUDITOR)  # before any thread begins: the clients live there, too
        with progress_line(seconds, console) as watch:
            outcome = run(
                folder, network, disks, seed=seed, seconds=seconds, backup=backup, watch=watch
            )
        write(report, outcome)
        _keep_logs(folder, report / "logs")
    return outcome


def _keep_logs(folder: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for log in folder.glob("*.log"):
        shutil.copy(log, place)


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 0 when nothing was violated, 1 otherwise, 2 when it cannot be run here."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60, help="how long to break things")
    parser.add_argument("--seed", type=int, help="repeat the faults and the load of a run")
    parser.add_argument("--report", type=Path, default=REPORT, metavar="FOLDER")
    parser.add_argument("--backup", action="store_true", help="with the backup server")
    parser.add_argument("--sweep", action="store_true", help="only clean up after killed runs")
    given = parser.parse_args(argv)
    console = Console(stderr=True)
    seed = randbits(32) if given.seed is None else given.seed
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background ignores it
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with the_only_run():
            if given.sweep:
                return 0
            again = f"make chaos SECONDS={given.seconds:g} SEED={seed}"
            again += " WITH_BACKUP=1" if given.backup else ""
            print(f"seed {seed}; the same faults again: {again}", flush=True)
            outcome = chaos(seed, given.seconds, given.report, console, backup=given.backup)
    except (Cannot, NetworkFailed) as error:
        print(f"chaos: {error}", file=sys.stderr)
        return EXIT_CANNOT
    except KeyboardInterrupt:
        print("stopped; everything is taken down", file=sys.stderr)
        return EXIT_STOPPED
    return _say(outcome, given.report)


def _say(outcome: Outcome, report: Path) -> int:
    print(headline(document(outcome)))
    for violation in outcome.violations[:5]:
        print(violation)
    print(f"report: {report}/chaos.md")
    return EXIT_VIOLATED if outcome.violations else 0


if __name__ == "__main__":
    sys.exit(main())
