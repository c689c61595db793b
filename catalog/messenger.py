"""Takes questions and operations from outside the cluster to whoever leads the catalog.

Law: every attempt carries the same keys and bodies, so it happens once whichever attempts arrived.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, TypeVar

from common import bundle
from common.bundle import Recorded
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
T = TypeVar("T")


class Undelivered(Exception):
    """No answer came back: nothing was done, or nobody can say."""


class Messenger:
    """The way to the leader: remembers who led last, follows hints, pauses between rounds.

    Everything it does raises `Undelivered` after `PATIENCE_S`, or when asking again cannot help.
    """

    def __init__(
        self,
        catalogs: Sequence[Peer],
        *,
        clock: Clock,
        pause: Callable[[float], None],
        waiting: Callable[[Exception], None],
    ) -> None:
        """`waiting(error)` is told, once for each message that has to wait, what holds it up."""
        self._catalogs = {peer.name: peer for peer in catalogs}
        self._leader = catalogs[0].name
        self._clock = clock
        self._pause = pause
        self._waiting = waiting

    def run(self, key: str, kind: str, body: Any) -> dict[str, Any]:
        """Have an operation done; return its recorded answer."""
        return self._patiently(partial(_run, document={"key": key, "kind": kind, "body": body}))

    def run_each(self, operations: Sequence[Any]) -> list[Recorded | Problem]:
        """Have a message of operations done; return of each what was recorded, or why it never
        will be.
        """
        return self._patiently(partial(_run_each, operations=operations))

    def ask(self, path: str, query: Mapping[str, str]) -> Any:
        """Return what the leader answers to a read."""
        return self._patiently(partial(_ask, path=path, query=query))

    def _patiently(self, attempt: Callable[[Peer], T]) -> T:
        """Make one attempt after the other until one comes through."""
        give_up_at = self._clock.now() + PATIENCE_S
        pause_s = PAUSE_FIRST_S
        tried: set[str] = set()
        while True:
            tried.add(self._leader)
            try:
                return attempt(self._catalogs[self._leader])
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

    def _turn(self, error: Problem | PeerDown) -> None:
        """Choose whom to ask next; raise `Undelivered` when asking again cannot help."""
        if isinstance(error, PeerDown):
            self._leader = self._after(self._leader)
        elif error.code in HOPELESS:
            raise Undelivered(f"{self._leader} refused it: {error}") from error
        elif error.code in ("not-leader", "dirty"):
            hint = error.members.get("leader")
            self._leader = hint if hint in self._catalogs else self._after(self._leader)

    def _after(self, name: str) -> str:
        names = list(self._catalogs)
        return names[(names.index(name) + 1) % len(names)]


def _run(peer: Peer, document: Any) -> dict[str, Any]:
    response = peer.call("POST", "/operations", timeout_s=ATTEMPT_TIMEOUT_S, document=document)
    try:
        outcome = response.json()
        status, answer = int(outcome["status"]), dict(outcome["answer"])
    except (ValueError, TypeError, KeyError):
        raise _not_ours(peer) from None
    if status >= 300:
        raise Undelivered(f"{peer.name} refused it: {answer.get('detail', answer)}")
    return answer


def _run_each(peer: Peer, operations: Sequence[Any]) -> list[Recorded | Problem]:
    told = bundle.send(peer, "/operations", operations, ATTEMPT_TIMEOUT_S).told
    for found in told:
        if isinstance(found, Problem) and found.code not in HOPELESS:
            raise found  # all of them again: what is done stays done
    return told


def _ask(peer: Peer, path: str, query: Mapping[str, str]) -> Any:
    response = peer.call("GET", path, query=query, timeout_s=ATTEMPT_TIMEOUT_S)
    try:
        return response.json()
    except ValueError:
        raise _not_ours(peer) from None


def _not_ours(peer: Peer) -> NoAnswer:
    return NoAnswer(f"{peer.name} answered with something that is not ours")
