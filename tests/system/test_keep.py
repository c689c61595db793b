"""The keeper of a node under `make run`: starts it again, ends it, leaves nothing behind."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.processes import Process
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(
    sys.platform != "linux", reason="looks into /proc; and only Linux ties a child to its parent"
)

NODE = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()", "node-1"]


class Kept(Process):
    """A keeper and the pids of the nodes it has started."""

    def __init__(self, folder: Path, run_pid: int) -> None:
        environ = {"KEEP": shlex.join(NODE), "RUN_PID": str(run_pid)}
        super().__init__(["-m", "common.keep"], folder / "log", environ)

    def pids(self) -> list[int]:
        return [int(pid) for pid in re.findall(r"runs as process (\d+)", self.logs())]

    def wait_for_start(self, number: int) -> int:
        """Return the pid of the node's nth process, once it is up."""
        wait_until(lambda: self.logs().count("up\n") >= number, 10, "a start", self.logs)
        return self.pids()[number - 1]


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    """A keeper whose run is this test."""
    with Kept(tmp_path, os.getpid()) as kept:
        yield kept


def gone(pid: int) -> bool:
    """Tell whether a process has ended; one that nobody has waited for yet has."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].startswith("Z")
    except (ProcessLookupError, FileNotFoundError):
        return True


def test_a_killed_node_is_started_again(kept: Kept) -> None:
    """Under a new process, after a message."""
    for number in (1, 2):
        os.kill(kept.wait_for_start(number), signal.SIGKILL)
    assert kept.wait_for_start(3)
    assert len(set(kept.pids())) == 3
    assert kept.logs().count("node-1 KEEP ended with -9; it is started again in 1 s") == 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_told_to_end_it_ends_its_node_and_itself(kept: Kept, number: int) -> None:
    """And starts nothing again."""
    node = kept.wait_for_start(1)
    kept.popen.send_signal(number)
    assert kept.ends() == 0
    assert gone(node)
    assert len(kept.pids()) == 1


def test_told_to_end_between_two_starts_it_ends(kept: Kept) -> None:
    """The node that has just died is not started again."""
    os.kill(kept.wait_for_start(1), signal.SIGKILL)
    kept.wait_for("started again")
    kept.popen.send_signal(signal.SIGTERM)
    assert kept.ends() == 0
    assert len(kept.pids()) == 1


def test_it_ends_when_its_run_is_gone(tmp_path: Path) -> None:
    """honcho killed with -9 leaves no node behind."""
    run = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    with run, Kept(tmp_path, run.pid) as kept:
        node = kept.wait_for_start(1)
        run.kill()
        run.wait()
        assert kept.ends() == 0
        assert gone(node)
        assert "the run it belonged to is gone" in kept.logs()


def test_a_killed_keeper_takes_its_node_along(kept: Kept) -> None:
    """Or the node would hold its port and its folder against the next run."""
    node = kept.wait_for_start(1)
    kept.popen.kill()
    wait_until(lambda: gone(node), 10, "the end of the node", kept.logs)


def test_a_keeper_does_not_look_like_its_node(kept: Kept) -> None:
    """`pkill -9 -f` on the node's command hits the node alone."""
    node = kept.wait_for_start(1)
    node_line, keeper_line = (
        Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (node, kept.popen.pid)
    )
    assert b"node-1" in node_line
    assert b"node-1" not in keeper_line
