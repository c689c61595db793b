"""A planned change of leader: nothing fails, and nobody waits for a lease.

Law: before the next leader is asked, it has applied all there is, every cache that answers on this
one's word has given its session back or has ended, and this one answers no read any more. What
waits to be written goes on waiting until the next leader leads, and is asked for again there: sent
on sooner, it would find two followers.
"""

from __future__ import annotations

from collections.abc import Callable

from catalog.node import Node
from catalog.replication import FOLLOWING, LEADING
from catalog.transport import LEASE_TIMEOUT_S, Transport
from common.errors import Problem
from common.peer import PeerDown
from common.tasks import Tasks

LOOK_S = 0.01
TAKES_S = 1.0  # an election takes a few messages and syncs: who does not lead by then may never


class Handover:
    """The operator's request to a leader."""

    def __init__(self, node: Node, transport: Transport, tasks: Tasks) -> None:
        self._node = node
        self._transport = transport
        self._tasks = tasks

    def run(self, until: float) -> str:
        """Hand over to the other catalog; return its name. Raises `not-leader`, or `unavailable`
        when it did not come to it: then this node goes on leading.
        """
        node = self._node
        with node.lock:
            if not node.leads:
                raise Problem("not-leader", f"{node.name} is {node.status}", leader=node.leader)
            if node.yielding_to:
                raise Problem("in-progress", f"{node.name} is handing over already")
            if node.second != node.peer or not node.peer_following:
                raise Problem("unavailable", f"{node.peer} is not ready: {node.readiness().why}")
            epoch = node.epoch
            node.yielding_to = node.peer
        try:
            self._hand_over(epoch, until)
        finally:
            node.yielding_to = ""
            node.become(node.status, node.why)  # wake the writer
        return node.peer

    def _hand_over(self, epoch: int, until: float) -> None:
        node = self._node
        self._wait(
            lambda: not (node.writing or node.adopted), "an entry is still on its way", until
        )
        try:
            # At once: what it has not applied it cannot show, and soon nobody else can.
            self._transport.commit(node.peer, epoch, node.end())
            self._wait(
                lambda: not node.sessions.alive(node.clock.now()),
                "a cache still has its lease", until,
            )  # fmt: skip
            node.surrender()
            self._transport.lead(node.peer, epoch)
        except PeerDown as error:
            raise Problem("unavailable", str(error)) from error
        # While it waits neither of them reads or sells: too long for one that died meanwhile.
        taken_by = min(until, node.clock.now() + TAKES_S)
        self._wait(lambda: not node.leads, f"{node.peer} has not taken the lead", taken_by)
        while not self._next_leads() and node.clock.now() < until:
            self._tasks.pause(LOOK_S)

    def _next_leads(self) -> bool:
        """Tell whether nothing is left to wait for: the next one leads, or cannot be asked."""
        node = self._node
        if node.status != FOLLOWING:
            return True
        try:
            return self._transport.state(node.peer, LEASE_TIMEOUT_S).status == LEADING
        except (PeerDown, Problem):
            return True

    def _wait(self, done: Callable[[], bool], why: str, until: float) -> None:
        while not done():
            if self._node.clock.now() >= until:
                raise Problem("unavailable", f"{why}; {self._node.name} goes on leading")
            self._tasks.pause(LOOK_S)
