"""`make mutate`: take out one rule of the protocol at a time, in a copy, and see the simulator go
red.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("common", "catalog", "order", "frontend", "tests")
SUMMARY = re.compile(r"^(\d+) schedules in", re.MULTILINE)
VIOLATED = re.compile(r"^seed (\d+): (.*)$", re.MULTILINE)


def copy_without(mutation: Mutation, folder: Path) -> None:
    """Copy the project and take the rule out; raise ValueError when its text is not there once."""
    for name in COPIED:
        ignore = shutil.ignore_patterns("__pycache__", ".pytest_cache")
        shutil.copytree(ROOT / name, folder / name, ignore=ignore)
    path = folder / mutation.file
    text = path.read_text(encoding="utf-8")
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} holds {text.count(mutation.old)} times: {mutation.old}")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")


def simulate_without(mutation: Mutation, seeds: int) -> tuple[bool, int, str]:
    """Return whether the simulator noticed, after how many schedules, and what it said."""
    with tempfile.TemporaryDirectory(prefix="bazar-mutant-") as name:
        copy_without(mutation, Path(name))
        command = [sys.executable, "-m", "tests.simulate", "--seeds", str(seeds), "--stop-at-first"]
        ran = subprocess.run(
            command, cwd=name, capture_output=True, text=True, check=False,
            env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        )  # fmt: skip
    done, said = SUMMARY.search(ran.stdout), VIOLATED.search(ran.stdout)
    if done is None:
        raise RuntimeError(f"the simulator itself broke:\n{ran.stdout[-2000:]}{ran.stderr[-2000:]}")
    return ran.returncode != 0, int(done[1]), said[2] if said else ""


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: rule, caught by which check, after how many schedules; 1 if one survived."""
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=400, help="schedules at most for each rule")
    parser.add_argument("--only", default="", help="only rules with this text in them")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("rule taken out", "caught by", "schedules")
    survived = 0
    chosen = [mutation for mutation in MUTATIONS if given.only in mutation.rule]
    for mutation in chosen:
        caught, schedules, said = simulate_without(mutation, given.seeds)
        survived += not caught
        verdict = f"caught after {schedules}: {said}" if caught else f"NOT CAUGHT in {schedules}"
        print(f"{mutation.rule}: {verdict}", file=sys.stderr, flush=True)
        table.add_row(mutation.rule, said[:70] if caught else "NOT CAUGHT", str(schedules))
    console.print(table)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
