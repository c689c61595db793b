"""`make run` and `make stop`: the nodes of the Procfile under honcho, with one log.

Law: a checkout has one run at a time. Whether there is one, and which process it is, says the lock
on data/run.pid, so a stale file stops nobody and nobody is stopped by a stale file.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from honcho.environ import parse_procfile
from honcho.manager import Manager
from honcho.printer import Message, Printer
from rich.console import Console

from common.config import ROOT, Settings, add_config_argument, check, load_cluster
from common.datalock import Held, LockFile
from common.runlog import RunLog

PROCFILE = ROOT / "Procfile"
RUN_FILE = ROOT / "data" / "run.pid"
OPTIONAL = "backup"  # the one node of the Procfile that a cluster may do without
STOP_S = 30.0
POLL_S = 0.1


class _Lines(Printer):  # type: ignore[misc]  # honcho has no types
    """Hands each line to the log.

    Not honcho's `started (pid=..)`: that is the keeper's process, not the node's.
    """

    def __init__(self, log: RunLog) -> None:
        super().__init__(log.console.file)
        self._log = log

    def write(self, message: Message) -> None:
        text = message.data.decode("utf-8", "replace") if message.name != "system" else message.data
        if message.name == "system" and " started (pid=" in text:
            return
        for line in text.splitlines():
            self._log.line(message.name, line)


def start(config: Path) -> int:
    """Run every node until Ctrl-C or `stop`; return the exit code."""
    if errors := check(config.absolute()):
        print("\n".join(errors), file=sys.stderr)
        return 2
    lock = LockFile(RUN_FILE)
    try:
        lock.acquire()
    except Held as held:
        print(f"already running as process {held.pid}; `make stop` ends it", file=sys.stderr)
        return 1
    code = _run_nodes(config)
    lock.release()
    return code


def _run_nodes(config: Path) -> int:
    environ = os.environ | {
        "PATH": str(Path(sys.executable).parent) + os.pathsep + os.environ.get("PATH", ""),
        "CONFIG": str(config.absolute()),
        "RUN_PID": str(os.getpid()),
    }
    settings = load_cluster(config)
    found = commands(PROCFILE.read_text("utf-8"), settings)
    shop = next(iter(settings.frontends.values()))
    log = RunLog(list(found), shop, Console(file=sys.stdout), time.monotonic)
    manager = Manager(_Lines(log))
    for name, command in found.items():
        manager.add_process(name, command, env=environ, cwd=str(ROOT))
    log.start()
    manager.loop()
    by_signal = (128 + signal.SIGINT, 128 + signal.SIGTERM)
    return 0 if manager.returncode in by_signal else int(manager.returncode or 0)


def commands(procfile: str, settings: Settings) -> dict[str, str]:
    """Return node -> command: what the Procfile says, without a backup server that is not set."""
    found: dict[str, str] = dict(parse_procfile(procfile).processes)
    if not settings.backup:
        found.pop(OPTIONAL, None)
    return found


def stop() -> int:
    """End the run of this checkout and wait for it; return the exit code."""
    pid = _running()
    if pid is None:
        print("nothing runs from this checkout")
        return 0
    os.kill(pid, signal.SIGTERM)
    until = time.monotonic() + STOP_S
    while _running() is not None:
        if time.monotonic() > until:
            print(f"process {pid} has not ended within {STOP_S:g} s", file=sys.stderr)
            return 1
        time.sleep(POLL_S)
    print("stopped")
    return 0


def _running() -> int | None:
    """Return the process of the run of this checkout."""
    lock = LockFile(RUN_FILE)
    try:
        lock.acquire()
    except Held as held:
        return held.pid
    lock.release()
    return None


def main(argv: Sequence[str] | None = None) -> int:
    """Start or stop all nodes of the Procfile."""
    parser = argparse.ArgumentParser(prog="python -m common.run", description=main.__doc__)
    parser.add_argument("command", choices=("start", "stop"))
    add_config_argument(parser)
    arguments = parser.parse_args(argv)
    return start(arguments.config) if arguments.command == "start" else stop()


if __name__ == "__main__":
    sys.exit(main())
