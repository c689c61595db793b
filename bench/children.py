"""Processes that the benchmark starts: each one ends with its `with` block, however that ends."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.processes import ROOT

END_S = 8


@contextmanager
def running(
    command: Sequence[str],
    log: Path,
    *,
    end: signal.Signals = signal.SIGTERM,
    environ: Mapping[str, str] | None = None,
    user: Mapping[str, Any] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; `end` is the signal that ends it and its own children in order.

    `user` holds Popen's arguments that say as whom it runs.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=environ, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            **(user or {}),
        )  # fmt: skip
    try:
        yield process
    finally:
        process.send_signal(end)
        try:
            process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def run(command: Sequence[str], **options: Any) -> str:
    """Run a program to its end and return what it printed; what it had to say if it failed."""
    done: subprocess.CompletedProcess[str] = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, **options
    )
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed: {(done.stderr or done.stdout).strip()[-2000:]}")
    return done.stdout
