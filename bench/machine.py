"""The machine under the benchmark: what it is, which of its cores does what, what is installed."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import apsw

# program -> Debian package
PACKAGES = {"nginx": "nginx", "wrk": "wrk", "initdb": "postgresql", "chromium": "chromium"}
MODULES = (
    "matplotlib",
    "psycopg",
    "psycopg_pool",
    "gunicorn",
    "playwright",
)  # bench/requirements.txt
POSTGRES_BINARIES = "/usr/lib/postgresql"  # Debian has a folder for each version in it
VERSIONS = (
    ("nginx", "-v"), ("wrk", "-v"), ("postgres", "--version"), ("chromium", "--version"),
)  # fmt: skip
SYNCS = 100


class Missing(Exception):
    """Programs that a line needs are not installed."""


def describe(folder: Path) -> dict[str, Any]:
    """Return what performance depends on; `folder` is on the disk that the databases use."""
    return {
        "cores": os.cpu_count(),
        "cpu": _first("/proc/cpuinfo", "model name"),
        "memory_gb": round(int(_first("/proc/meminfo", "MemTotal").split()[0]) / 2**20),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "sqlite": apsw.sqlite_lib_version(),
        "sync_ms": round(sync_ms(folder), 3),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    """Return program -> version of those that are installed."""
    found = {}
    for name, flag in VERSIONS:
        try:
            said = subprocess.run([program(name), flag], capture_output=True, text=True)
        except Missing:
            continue
        match = re.search(r"\d+\.\d+(\.\d+)?", said.stdout + said.stderr)
        found[name] = match[0] if match else "?"
    return found


def sync_ms(folder: Path) -> float:
    """Return what it takes to make 4 KiB durable at the end of a file: the median of some."""
    path = folder / "sync"
    taken: list[float] = []
    with path.open("wb", buffering=0) as file:
        for _ in range(SYNCS):
            began = time.perf_counter()
            file.write(bytes(4096))
            os.fdatasync(file.fileno())
            taken.append((time.perf_counter() - began) * 1000)
    path.unlink()
    return median(taken)


def cores() -> tuple[int, int]:
    """Return a core for the server and one for the load (the same one if there is no other)."""
    usable = sorted(os.sched_getaffinity(0))
    return usable[0], usable[-1]


@contextmanager
def pinned(pid: int, core: int) -> Iterator[None]:
    """Keep all threads of a process on one core."""
    before = os.sched_getaffinity(pid)
    _pin(pid, {core})
    try:
        yield
    finally:
        _pin(pid, before)


def _pin(pid: int, where: set[int]) -> None:
    for task in Path(f"/proc/{pid}/task").glob("[0-9]*"):
        os.sched_setaffinity(int(task.name), where)


def memory_mb(pid: int) -> float:
    """Return a process's memory, what it shares counted in parts (PSS), in MiB."""
    return int(_first(f"/proc/{pid}/smaps_rollup", "Pss").split()[0]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU time that a process has used, in seconds."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def program(name: str) -> str:
    """Return the path of a program, all of one PostgreSQL, the newest; raise `Missing`."""
    versions = Path(POSTGRES_BINARIES).glob("[0-9]*/bin")
    newest = sorted(versions, key=lambda path: float(path.parent.name), reverse=True)
    places = [*map(str, newest), os.environ.get("PATH", ""), "/usr/sbin"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise Missing(f"{name} is not installed: apt install {PACKAGES.get(name, name)}")
    return found


def check_modules(find: Callable[[str], object] = find_spec) -> None:
    """Raise `Missing` before minutes of measuring, not after them."""
    if missing := [name for name in MODULES if find(name) is None]:
        raise Missing(
            f"the benchmark needs {', '.join(missing)}: pip install -r bench/requirements.txt"
        )


def check_programs(names: set[str], which: Callable[[str], str] = program) -> None:
    """Raise `Missing`, which names the packages of all programs that are not there."""
    packages = []
    for name in sorted(names):
        try:
            which(name)
        except Missing:
            packages.append(PACKAGES[name])
    if packages:
        packages.sort()
        raise Missing(
            f"the benchmark needs {', '.join(packages)}: apt install {' '.join(packages)}"
        )


def _first(path: str, name: str) -> str:
    """Return the value of the first `name: value` of a file of /proc, "0" if there is none."""
    with Path(path).open(encoding="utf-8") as lines:
        for line in lines:
            key, _, value = line.partition(":")
            if key.strip() == name:
                return value.strip()
    return "0"
