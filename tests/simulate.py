"""`make simulate SEEDS=N`: run seeded schedules of the whole cluster on all cores; `SEED=s` replays
one.

On failure it prints the seed, what was violated, and a readable script of what happened.
"""

from __future__ import annotations

import argparse
import gc
import logging
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from tests.support.nemesis import run_schedule

COLLECT_EVERY = 30  # schedules


@dataclass
class Result:
    """What one schedule came to."""

    seed: int
    failure: str | None
    story: str = ""
    answered: int = 0
    unanswered: int = 0
    faults: Counter[str] = field(default_factory=Counter)


def run_one(seed: int, *, backup: bool, telling: bool = False) -> Result:
    """Run one schedule in a folder of its own (in memory where there is /dev/shm)."""
    place = "/dev/shm" if os.path.isdir("/dev/shm") else None
    folder = Path(tempfile.mkdtemp(prefix="bazar-sim-", dir=place))
    try:
        run = run_schedule(folder, seed, backup=backup, telling=telling)
        story = "\n".join(run.shop.cluster.scheduler.script) if telling else ""
        return Result(seed, None, story, run.shop.answered, run.shop.unanswered, run.faults)
    except AssertionError as error:
        return Result(seed, str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if seed % COLLECT_EVERY == 0:
            gc.collect()


def _begin() -> None:
    """Prepare a worker: no logs, garbage collected between schedules only (a tenth faster)."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one that counts
    logging.disable(logging.CRITICAL)
    gc.freeze()
    gc.disable()


def simulate(
    seeds: Sequence[int], *, backup: bool, stop_at_first: bool, console: Console
) -> list[Result]:
    """Run many schedules on all cores with a progress line; Ctrl-C ends them early."""
    results: list[Result] = []
    columns = (
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
    )  # fmt: skip
    started = time.monotonic()
    with (
        multiprocessing.get_context("spawn").Pool(os.cpu_count(), _begin) as pool,
        Progress(*columns, console=console, transient=True) as progress,
    ):
        task = progress.add_task("schedules", total=len(seeds), rate="")
        with suppress(KeyboardInterrupt):
            run = partial(run_one, backup=backup)
            for result in pool.imap_unordered(run, seeds, chunksize=4):
                results.append(result)
                rate = f"{len(results) / (time.monotonic() - started):.1f}/s"
                progress.update(task, advance=1, rate=rate)
                if result.failure and stop_at_first:
                    break
        pool.terminate()
    return results


def main(argv: Sequence[str] | None = None) -> int:
    """Run; return 0 when nothing was violated, 1 otherwise."""
    parser = argparse.ArgumentParser(prog="simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=200, help="how many schedules")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--seed", type=int, help="replay this one")
    parser.add_argument("--backup", action="store_true", help="with the backup server")
    parser.add_argument("--stop-at-first", action="store_true", help="end at the first failure")
    given = parser.parse_args(argv)
    console = Console(stderr=True)
    if given.seed is not None:
        result = run_one(given.seed, backup=given.backup, telling=True)
        print(result.failure or f"{result.story}\nseed {given.seed}: nothing violated")
        return 1 if result.failure else 0
    started = time.monotonic()
    seeds = range(given.first, given.first + given.seeds)
    results = simulate(
        seeds, backup=given.backup, stop_at_first=given.stop_at_first, console=console
    )
    failures = sorted((r for r in results if r.failure), key=lambda result: result.seed)
    for result in failures[:3]:
        print(result.failure)
    faults = sum((result.faults for result in results), Counter())
    told = ", ".join(f"{count} {name}" for name, count in sorted(faults.items()))
    seconds = time.monotonic() - started
    print(
        f"{len(results)} schedules in {seconds:.0f} s ({len(results) / seconds:.1f}/s),"
        f" {sum(r.answered for r in results)} calls answered,"
        f" {sum(r.unanswered for r in results)} unanswered; faults: {told}"
    )
    if failures:
        backup = " WITH_BACKUP=1" if given.backup else ""
        print(f"{len(failures)} failed: {', '.join(str(failure.seed) for failure in failures)}")
        print(f"replay: make simulate SEED={failures[0].seed}{backup}")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
