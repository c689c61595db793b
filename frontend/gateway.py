"""Reaches a node that can answer a read: round robin, and failover within the request's time.

Law: a node that says `dirty` names the leader, and only the leader may be believed then; what
nobody could answer is `unavailable`, never "not found".
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from common.clock import Clock
from common.errors import Problem
from common.peer import Peer, PeerDown, Response
from frontend.balancer import Balancer

READ_ATTEMPT_S = 0.4
READ_WHOLE_S = 0.9
WRITE_WHOLE_S = 5.0
# Longer than a lease, for which a write may have to wait; less than half of the whole.
WRITE_ATTEMPT_S = 2.4
ATTEMPT_MIN_S = 0.02  # less than this is not worth asking
ANSWERS = ("not-found", "invalid-request")

log = logging.getLogger("bazar.frontend")


@dataclass(frozen=True)
class Answered:
    """An answer and the node that gave it."""

    node: str
    response: Response


class Group:
    """Like nodes behind one balancer."""

    def __init__(self, peers: Mapping[str, Peer], balancer: Balancer, clock: Clock) -> None:
        self.peers = peers
        self._balancer = balancer
        self._clock = clock

    def order(self) -> list[str]:
        """Return the names in the order to try them now."""
        return self._balancer.order(self._clock.now())

    def failed(self, name: str) -> None:
        """Report that a node did not answer usefully."""
        self._balancer.failed(name, self._clock.now())

    def succeeded(self, name: str) -> None:
        """Report that a node answered."""
        self._balancer.succeeded(name)

    def answered(self) -> dict[str, int]:
        """Return how many calls each node has answered."""
        return self._balancer.answered()

    def read(self, path: str, query: Mapping[str, Any], until: float) -> Answered:
        """Return the first answer got before `until`.

        Raises `not-found` or `invalid-request` when a node says so, else `unavailable`, which
        names what was tried.
        """
        waiting, tried, sent_on = deque(self.order()), list[str](), False
        while waiting and until - self._clock.now() >= ATTEMPT_MIN_S:
            name = waiting.popleft()
            try:
                return Answered(name, self._ask(name, path, query, until, len(tried)))
            except PeerDown as error:
                log.debug("%s did not answer: %s", name, error)  # with addresses: not for clients
                tried.append(f"{name} did not answer")
            except Problem as problem:
                if problem.code in ANSWERS:
                    raise
                tried.append(f"{name} answered {problem.code}")
                if problem.code == "dirty":
                    # Then the same node once more: it is clean again as soon as it hears of the
                    # commit, which matters when the leader is slow or has just died.
                    waiting, sent_on = deque([self._leader(name, problem, sent_on), name]), True
        tried.extend(f"no time was left to ask {name}" for name in waiting)
        raise Problem("unavailable", "nobody could answer: " + "; ".join(tried))

    def _ask(
        self, name: str, path: str, query: Mapping[str, Any], until: float, failed: int
    ) -> Response:
        timeout_s = min(READ_ATTEMPT_S, until - self._clock.now())
        noted = {"http.request.resend_count": failed} if failed else None
        try:
            response = self.peers[name].call(
                "GET", path, query=query, timeout_s=timeout_s, noted=noted
            )
        except PeerDown:
            self.failed(name)
            raise
        except Problem as problem:
            (self.succeeded if problem.code in (*ANSWERS, "dirty") else self.failed)(name)
            raise
        self.succeeded(name)
        return response

    def _leader(self, name: str, dirty: Problem, sent_on: bool) -> str:
        """Return whom to ask after `name` said `dirty`; when the leader said it, nobody knows."""
        leader = leader_named(dirty)
        if sent_on or leader == name or leader not in self.peers:
            raise Problem(
                "unavailable",
                f"{name}: a write to this is under way and its outcome is not known yet",
            )
        return leader


def leader_named(problem: Problem) -> str:
    """Return who leads according to a problem; the empty string when it names nobody."""
    leader = problem.members.get("leader")
    return leader if isinstance(leader, str) else ""
