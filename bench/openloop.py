"""Open loop: requests are due at times fixed beforehand, and latency counts from when each was due.

So a server that stops for a moment pays for all who would have come meanwhile, which a closed loop
forgives it ("coordinated omission"; G. Tene). A process of its own: `python -m bench.openloop`
reads a `Plan` as JSON from stdin and prints what it saw as JSON.

Law: the generator measures itself. `late_p99_ms` is how late it sent what it could have sent.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from random import Random
from typing import Any

from bench.stats import percentile
from tests.support.processes import ROOT

LATE_MS_MAX = 1.0  # a generator that is later than this at its p99 did not keep its schedule
DRAIN_S = 5.0
PRIORITY = -10  # nice; root only
RECEIVE_BYTES = 256 * 1024
TIMEOUT_EXTRA_S = 30


@dataclass(frozen=True)
class Plan:
    """What to send: `lines` as in `demand.py`, at `rate` a second, at random moments (Poisson)."""

    url: str
    lines: Sequence[str]
    rate: float
    seconds: float
    run: str  # makes the keys of purchases unlike those of other runs
    connections: int = 64
    core: int | None = None
    seed: int = 1


@dataclass(frozen=True)
class Seen:
    """What came of it; all latencies from the scheduled time, in milliseconds."""

    requests: int
    failed: int  # no answer, or one that is no 2xx
    p50_ms: float
    p99_ms: float
    max_ms: float
    late_p99_ms: float


@contextmanager
def generating(plan: Plan) -> Iterator[Callable[[], Seen]]:
    """Run a plan in a process of its own; yield what waits for its end and returns what it saw."""
    command = [sys.executable, "-m", "bench.openloop"]
    with tempfile.TemporaryFile("w+") as file:
        json.dump(asdict(plan), file)
        file.seek(0)
        process = subprocess.Popen(command, cwd=ROOT, stdin=file, stdout=subprocess.PIPE, text=True)

    def seen() -> Seen:
        printed, _ = process.communicate(timeout=plan.seconds + TIMEOUT_EXTRA_S)
        if process.returncode != 0:
            raise RuntimeError("the open-loop generator failed")
        return Seen(**json.loads(printed))

    try:
        yield seen
    finally:
        process.kill()
        process.communicate()


def measure(plan: Plan) -> Seen:
    """Run a plan and return what came of it."""
    with generating(plan) as seen:
        return seen()


# --- inside the generator's process ---


def requests_of(plan: Plan) -> Iterator[tuple[float, bytes]]:
    """Yield when each request is due, in seconds from the start, and its bytes."""
    random = Random(plan.seed)
    due, number, host = 0.0, 0, plan.url.removeprefix("http://")
    while (due := due + random.expovariate(plan.rate)) < plan.seconds:
        yield due, request_of(plan.lines[number % len(plan.lines)], host, f"{plan.run}-{number}")
        number += 1


def request_of(line: str, host: str, key: str) -> bytes:
    """Return the bytes of one request."""
    head = f"{line} HTTP/1.1\r\nHost: {host}\r\n"
    if line.startswith("POST"):
        body = '{"quantity":1}'
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        return f"{head}Idempotency-Key: {key}\r\n\r\n{body}".encode()
    return f"{head}\r\n".encode()


def missing(data: bytes) -> int:
    """Return how many bytes of an answer are still to come; -1: not known yet."""
    end = data.find(b"\r\n\r\n")
    if end < 0:
        return -1
    head = data[:end].lower()
    length = head.find(b"content-length:")
    if length < 0:
        raise ValueError(f"an answer without a length: {head!r}")
    return end + 4 + int(head[length + 15 :].split(b"\r\n", 1)[0]) - len(data)


class Generator:
    """Sends on time over connections that are kept open; one thread, no event loop."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        host, port = plan.url.removeprefix("http://").split(":")
        self._address = host, int(port)
        # Used in turn: one that lies idle for a minute is closed, under a request at worst.
        self._idle = deque(self._connect() for _ in range(plan.connections))
        self._busy: dict[socket.socket, tuple[float, bytes]] = {}  # due at, what has come
        self._waiting: deque[tuple[float, bytes]] = deque()  # due, but every connection is busy
        self.latencies: list[float] = []
        self.late: list[float] = []
        self.failed = 0

    def run(self) -> Seen:
        """Send everything and wait for the answers."""
        schedule = [(due, data) for due, data in requests_of(self._plan)]
        began = time.perf_counter() + 0.05
        until = began + self._plan.seconds + DRAIN_S
        at = 0
        while at < len(schedule) or self._waiting or self._busy:
            now = time.perf_counter()
            if now > until:
                break
            while at < len(schedule) and began + schedule[at][0] <= now:
                self._send_or_wait(began + schedule[at][0], schedule[at][1])
                at += 1
                now = time.perf_counter()
            next_due = began + schedule[at][0] if at < len(schedule) else until
            self._receive(max(0.0, next_due - now))
        self.failed += len(self._busy) + len(self._waiting) + len(schedule) - at
        return self._seen()

    def _connect(self) -> socket.socket:
        connection = socket.create_connection(self._address, timeout=DRAIN_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def _send_or_wait(self, due: float, data: bytes) -> None:
        if not self._idle:
            self._waiting.append((due, data))
            return
        self.late.append(time.perf_counter() - due)
        self._send(self._idle.popleft(), due, data)

    def _send(self, connection: socket.socket, due: float, data: bytes) -> None:
        try:
            connection.sendall(data)
        except OSError:
            self._give_up(connection)
            return
        self._busy[connection] = due, b""

    def _receive(self, timeout_s: float) -> None:
        # select: the one call here whose timeout is finer than a millisecond.
        for connection in select.select(list(self._busy), [], [], timeout_s)[0]:
            due, before = self._busy[connection]
            try:
                data = connection.recv(RECEIVE_BYTES)
            except OSError:
                data = b""
            if not data:
                del self._busy[connection]
                self._give_up(connection)
                continue
            data = before + data
            if missing(data) != 0:
                self._busy[connection] = due, data
                continue
            del self._busy[connection]
            self._answered(due, data)
            self._next(connection)

    def _answered(self, due: float, data: bytes) -> None:
        if data[9:10] == b"2":
            self.latencies.append(time.perf_counter() - due)
        else:
            self.failed += 1

    def _next(self, connection: socket.socket) -> None:
        if self._waiting:
            self._send(connection, *self._waiting.popleft())
        else:
            self._idle.append(connection)

    def _give_up(self, connection: socket.socket) -> None:
        connection.close()
        self.failed += 1
        self._next(self._connect())

    def _seen(self) -> Seen:
        if not self.latencies:
            raise SystemExit("no request was answered")
        return Seen(
            requests=len(self.latencies),
            failed=self.failed,
            p50_ms=percentile(self.latencies, 50) * 1000,
            p99_ms=percentile(self.latencies, 99) * 1000,
            max_ms=max(self.latencies) * 1000,
            late_p99_ms=percentile(self.late, 99) * 1000 if self.late else 0.0,
        )


def main() -> None:
    """Run the plan on stdin."""
    read: dict[str, Any] = json.load(sys.stdin)
    plan = Plan(**read)
    if plan.core is not None:
        os.sched_setaffinity(0, {plan.core})
    with suppress(PermissionError):  # cheap as it is, it should not wait for what it measures
        os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
    print(json.dumps(asdict(Generator(plan).run())))


if __name__ == "__main__":
    main()
