"""Closed loop: `wrk` keeps a number of clients busy; each asks again when it has its answer.

Law: nothing but an answer to each request counts: one error or refusal and the sample is void.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.children import run
from bench.machine import program

LUA = Path(__file__).with_name("lua")
TIMEOUT_S = 10
START_S = 20  # how much longer wrk may take than its load


class Void(Exception):
    """A sample in which not every request got its answer."""


@dataclass(frozen=True)
class Load:
    """What wrk saw: requests a second, and latencies in milliseconds."""

    rate: float
    mean_ms: float
    p50_ms: float
    p99_ms: float


@dataclass
class Wrk:
    """Runs wrk with scripts and request files in a folder of the benchmark's."""

    folder: Path
    _numbers: Iterable[int] = field(default_factory=lambda: itertools.count(1))

    def url(self, url: str, *, clients: int, seconds: int, core: int | None = None) -> Load:
        """Ask for one URL all the time."""
        script = self._script("report.lua")
        return self._run([script, url], clients, seconds, core)

    def requests(
        self, url: str, lines: Sequence[str], *, clients: int, seconds: int, skip: int = 0
    ) -> Load:
        """Send a list of requests (`demand.py`) round and round, beginning after `skip` of them.

        Keys are never used twice, so nothing is answered from memory.
        """
        number = next(iter(self._numbers))
        path = self.folder / f"requests-{number}.txt"
        path.write_text("\n".join(lines) + "\n", "ascii")
        script = self._script("report.lua", "requests.lua")
        host = url.removeprefix("http://")
        arguments = [str(path), host, secrets.token_hex(8), str(skip)]
        try:
            return self._run([script, url, "--", *arguments], clients, seconds, None)
        finally:
            path.unlink()

    def _script(self, *names: str) -> str:
        """Return one file with all of these: wrk takes one, and `done` must be in it."""
        path = self.folder / f"{names[-1]}"
        if not path.exists():
            path.write_text("\n".join((LUA / name).read_text("utf-8") for name in names), "utf-8")
        return str(path)

    def _run(self, target: list[str], clients: int, seconds: int, core: int | None) -> Load:
        where = [] if core is None else ["taskset", "-c", str(core)]
        command = [
            *where, program("wrk"), "-t1", f"-c{clients}", f"-d{seconds}s",
            f"--timeout={TIMEOUT_S}s", "-s", *target,
        ]  # fmt: skip
        printed = run(command, timeout=seconds + START_S, env=os.environ | {"LC_ALL": "C"})
        return load_of(json.loads(printed.splitlines()[-1]))


def load_of(said: dict[str, float]) -> Load:
    """Return what wrk printed as a `Load`; raise `Void`."""
    if said["errors"] or said["refused"] or not said["requests"]:
        raise Void(
            f"{said['requests']:.0f} answers, {said['refused']:.0f} of them refusals,"
            f" {said['errors']:.0f} errors"
        )
    rate = said["requests"] / said["seconds"]
    return Load(rate, said["mean"] / 1000, said["p50"] / 1000, said["p99"] / 1000)
