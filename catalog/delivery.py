"""Takes an operation from outside the cluster to whoever leads the catalog, as often as it takes.

Law: every attempt carries the same key and body, so it happens once whichever attempts arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from common.clock import Clock
from common.errors import Problem
from common.peer import NoAnswer, Peer, PeerDown

ATTEMPT_TIMEOUT_S = 10.0
PATIENCE_S = 60.0
PAUSE_FIRST_S, PAUSE_MAX_S = 0.1, 5.0

# Asking again cannot help against these; the rest may pass: a takeover, a restart, a busy writer.
HOPELESS = frozenset({
    "invalid-request", "unauthorized", "not-found", "method-not-allowed", "too-large",
    "idempotency-mismatch", "foreign-cluster",
})  # fmt: skip


class Undelivered(Exception):
    """No outcome came back: nothing was done, or nobody can say."""


class Delivery:
    """The way to the leader: remembers who led last, follows hints, pauses between rounds."""

    def __init__(
        self,
        catalogs: Sequence[Peer],
        *,
        clock: Clock,
        pause: Callable[[float], None],
        waiting: Callable[[Exception], None],
    ) -> None:
        """`waiting(error)` is told, once for each operation that has to wait, what holds it up."""
        self._catalogs = {peer.name: peer for peer in catalogs}
        self._leader = catalogs[0].name
        self._clock = clock
        self._pause = pause
        self._waiting = waiting

    def deliver(self, key: str, kind: str, body: Any) -> dict[str, Any]:
        """Return the recorded answer; raise `Undelivered` after `PATIENCE_S` or when hopeless."""
        document = {"key": key, "kind": kind, "body": body}
        give_up_at = self._clock.now() + PATIENCE_S
        pause_s = PAUSE_FIRST_S
        tried: set[str] = set()
        while True:
            tried.add(self._leader)
            try:
                return self._attempt(document)
            except (Problem, PeerDown) as error:
                self._turn(error)
                last = error
            if self._leader not in tried:
                continue
            if self._clock.now() + pause_s > give_up_at:
                raise Undelivered(f"no outcome within {PATIENCE_S:.0f} s: {last}") from last
            if pause_s == PAUSE_FIRST_S:
                self._waiting(last)
            self._pause(pause_s)
            pause_s = min(pause_s * 2, PAUSE_MAX_S)
            tried.clear()

    def _attempt(self, document: Any) -> dict[str, Any]:
        peer = self._catalogs[self._leader]
        response = peer.call("POST", "/operations", timeout_s=ATTEMPT_TIMEOUT_S, document=document)
        try:
            outcome = response.json()
            status, answer = int(outcome["status"]), dict(outcome["answer"])
        except (ValueError, TypeError, KeyError):
            raise NoAnswer(f"{peer.name} answered with something that is not ours") from None
        if status >= 300:
            raise Undelivered(f"{peer.name} refused it: {answer.get('detail', answer)}")
        return answer

    def _turn(self, error: Problem | PeerDown) -> None:
        """Choose whom to ask next; raise `Undelivered` when asking again cannot help."""
        if isinstance(error, PeerDown):
            self._leader = self._after(self._leader)
        elif error.code in HOPELESS:
            raise Undelivered(f"{self._leader} refused it: {error}") from error
        elif error.code == "not-leader":
            hint = error.members.get("leader")
            self._leader = hint if hint in self._catalogs else self._after(self._leader)

    def _after(self, name: str) -> str:
        names = list(self._catalogs)
        return names[(names.index(name) + 1) % len(names)]
