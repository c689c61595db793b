"""What the attempts of one write amount to. PURE.

Law: "nothing happened" is said only when every attempt that may have reached anything was refused;
one lost attempt makes the outcome unknown, for it may still happen after a later one was refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from common.errors import Problem
from common.peer import NotSent, PeerDown

Failure = Problem | PeerDown


class Outcome(Enum):
    """How an attempt of a write ended."""

    UNSENT = "nothing was sent, or to a node that does not lead"
    REFUSED = "nothing came of it"
    RUNNING = "somebody's request with this key is still running"
    LOST = "it may or may not have happened"
    ANSWERED = "decided for good: this is the answer, whatever became of other attempts"


_OUTCOMES = {
    "not-leader": Outcome.UNSENT,
    "unauthorized": Outcome.REFUSED,
    "foreign-cluster": Outcome.REFUSED,
    "writes-unavailable": Outcome.REFUSED,
    "rate-limited": Outcome.REFUSED,
    "in-progress": Outcome.RUNNING,
    "sold-out": Outcome.ANSWERED,
    "not-found": Outcome.ANSWERED,
    "idempotency-mismatch": Outcome.ANSWERED,
    "invalid-request": Outcome.ANSWERED,
    "too-large": Outcome.ANSWERED,
}


def outcome_of(error: Failure) -> Outcome:
    """Return what an attempt that ended in an error says about the write."""
    if isinstance(error, PeerDown):
        return Outcome.UNSENT if isinstance(error, NotSent) else Outcome.LOST
    return _OUTCOMES.get(error.code, Outcome.LOST)


def unanswered(attempts: Sequence[tuple[str, Failure]], key: str) -> Problem:
    """Return what to tell the client; `attempts` are (node, error), none of them `ANSWERED`.

    `in-progress` is passed on only when nothing but that was heard: after any other attempt of
    ours that reached something, the request still running may be our own.
    """
    heard = [error for _, error in attempts if outcome_of(error) is not Outcome.UNSENT]
    kinds = {outcome_of(error) for error in heard}
    told = "; ".join(_told(name, error) for name, error in attempts) or "no time was left to ask"
    if kinds == {Outcome.RUNNING}:
        return Problem("in-progress", "another request has this key", idempotency_key=key)
    if kinds - {Outcome.REFUSED}:
        return Problem("outcome-unknown", f"ask again with this key: {told}", idempotency_key=key)
    if heard and all(
        isinstance(error, Problem) and error.code == "rate-limited" for error in heard
    ):
        return Problem("rate-limited", f"nothing was changed: {told}")
    return Problem("writes-unavailable", f"nothing was changed: {told}")


def _told(name: str, error: Failure) -> str:
    """Say what a node did, without the addresses that a connection error is full of."""
    if isinstance(error, Problem):
        return f"{name}: {error.detail[:200]}"
    return f"{name} cannot be reached" if isinstance(error, NotSent) else f"{name} did not answer"
