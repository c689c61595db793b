"""What can be done to the nodes of a demo and to the links between them, and undone.

Laws: each fault has an undoing that may come at any time, or twice. The frontend, which serves the
page with the buttons, comes back by itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from common.demo.diary import FAULT, NOTE, UNDONE, Diary
from common.demo.layout import PAGES
from common.demo.network import DELAYS_MS, Network
from common.demo.nodes import DEAD, PAUSED, RUNNING, STARTING, Node
from common.errors import Problem

FRONT_AWAY_S = 5.0
RESTART_S = 3.0  # with the switch on, a dead node is started again after so long

Doing = Callable[[Node], Awaitable[None] | None]


class Faults:
    """Breaks and mends. `group` is the process group that nodes are started in."""

    def __init__(
        self,
        nodes: Mapping[str, Node],
        network: Network,
        diary: Diary,
        group: int,
        *,
        front_away_s: float = FRONT_AWAY_S,
        restart_s: float = RESTART_S,
    ) -> None:
        self._nodes = nodes
        self._network = network
        self._diary = diary
        self._group = group
        self._front_away_s = front_away_s
        self._restart_s = restart_s
        self._later: set[asyncio.Task[None]] = set()
        self._ending = False
        self.restarts = False

    # --- nodes ---

    async def start_all(self) -> None:
        """Start every node."""
        for node in self._nodes.values():
            await node.start(self._group, self._changed)

    async def end_all(self) -> None:
        """End every node, and start none again."""
        self._ending = True
        for task in self._later:
            task.cancel()
        await asyncio.gather(*(node.end() for node in self._nodes.values()))

    async def kill(self, name: str) -> None:
        """kill -9."""
        node = self._node(name, RUNNING, STARTING, PAUSED)
        self._diary.note(FAULT, f"{name} killed")
        await node.kill()

    async def restart(self, name: str) -> None:
        """Start a dead node again."""
        node = self._node(name)
        if node.state == DEAD:
            self._diary.note(UNDONE, f"{name} started again")
            await node.start(self._group, self._changed)

    def pause(self, name: str) -> None:
        """SIGSTOP: it keeps its memory and its connections, and does nothing."""
        self._node(name, RUNNING, STARTING).pause()
        self._diary.note(FAULT, f"{name} paused")
        if name in PAGES:
            self._do_later(self._front_away_s, lambda: self.resume(name))

    def resume(self, name: str) -> None:
        """SIGCONT."""
        node = self._node(name)
        if node.state == PAUSED:
            node.resume()
            self._diary.note(UNDONE, f"{name} goes on")

    async def _changed(self, node: Node) -> None:
        if node.state != DEAD:
            await self._network.accept(node.name)
            return
        self._network.refuse(node.name)
        if self._ending:
            return
        self._diary.note(NOTE, f"{node.name} is dead")
        if self.restarts or node.name in PAGES:
            after_s = self._front_away_s if node.name in PAGES else self._restart_s
            self._do_later(after_s, lambda: self.restart(node.name))

    def _do_later(self, after_s: float, do: Callable[[], Awaitable[None] | None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(after_s)
            if (doing := do()) is not None:
                await doing

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _node(self, name: str, *states: str) -> Node:
        """Return a node that is in one of these states (in any, if none is named)."""
        node = self._nodes.get(name)
        if node is None:
            raise Problem("not-found", f"there is no node {name[:100]!r} in this demo")
        if states and node.state not in states:
            raise Problem("invalid-request", f"{name} is {node.state}")
        return node

    # --- links ---

    def cut_off(self, name: str) -> None:
        """Cut a node off from all others."""
        self._node(name)
        self._network.cut_off(name)
        self._diary.note(FAULT, f"{name} cut off")

    def rejoin(self, name: str) -> None:
        """Undo that."""
        self._node(name)
        if self._network.is_cut_off(name):
            self._network.rejoin(name)
            self._diary.note(UNDONE, f"{name} no longer cut off")

    def cut(self, name: str, other: str) -> None:
        """Cut two nodes off from one another."""
        self._pair(name, other)
        self._network.cut(name, other)
        self._diary.note(FAULT, f"cut between {name} and {other}")

    def mend(self, name: str, other: str) -> None:
        """Undo that."""
        self._pair(name, other)
        if self._network.is_cut(name, other):
            self._network.mend(name, other)
            self._diary.note(UNDONE, f"mended between {name} and {other}")

    def delay(self, name: str, milliseconds: int) -> None:
        """Make every message to and from a node later; 0 undoes it."""
        self._node(name)
        if milliseconds not in (0, *DELAYS_MS):
            raise Problem("invalid-request", f"amount_ms: 0, or one of {DELAYS_MS}")
        if milliseconds != self._network.delay_ms(name):
            self._network.delay(name, milliseconds)
            kind = FAULT if milliseconds else UNDONE
            words = f"delayed by {milliseconds} ms" if milliseconds else "no longer delayed"
            self._diary.note(kind, f"{name} {words}")

    def _pair(self, name: str, other: str) -> None:
        self._node(name)
        self._node(other)
        if name == other:
            raise Problem("invalid-request", "a node is not cut off from itself")

    async def heal(self) -> None:
        """Undo everything."""
        self._network.heal()
        for name, node in self._nodes.items():
            self.resume(name)
            await node.start(self._group, self._changed)
        self._diary.note(UNDONE, "everything mended")
