"""Runs a service: its lock, socket, threads and signals. `main` is all a `__main__.py` calls.

Law: SIGTERM ends a node in this order: accept nothing more, finish what is in flight, end the
tickers, then the loops (a writer among them answers those in flight), close the files, exit 0.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import random
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from types import FrameType

import uvicorn
from flask import Flask

from common.clock import SystemClock, rfc3339
from common.config import ConfigError, Settings, add_config_argument, load
from common.connections import Connections
from common.datalock import Held, LockFile
from common.gate import Gate
from common.protocol import Protocol
from common.service import Service, StartRefused, Ticker, service_of
from common.tasks import Threads

log = logging.getLogger("bazar")

EXIT_FAILED, EXIT_USAGE = 1, 2
LOCK_NAME = "lock"
BACKLOG = 2048
KEEP_ALIVE_S = 60  # a peer's pooled connection that closes under its request costs it an answer
FINISH_S = 5  # bounds each step of the end
SIGNALS = (signal.SIGTERM, signal.SIGINT)


def main(
    role: str,
    create_app: Callable[..., Flask],
    argv: Sequence[str] | None = None,
    *,
    module: str | None = None,
) -> int:
    """Run one node of a service until it is told to stop; return the exit code.

    `module` is what `python -m` was given, where that is not the role.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -m {module or role}", description=f"Run one {role} node."
    )
    parser.add_argument("--node", required=True, metavar="NAME", help="which node of the cluster")
    add_config_argument(parser)
    arguments = parser.parse_args(argv)
    for number in SIGNALS:  # nothing is in flight before the server takes them over
        signal.signal(number, lambda *_: sys.exit(0))
    try:
        settings = load(role, arguments.node, arguments.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return EXIT_USAGE
    _log_as(settings.node)
    return _run_alone(settings, create_app)


def _run_alone(settings: Settings, create_app: Callable[..., Flask]) -> int:
    lock = LockFile(settings.data_dir / LOCK_NAME)
    try:
        lock.acquire()
    except Held as held:
        log.error("%s is already in use by process %s", settings.data_dir, held.pid)
        return EXIT_USAGE
    except OSError as error:
        log.error("cannot use the data folder: %s", error)
        return EXIT_FAILED
    try:
        return _run(settings, create_app)
    finally:
        lock.release()


def _run(settings: Settings, create_app: Callable[..., Flask]) -> int:
    try:
        listener = _bind(settings.listen_host, settings.listen_port)
    except OSError as error:
        log.error("cannot bind %s:%s: %s", settings.listen_host, settings.listen_port, error)
        return EXIT_FAILED
    connections = Connections()
    with listener, contextlib.closing(connections):
        try:
            app = create_app(
                settings,
                clock=SystemClock(),
                http=connections,
                tasks=Threads(),
                random=random.SystemRandom(),
            )
        except StartRefused as refused:
            log.error("%s", refused)
            return EXIT_FAILED
        service = service_of(app)
        if service.one_core:
            _stay_on_one_core(settings)
        return _Node(service, listener).run()


def _stay_on_one_core(settings: Settings) -> None:
    """Run on one core, not the same one as the node listed before it."""
    if sys.platform == "linux":
        names = [*settings.frontends, *settings.catalogs, *settings.orders, *settings.backup]
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[names.index(settings.node) % len(cores)]})


def _bind(host: str, port: int) -> socket.socket:
    """Take the address, without listening yet: calls are refused until there is who answers."""
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    listener = socket.socket(family, kind, protocol)
    if os.name == "posix":  # elsewhere the option lets two processes share a port
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError:
        listener.close()
        raise
    return listener


class _Server(uvicorn.Server):
    """uvicorn, but for the signals: its own handling would end the process by the signal."""

    def __init__(self, config: uvicorn.Config, leave: Callable[[], None]) -> None:
        super().__init__(config)
        self._leave = leave

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        threading.Thread(target=self._leave, name="leave", daemon=True).start()
        super().handle_exit(sig, frame)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        for number in SIGNALS:
            signal.signal(number, self.handle_exit)
        yield


class _Node:
    """A service with its socket and its threads."""

    def __init__(self, service: Service, listener: socket.socket) -> None:
        self._service = service
        self._listener = listener
        self._gate = Gate(service)
        self._ending = threading.Event()
        self._exit_code = 0
        self._server = _Server(
            uvicorn.Config(
                self._gate,
                http=Protocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                date_header=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=FINISH_S,
            ),
            service.leave,
        )

    def run(self) -> int:
        """Serve until a signal or a failed loop; return the exit code."""
        self._listener.listen(BACKLOG)
        tickers = [self._thread(t.name, self._tick, t) for t in self._service.tickers]
        loops = [self._thread(name, self._loop, name) for name in self._service.loops]
        host, port = self._listener.getsockname()[:2]
        log.info("listening on http://%s:%s", f"[{host}]" if ":" in host else host, port)
        self._server.run(sockets=[self._listener])
        log.info("stopping")
        self._ending.set()
        ended = self._stop(tickers, loops)
        if self._gate.close() or not ended:
            log.error("leaving without those who did not end")
            logging.shutdown()
            os._exit(self._exit_code)  # an ordinary exit would wait for them
        self._service.close()
        return self._exit_code

    def _stop(self, tickers: Sequence[threading.Thread], loops: Sequence[threading.Thread]) -> bool:
        """End tickers, then the service, then its loops; return whether all of them did end."""
        ended = _join(tickers)
        try:
            self._service.stop()
        except Exception:
            log.exception("stopping failed")
            self._exit_code = EXIT_FAILED
        return _join(loops) and ended

    def _thread(self, name: str, run: Callable[..., None], argument: object) -> threading.Thread:
        thread = threading.Thread(target=run, args=(argument,), name=name, daemon=True)
        thread.start()
        return thread

    def _tick(self, ticker: Ticker) -> None:
        while True:
            try:
                ticker.run()
            except Exception:
                log.exception("ticker %s failed; it goes on", ticker.name)
            if self._ending.wait(ticker.interval_s):
                return

    def _loop(self, name: str) -> None:
        try:
            self._service.loops[name]()
            if self._ending.is_set():
                return
            log.error("loop %s ended before it was stopped", name)
        except Exception:
            log.exception("loop %s failed", name)
        self._exit_code = EXIT_FAILED
        self._server.should_exit = True


def _join(threads: Sequence[threading.Thread]) -> bool:
    until = time.monotonic() + FINISH_S
    for thread in threads:
        thread.join(max(0.0, until - time.monotonic()))
    return not any(thread.is_alive() for thread in threads)


class _OneLine(logging.Formatter):
    """Time, node, level, message; a line break that came with a request makes no new line.

    (The names of the methods are logging's.)
    """

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802
        return rfc3339(datetime.fromtimestamp(record.created, UTC))

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        record.message = record.message.replace("\n", "\\n").replace("\r", "\\r")
        return super().formatMessage(record)


def _log_as(node: str) -> None:
    """Log to stderr under a node's name."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine(f"%(asctime)s {node} %(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    log.setLevel(logging.INFO)
    logging.getLogger("uvicorn").setLevel(logging.ERROR)  # its warnings are clients' mistakes
    logging.getLogger("urllib3").setLevel(logging.ERROR)  # a node that is down is told elsewhere
