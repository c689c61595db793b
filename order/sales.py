"""Buys: one operation at the catalog leader, which this module finds and remembers.

Law: "nothing happened" is said only when every attempt came to nothing for sure; any attempt that
may have sold makes it `outcome-unknown`, with the key that will tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apsw

from common.auth import CLUSTER
from common.clock import Clock
from common.errors import Problem
from common.peer import NotSent, Peer, PeerDown
from order.metrics import Metrics
from order.model import Malformed, Outcome, Refused, parse_outcome
from order.store import NotStored, StorageBroken, Store

log = logging.getLogger("bazar.order")

MARGIN_S = 0.05  # for our own log and the way back
PROBE_S = 0.2

NOTHING_HAPPENED = frozenset(
    {
        "writes-unavailable",
        "not-leader",
        "unavailable",
        "rate-limited",
        "unauthorized",
        "foreign-cluster",
    }
)
# No attempt with this key and this basket can ever sell.
FINAL = frozenset({"invalid-request", "idempotency-mismatch", "too-large"})


class Tally:
    """What the attempts for one key add up to."""

    def __init__(self, key: str) -> None:
        self._key = key
        self._unknown = False
        self._why: list[str] = []

    def nothing(self, why: str) -> None:
        """Note an attempt that cannot have done anything."""
        self._why.append(why)

    def unknown(self, why: str) -> None:
        """Note an attempt that may have sold."""
        self._unknown = True
        self._why.append(why)

    def refused(self, name: str, problem: Problem) -> None:
        """Note a problem; raise it when no further attempt can change the answer."""
        if problem.code in FINAL or (problem.code == "in-progress" and not self._unknown):
            raise problem
        why = f"{name}: {problem.detail}"
        if problem.code in NOTHING_HAPPENED:
            self.nothing(why)
        else:
            self.unknown(why)

    def verdict(self) -> Problem:
        """Return what to tell the caller when no attempt brought an outcome."""
        why = "; ".join(self._why) or "no time was left to ask"
        if self._unknown:
            return Problem("outcome-unknown", why, idempotency_key=self._key)
        return Problem("writes-unavailable", why)


class Plan:
    """Whom to ask next: each catalog once, the one that led last first, and one hint followed."""

    def __init__(self, first: str, names: Iterable[str]) -> None:
        self._names = sorted(names, key=lambda name: name != first)
        self._known = frozenset(self._names)
        self._hints_left = 1

    @property
    def is_over(self) -> bool:
        """Tell whether nobody is left to ask."""
        return not self._names

    def next(self) -> str | None:
        """Take the next one."""
        return self._names.pop(0) if self._names else None

    def hint(self, teller: str, leader: Any) -> None:
        """Ask `leader` next, even once more: it may have been slow, and the key is the same."""
        if self._hints_left > 0 and leader in self._known and leader != teller:
            self._hints_left -= 1
            self._names = [leader, *(name for name in self._names if name != leader)]

    def only(self, wanted: Callable[[str], bool]) -> None:
        """Drop everybody who is not wanted."""
        self._names = [name for name in self._names if wanted(name)]


class Sales:
    """Finds the leader, remembers it, and keeps what it sold."""

    def __init__(
        self, catalogs: Mapping[str, Peer], store: Store, *, clock: Clock, metrics: Metrics
    ) -> None:
        self._catalogs = catalogs
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._leader = next(iter(catalogs))

    @property
    def leader(self) -> str:
        """Return the catalog that is asked first."""
        return self._leader

    def buy(self, items: Sequence[Mapping[str, int]], key: str, until: float) -> Outcome:
        """Sell a basket once per key; return the recorded outcome, sold or refused.

        Raises `writes-unavailable`, `outcome-unknown`, `in-progress`, `idempotency-mismatch`,
        `invalid-request`.
        """
        operation = {"key": key, "kind": "sell", "body": {"items": items}}
        try:
            outcome = self._sell(operation, Tally(key), until - MARGIN_S)
        except Problem as problem:
            self._metrics.sales.labels(problem.code).inc()
            raise
        told = "sold" if outcome.order else str(outcome.answer.get("code"))
        self._metrics.sales.labels(told).inc()
        self._keep(outcome)
        return outcome

    def _sell(self, operation: Mapping[str, Any], tally: Tally, until: float) -> Outcome:
        plan = Plan(self._leader, self._catalogs)
        while (left_s := until - self._clock.now()) > 0 and (name := plan.next()) is not None:
            try:
                return self._ask(name, operation, left_s if plan.is_over else left_s / 2)
            except NotSent:
                tally.nothing(f"{name} cannot be reached")
            except (PeerDown, Malformed):
                tally.unknown(f"{name} did not answer in time")
            except Problem as problem:
                tally.refused(name, problem)
                if problem.code == "not-leader":
                    plan.hint(name, problem.members.get("leader"))
                if problem.code == "writes-unavailable":
                    plan.only(lambda other: self._leads(other, until))
        raise tally.verdict()

    def _ask(self, name: str, operation: Mapping[str, Any], timeout_s: float) -> Outcome:
        answer = self._catalogs[name].call(
            "POST", "/operations", timeout_s=timeout_s, document=operation
        )
        try:
            outcome = parse_outcome(answer.json(), answer.header(CLUSTER))
        except ValueError as error:
            raise Malformed(str(error)) from error
        self._leader = name
        return outcome

    def _leads(self, name: str, until: float) -> bool:
        """Tell whether a node says that it leads.

        Asked when the leader we know cannot write: it may have been cut off and replaced. The loss
        of a question leaves nothing unknown; the loss of a sale, sent on trial, would.
        """
        timeout_s = min(PROBE_S, (until - self._clock.now()) / 2)
        try:
            status = self._catalogs[name].call("GET", "/status", timeout_s=timeout_s).json()
            return bool(status["leader"] == name)
        except (PeerDown, Problem, ValueError, TypeError, KeyError):
            return False

    def _keep(self, outcome: Outcome) -> None:
        """Store what was sold; when that fails the answer stands, for the ledger has it."""
        if outcome.order is None:
            return
        try:
            self._store.record(outcome.order, outcome.cluster)
        except (Refused, NotStored, StorageBroken, apsw.Error) as error:
            log.error("order %s is sold but not in this log: %s", outcome.order.order_id, error)
