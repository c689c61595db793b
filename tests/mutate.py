"""`make mutate`: take out one rule of the protocol at a time, in a copy, and see the simulator go
red.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from queue import Queue

import pytest
from rich.console import Console
from rich.table import Table

from tests.backup_mutations import BACKUP_MUTATIONS
from tests.mutations import MUTATIONS, Mutation

ROOT = Path(__file__).resolve().parent.parent
COPIED = ("common", "catalog", "order", "frontend", "tests", "pyproject.toml", "requirements.txt")
SUMMARY = re.compile(r"^(\d+) schedules in", re.MULTILINE)
VIOLATED = re.compile(r"^seed \d+: (.*)$", re.MULTILINE)
FAILED = re.compile(r"^FAILED \S+::(\S+)", re.MULTILINE)
PASSED = re.compile(r"(\d+) passed")
PYTEST = ("-q", "-x", "-p", "no:cacheprovider")
SAID = "said.txt"  # in a copy: what its tests printed
# Each run of tests is a fork of a process that has loaded these: half of its time otherwise.
FORKS = multiprocessing.get_context("forkserver")
FORKS.set_forkserver_preload([
    "pytest", "hypothesis", "apsw", "flask", "greenlet", "httptools", "jinja2", "prometheus_client",
    "requests", "rich.console", "rich.table", "uvicorn",
])  # fmt: skip
NAMED = (
    "tests/cluster/test_faults.py", "tests/cluster/test_rules.py", "tests/cluster/test_disk.py",
    "tests/cluster/test_takeover.py", "tests/cluster/test_operate.py",
)  # fmt: skip


def copy_to(folder: Path) -> None:
    """Copy what a run of the simulator needs, compiled as it is: that halves the time of a rule."""
    for name in COPIED:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / name)
        else:
            ignore = shutil.ignore_patterns("node_modules", "static")
            shutil.copytree(ROOT / name, folder / name, ignore=ignore)


@contextmanager
def without(mutation: Mutation, folder: Path) -> Iterator[None]:
    """Take a rule out of a copy, and put it back; raise ValueError when its text does not stand
    there once.
    """
    path = folder / mutation.file
    text, before = path.read_text(encoding="utf-8"), path.stat()
    if text.count(mutation.old) != 1:
        raise ValueError(f"{mutation.file} holds {text.count(mutation.old)} times: {mutation.old}")
    path.write_text(text.replace(mutation.old, mutation.new), encoding="utf-8")
    try:
        yield
    finally:
        path.write_text(text, encoding="utf-8")
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))  # it is compiled already


def holder(mutation: Mutation) -> tuple[str, str]:
    """Return the file and the name of the test that holds a rule."""
    path, _, test = mutation.held_by.rpartition("::")
    holds = (name for name in NAMED if f"def {test}(" in (ROOT / name).read_text("utf-8"))
    return path or next(holds), test


def failing(rules: Sequence[Mutation]) -> str:
    """Return what pytest says of the tests that hold rules, all rules in, if any fails."""
    tests = sorted({"::".join(holder(rule)) for rule in rules})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *PYTEST, *tests], cwd=ROOT, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout[-3000:] if done.returncode else ""


def caught_by(mutation: Mutation, copies: Queue[Path], seeds: int) -> tuple[str | None, int]:
    """Return which check of the simulator noticed, and after how many schedules: the one that holds
    the rule, else one of all that have names, else random ones; None when none did.
    """
    copy = copies.get()
    try:
        with without(mutation, copy):
            return _caught_by(mutation, copy, seeds)
    finally:
        copies.put(copy)


def _caught_by(mutation: Mutation, copy: Path, seeds: int) -> tuple[str | None, int]:
    path, test = holder(mutation)
    code, said = tested(copy, f"{path}::{test}")
    if failed := FAILED.search(said):
        return failed[1], 1
    if code:
        raise RuntimeError(f"{mutation.held_by} did not run:\n{said}"[-3000:])
    code, said = tested(copy, *NAMED)
    if failed := FAILED.search(said):
        return failed[1], int((PASSED.search(said) or (0, 0))[1]) + 1
    command = [sys.executable, "-m", "tests.simulate", "--seeds", str(seeds)]
    command += ["--stop-at-first", *(["--backup"] if mutation.backup else [])]
    environ = os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}
    random = subprocess.run(
        command, cwd=copy, capture_output=True, text=True, check=False, env=environ
    )
    done, violated = SUMMARY.search(random.stdout), VIOLATED.search(random.stdout)
    if code or done is None:
        raise RuntimeError(f"the simulator itself broke:\n{said}{random.stderr}"[-3000:])
    return (violated[1] if violated else None), int(done[1])


def tested(copy: Path, *tests: str) -> tuple[int | None, str]:
    """Run tests of a copy; return pytest's exit code and what it printed."""
    process = FORKS.Process(target=_test, args=(copy, tests))
    process.start()
    process.join()
    return process.exitcode, (copy / SAID).read_text("utf-8")


def _test(copy: Path, tests: tuple[str, ...]) -> None:
    os.chdir(copy)
    said = os.open(SAID, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(said, 1)
    os.dup2(said, 2)
    ours = [name for name in sys.modules if name.partition(".")[0] in COPIED]
    for name in ours:  # this module is of the original
        del sys.modules[name]
    sys.path[:] = [str(copy), *(path for path in sys.path if path not in ("", str(ROOT)))]
    # What is run once need not be compiled; to look for plugins takes as long as a test.
    sys.dont_write_bytecode = True
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    sys.exit(pytest.main([*PYTEST, *tests]))


def main(argv: Sequence[str] | None = None) -> int:
    """Print the table: rule, caught by which check, after how many schedules; 1 if one survived."""
    parser = argparse.ArgumentParser(prog="mutate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=400, help="schedules at most for each rule")
    parser.add_argument("--only", default="", help="only rules with this text in them")
    parser.add_argument("--tested", action="store_true", help="`make test` is known to be green")
    given = parser.parse_args(argv)
    console = Console(width=None if sys.stdout.isatty() else 160)
    table = Table("rule taken out", "caught by", "schedules")
    rules = (*MUTATIONS, *BACKUP_MUTATIONS)
    chosen = [mutation for mutation in rules if given.only in mutation.rule]
    survived = 0
    if red := "" if given.tested else failing(chosen):
        print(f"{red}\nsomething fails with all rules in: mend that first", file=sys.stderr)
        return 2
    with ExitStack() as stack:
        copies: Queue[Path] = Queue()
        for _ in range(os.cpu_count() or 1):
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bazar-mutant-"))
            copy_to(Path(folder))
            copies.put(Path(folder))
        pool = stack.enter_context(ThreadPoolExecutor(copies.qsize()))
        found = pool.map(lambda mutation: caught_by(mutation, copies, given.seeds), chosen)
        for mutation, (check, schedules) in zip(chosen, found, strict=True):
            survived += check is None
            verdict = f"caught after {schedules}: {check}" if check else "NOT CAUGHT"
            print(f"{mutation.rule}: {verdict}", file=sys.stderr, flush=True)
            table.add_row(mutation.rule, (check or "NOT CAUGHT")[:80], str(schedules))
    console.print(table)
    return 1 if survived else 0


if __name__ == "__main__":
    sys.exit(main())
