"""The shop we are measured against, running: PostgreSQL twice and `rival.py` in gunicorn."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.children import running
from bench.ports import answers, free_port


@dataclass(frozen=True)
class Workers:
    """How gunicorn is set up: processes, and threads in each (as many connections as threads)."""

    processes: int
    threads: int

    def __str__(self) -> str:
        return f"{self.processes} x {self.threads} threads"


# The best of these, as measured first, is what the lines are measured with.
CHOICES = (Workers(1, 16), Workers(2, 8), Workers(2, 32), Workers(4, 16))


@contextmanager
def shop(dsn: str, workers: Workers, folder: Path) -> Iterator[str]:
    """Run the rival shop; yield its URL."""
    port = free_port()
    environ = os.environ | {"RIVAL_DSN": dsn, "RIVAL_POOL": str(workers.threads)}
    command = [
        sys.executable, "-m", "gunicorn", "--bind", f"127.0.0.1:{port}",
        "--worker-class", "gthread", "--workers", str(workers.processes),
        "--threads", str(workers.threads),
        "--keep-alive", "60", "--graceful-timeout", "2", "--backlog", "1024",
        "--worker-tmp-dir", "/dev/shm", "bench.rival:create_app()",
    ]  # fmt: skip
    with running(command, folder / "gunicorn.log", environ=environ):
        url = f"http://127.0.0.1:{port}"
        answers(url + "/livez", folder / "gunicorn.log")
        yield url
