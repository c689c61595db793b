"""Carries an operator's writes to the catalog that leads.

Law: every attempt of a write carries the same key, and `outcomes.py` decides what they amount to.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Mapping
from random import Random
from typing import Any

from common.bundle import ATTEMPT
from common.clock import Clock
from common.errors import Problem
from common.peer import NoAnswer, Peer, PeerDown, Response
from frontend.gateway import ATTEMPT_MIN_S, WRITE_ATTEMPT_S, WRITE_WHOLE_S, leader_named
from frontend.lease import Lease
from frontend.outcomes import Failure, Outcome, outcome_of, unanswered

ASKS_OF_ONE_NODE_MAX = 2
FINAL = ("writes-unavailable", "rate-limited")  # from a leader: other nodes would only name it


class Operations:
    """Hands an operator's writes to the catalog that leads, found by its hints."""

    def __init__(
        self, catalogs: Mapping[str, Peer], lease: Lease, clock: Clock, random: Random
    ) -> None:
        self._catalogs = catalogs
        self._random = random
        self._lease = lease
        self._clock = clock

    def run(self, kind: str, body: Mapping[str, Any], key: str) -> tuple[int, dict[str, Any]]:
        """Return the recorded outcome's status and answer; raises a recorded
        refusal, or what `outcomes.unanswered` says."""
        until = self._clock.now() + WRITE_WHOLE_S
        document = {"key": key, "kind": kind, "body": body}
        leader = self._lease.leader()
        waiting = deque([leader, *(name for name in self._catalogs if name != leader)])
        asks, attempts = Counter[str](), list[tuple[str, Failure]]()
        while waiting and (left_s := until - self._clock.now()) >= ATTEMPT_MIN_S:
            name = waiting.popleft()
            if asks[name] == ASKS_OF_ONE_NODE_MAX:
                continue
            asks[name] += 1
            try:
                return self._ask(name, document, min(WRITE_ATTEMPT_S, left_s))
            except (Problem, PeerDown) as error:
                if outcome_of(error) is Outcome.ANSWERED:
                    raise
                attempts.append((name, error))
                _look_further(error, waiting, self._catalogs)
        raise unanswered(attempts, key)

    def _ask(
        self, name: str, document: Mapping[str, Any], timeout_s: float
    ) -> tuple[int, dict[str, Any]]:
        peer = self._catalogs[name]
        query = {ATTEMPT: f"{self._random.getrandbits(64):016x}"}
        found = peer.call(
            "POST", "/operations", document=document, timeout_s=timeout_s, query=query
        )
        outcome = _member(name, found, "status", int), _member(name, found, "answer", dict)
        self._lease.believe(name)
        return outcome


def _look_further(error: Failure, waiting: deque[str], catalogs: Mapping[str, Peer]) -> None:
    """Put the leader that a node named in front; ask nobody more after a leader's own refusal."""
    if not isinstance(error, Problem):
        return
    if error.code in FINAL:
        waiting.clear()
    hint = leader_named(error)
    if error.code == "not-leader" and hint in catalogs:
        waiting.appendleft(hint)


def _member(name: str, response: Response, member: str, kind: type[Any]) -> Any:
    """Return a member of an answer; what is not ours is no answer: it may have happened."""
    try:
        value = response.json()[member]
    except (ValueError, TypeError, LookupError):
        value = None
    if not isinstance(value, kind):
        raise NoAnswer(f"{name} answered with something that is not ours")
    return value
