"""Keeps one node of `make run` alive: when it dies it is started again; POSIX only, as make is.

Laws: SIGTERM ends the node, then the keeper; when the run it belongs to is gone, it ends too, so
nothing is left behind. The command stands in $KEEP and not among the arguments: `pkill -f "catalog
--node catalog-1"` is to hit that node and not its keeper.
"""

from __future__ import annotations

import ctypes
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime

from common.clock import rfc3339

RESTART_S = 1.0
LOOK_S = 0.5
FINISH_S = 20  # longer than a node takes to stop by itself
PR_SET_PDEATHSIG = 1


class Keeper:
    """One command, its process, and whether it is time to end."""

    def __init__(self, command: Sequence[str], run_pid: int | None) -> None:
        self._command = command
        self._name = command[-1]
        self._run_pid = run_pid
        self._parent = os.getppid()
        self._process: subprocess.Popen[bytes] | None = None
        self._kill_at: float | None = None  # set once it is time to end

    def run(self) -> int:
        """Keep the command running until told to end."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._end())
        signal.signal(signal.SIGALRM, lambda *_: self._look())
        signal.setitimer(signal.ITIMER_REAL, LOOK_S, LOOK_S)
        while self._kill_at is None:
            code = self._run_once()
            if self._kill_at is None:
                self._say(f"ended with {code}; it is started again in {RESTART_S:g} s")
                time.sleep(RESTART_S)
        signal.setitimer(signal.ITIMER_REAL, 0)  # an alarm kills an interpreter that is ending
        return 0

    def _run_once(self) -> int:
        self._process = subprocess.Popen(self._command, preexec_fn=_die_with_parent)
        self._say(f"runs as process {self._process.pid}")
        if self._kill_at is not None:  # told so while it was being started
            self._process.terminate()
        return self._process.wait()

    def _end(self) -> None:
        if self._kill_at is None:
            self._kill_at = time.monotonic() + FINISH_S
            if self._process is not None:
                self._process.terminate()

    def _look(self) -> None:
        """See every now and then whether the run is still there, and whether the end takes long."""
        if self._kill_at is not None and self._process is not None:
            if time.monotonic() > self._kill_at:
                self._process.kill()
        elif os.getppid() != self._parent or not _alive(self._run_pid):
            self._say("the run it belonged to is gone")
            self._end()

    def _say(self, message: str) -> None:
        print(rfc3339(datetime.now(UTC)), self._name, "KEEP", message, file=sys.stderr, flush=True)


def _alive(pid: int | None) -> bool:
    try:
        if pid is not None:
            os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _die_with_parent() -> None:
    """Have Linux end the node when its keeper is killed; elsewhere it would be left behind."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def main() -> int:
    """Keep $KEEP running."""
    run_pid = os.environ.get("RUN_PID")
    return Keeper(shlex.split(os.environ["KEEP"]), int(run_pid) if run_pid else None).run()


if __name__ == "__main__":
    sys.exit(main())
