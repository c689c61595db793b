"""The life of this frontend's session: register, renew, surrender; and who is believed to lead.

Law: a session is surrendered only after the cache has stopped answering from it, and a lease is
counted from when the call that it answers was sent.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from common.clock import Clock
from common.errors import Problem
from common.peer import Peer, PeerDown, Response
from frontend.cache import Cache, Grant
from frontend.gateway import leader_named

HEARTBEAT_S = 0.2
ATTEMPT_S = 0.4
LOST = (
    "unknown-session",
    "not-leader",
    "foreign-cluster",
)  # answers to a renewal that end the session

log = logging.getLogger("bazar.frontend")


@dataclass(frozen=True)
class _Held:
    session: str
    grantor: str


class Lease:
    """Keeps a session for `cache`, in the name of this frontend; run `tick` every heartbeat."""

    def __init__(
        self,
        name: str,
        cache: Cache[Any],
        catalogs: Mapping[str, Peer],
        *,
        clock: Clock,
        lock: AbstractContextManager[object],
    ) -> None:
        self._name = name
        self._cache = cache
        self._catalogs = catalogs
        self._clock = clock
        self._lock = lock
        self._leader = next(iter(catalogs))  # the first of the list leads a new cluster
        self._held: _Held | None = None
        self._stopped = False

    def leader(self) -> str:
        """Return the catalog that is believed to lead."""
        return self._leader

    def believe(self, leader: str) -> None:
        """Take a node's word for who leads; names that are no catalog of ours are ignored."""
        if leader in self._catalogs:
            self._leader = leader

    def tick(self) -> None:
        """Renew the session; get another one when it is lost, after surrendering it."""
        if self._stopped or self._cache.capacity <= 0:
            return
        held = self._held
        if held is not None and self._keeps(held):
            return
        self._let_go()
        self._register()

    def stop(self) -> None:
        """Stop answering from the cache, for good, and give the session back."""
        self._stopped = True
        self._let_go()

    def _keeps(self, held: _Held) -> bool:
        """Renew; return whether to go on with the session."""
        installed = self._cache.session()
        if installed is None or installed.id != held.session:
            return False  # the cache has dropped it: a later epoch, or another cluster
        sent_at = self._clock.now()
        try:
            answer = self._call(held.grantor, f"/sessions/{held.session}/renew", {})
        except PeerDown:
            return self._cache.alive()
        except Problem as problem:
            if problem.code in LOST:
                log.info("%s ended session %s: %s", held.grantor, held.session, problem)
                self._follow(problem)
                return False
            return self._cache.alive()
        self._cache.extend(held.session, sent_at, float(answer.json()["lease_s"]))
        return True

    def _let_go(self) -> None:
        """Stop using the session, then tell its grantor, who else waits for the lease's end."""
        with self._lock:
            held, self._held = self._held, None
        self._cache.end()
        if held is not None:
            self._surrender(held)

    def _surrender(self, held: _Held) -> None:
        try:
            self._call(held.grantor, f"/sessions/{held.session}/surrender", {})
        except (PeerDown, Problem) as error:
            log.info("session %s was not surrendered: %s", held.session, error)

    def _register(self) -> None:
        waiting = deque([self._leader, *(name for name in self._catalogs if name != self._leader)])
        asked: set[str] = set()
        while waiting and not self._stopped:
            name = waiting.popleft()
            if name in asked:
                continue
            asked.add(name)
            try:
                return self._register_at(name)
            except PeerDown as error:
                log.debug("no session from %s: %s", name, error)
            except Problem as problem:
                log.debug("no session from %s: %s", name, problem)
                hint = self._follow(problem)
                if hint is not None:
                    waiting.appendleft(hint)

    def _register_at(self, name: str) -> None:
        # The ticket first: a session that changes meanwhile makes the grant void.
        ticket, sent_at = self._cache.ticket(), self._clock.now()
        answer = self._call(name, "/sessions", {"name": self._name}).json()
        grant = Grant(
            answer["session"], answer["epoch"], float(answer["lease_s"]), answer["floors"]
        )
        held = _Held(grant.session, name)
        self.believe(answer.get("leader") or name)
        with self._lock:
            # The lock under which `stop` takes the session: it finds this one, or we find `stop`.
            installed = not self._stopped and self._cache.install(ticket, grant, sent_at)
            if installed:
                self._held = held
        if not installed:
            self._surrender(held)

    def _follow(self, problem: Problem) -> str | None:
        """Return the leader that a `not-leader` names, now believed; None if it names none."""
        hint = leader_named(problem) if problem.code == "not-leader" else ""
        self.believe(hint)
        return hint if hint in self._catalogs else None

    def _call(self, name: str, path: str, document: Mapping[str, Any]) -> Response:
        return self._catalogs[name].call("POST", path, document=document, timeout_s=ATTEMPT_S)
