"""The processes of a demo: each fault has its effect and its undoing; nothing is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from common.demo.diary import Diary
from common.demo.faults import Faults
from common.demo.layout import Layout
from common.demo.network import Network
from common.demo.nodes import DEAD, PAUSED, RUNNING, Node
from common.demo.warden import start_warden
from common.errors import Problem
from tests.support.demo import call, free_range, gone, run, state_of, until
from tests.support.processes import ROOT
from tests.support.wait import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")

LISTENER = "import socket, sys, time; s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
NODE = LISTENER + "while True: s.accept()"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + NODE
NAMES = ("frontend-1", "catalog-1")


class Broken:
    """Two nodes that do nothing but listen, and what breaks them."""

    def __init__(self, folder: Path, group: int, program: str) -> None:
        self.told: list[str] = []
        layout = Layout(folder, free_range())
        self.network = Network(layout)
        self.nodes = {
            name: Node(
                name, ["-c", program, str(layout.node_port(name))], layout.node_port(name),
                dict(os.environ), folder / f"{name}.log", finish_s=0.5,
            )
            for name in NAMES
        }  # fmt: skip
        self.link = layout.link_port("frontend-1", "catalog-1")
        self.faults = Faults(
            self.nodes, self.network, Diary(self.told.append), group,
            front_away_s=0.5, restart_s=0.2,
        )  # fmt: skip

    async def state(self, name: str, state: str) -> None:
        """Wait until a node is in a state."""
        await until(lambda: self.nodes[name].state == state, f"{name} {state}")

    async def reachable(self) -> bool:
        """Tell whether the link to the catalog takes a call."""
        try:
            caller = await call(self.link)
        except ConnectionRefusedError:
            return False
        await caller.hang_up()
        return True


@asynccontextmanager
async def broken(folder: Path, program: str = NODE) -> AsyncIterator[Broken]:
    warden = await start_warden()
    found = Broken(folder, warden.group, program)
    try:
        await found.faults.start_all()
        for name in NAMES:
            await found.state(name, RUNNING)
        yield found
    finally:
        await found.faults.end_all()
        found.network.close()
        await warden.end()


def test_a_killed_node_stays_dead_until_it_is_started_again(tmp_path: Path) -> None:
    """And its links refuse for so long."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            assert await it.reachable()
            first = it.nodes["catalog-1"].pid
            await it.faults.kill("catalog-1")
            assert it.nodes["catalog-1"].state == DEAD
            assert not await it.reachable()
            with pytest.raises(Problem, match="catalog-1 is dead"):
                await it.faults.kill("catalog-1")
            await it.faults.restart("catalog-1")
            await it.state("catalog-1", RUNNING)
            assert await it.reachable()
            second = it.nodes["catalog-1"].pid
            assert second not in (first, None)
            await it.faults.restart("catalog-1")  # once more: nothing to do
            assert it.nodes["catalog-1"].pid == second
            assert it.told == ["catalog-1 killed", "catalog-1 is dead", "catalog-1 started again"]

    run(testing())


def test_a_paused_node_goes_on(tmp_path: Path) -> None:
    """SIGSTOP and SIGCONT, as the system sees it; undone twice is undone."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            node = it.nodes["catalog-1"]
            it.faults.pause("catalog-1")
            assert node.state == PAUSED
            assert node.pid is not None
            await until(lambda: stands_still(node.pid), "a process that stands still")
            it.faults.resume("catalog-1")
            it.faults.resume("catalog-1")
            assert node.state == RUNNING
            await until(lambda: not stands_still(node.pid), "a process that goes on")

    run(testing())


def test_a_paused_node_can_be_killed(tmp_path: Path) -> None:
    """And comes back running."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            it.faults.pause("catalog-1")
            await it.faults.kill("catalog-1")
            await it.faults.restart("catalog-1")
            await it.state("catalog-1", RUNNING)

    run(testing())


def test_with_the_switch_on_dead_nodes_are_started_again(tmp_path: Path) -> None:
    """With it off they are not: see above."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            it.faults.restarts = True
            await it.faults.kill("catalog-1")
            await it.state("catalog-1", RUNNING)
            assert it.nodes["catalog-1"].starts == 2

    run(testing())


def test_the_frontend_comes_back_by_itself(tmp_path: Path) -> None:
    """It serves the page with the buttons."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            it.faults.pause("frontend-1")
            await it.state("frontend-1", RUNNING)
            await it.faults.kill("frontend-1")
            await it.state("frontend-1", RUNNING)
            assert it.nodes["frontend-1"].starts == 2

    run(testing())


def test_everything_is_mended_at_once(tmp_path: Path) -> None:
    """Whatever was done."""

    async def testing() -> None:
        async with broken(tmp_path) as it:
            it.faults.cut("catalog-1", "frontend-1")
            it.faults.delay("frontend-1", 50)
            it.faults.cut_off("frontend-1")
            await it.faults.kill("catalog-1")
            await it.faults.heal()
            await it.state("catalog-1", RUNNING)
            (pair,) = it.network.shown([("frontend-1", "catalog-1")])
            assert pair == {
                "one": "frontend-1", "other": "catalog-1", "cut": False, "through": True,
                "delay_ms": 0,
            }  # fmt: skip

    run(testing())


def test_a_node_that_does_not_want_to_end_is_ended(tmp_path: Path) -> None:
    """And one that stands still."""

    async def testing() -> None:
        async with broken(tmp_path, STUBBORN) as it:
            it.faults.pause("catalog-1")
            pids = [node.pid for node in it.nodes.values()]
        assert all(gone(pid) for pid in pids if pid is not None)

    run(testing())


CONTROLLER = """
import asyncio, signal
from common.demo.warden import start_warden
async def main():
    warden = await start_warden()
    node = await asyncio.create_subprocess_exec("sleep", "1000", process_group=warden.group)
    node.send_signal(signal.SIGSTOP)
    print(node.pid, warden.group, flush=True)
    await asyncio.sleep(1000)
asyncio.run(main())
"""


def test_a_killed_controller_leaves_nothing_behind() -> None:
    """kill -9, and a node that stands still."""
    controller = subprocess.Popen(
        [sys.executable, "-c", CONTROLLER], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    with controller:
        assert controller.stdout is not None
        pids = [int(pid) for pid in controller.stdout.readline().split()]
        controller.kill()
        controller.wait()
        wait_until(lambda: all(map(gone, pids)), 10, f"the end of {pids}")


def stands_still(pid: int | None) -> bool:
    return state_of(pid) == "T"
