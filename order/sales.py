"""Buys: one operation at the catalog leader, which this module finds and remembers.

Law: "nothing happened" is said only when every attempt came to nothing for sure; any attempt that
may have sold makes it `outcome-unknown`, with the key that will tell.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import apsw

from common import bundle
from common.clock import Clock
from common.errors import Problem
from common.peer import NotSent, Peer, PeerDown
from common.trace import Context
from common.tracer import Tracer
from order.metrics import Metrics
from order.model import Malformed, Outcome, Refused, outcome_of
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


class Sale:
    """A basket and its key, what the attempts for it add up to, and at last its outcome."""

    def __init__(self, key: str, items: Sequence[Mapping[str, int]]) -> None:
        self.operation = {"key": key, "kind": "sell", "body": {"items": items}}
        self.outcome: Outcome | Problem | None = None
        self.trace: Context | None = None
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
        """Note a problem; it is the outcome when no further attempt can change the answer."""
        if problem.code in FINAL or (problem.code == "in-progress" and not self._unknown):
            self.outcome = problem
            return
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
    """Whom to ask next: each catalog once, the one that led last first; one of them once more, on a
    hint.
    """

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
        """Ask `leader` next, even once more: it may have been slow, or have been handed the lead
        since, and the key is the same.
        """
        if leader not in self._known or leader == teller:
            return
        if leader not in self._names:
            if self._hints_left == 0:
                return
            self._hints_left -= 1
        self._names = [leader, *(name for name in self._names if name != leader)]

    def only(self, wanted: Callable[[str], bool]) -> None:
        """Drop everybody who is not wanted."""
        self._names = [name for name in self._names if wanted(name)]


class Sales:
    """Finds the leader, remembers it, and keeps what it sold."""

    def __init__(
        self, catalogs: Mapping[str, Peer], store: Store, *, clock: Clock, metrics: Metrics,
        tracer: Tracer,
    ) -> None:  # fmt: skip
        self._catalogs = catalogs
        self._tracer = tracer
        self._store = store
        self._clock = clock
        self._metrics = metrics
        self._leader = next(iter(catalogs))

    @property
    def leader(self) -> str:
        """Return the catalog that is asked first."""
        return self._leader

    def buy(
        self, sales: Sequence[Sale], until: float, attempt: str = ""
    ) -> list[Outcome | Problem]:
        """Sell each basket once per key; return the recorded outcomes, sold or refused, or
        `writes-unavailable`, `outcome-unknown`, `in-progress`, `idempotency-mismatch`,
        `invalid-request`.
        """
        self._sell(sales, until - MARGIN_S, attempt)
        outcomes = [sale.outcome or sale.verdict() for sale in sales]
        for outcome in outcomes:
            self._metrics.sales.labels(_told(outcome)).inc()
        self._keep([outcome for outcome in outcomes if isinstance(outcome, Outcome)])
        return outcomes

    def _sell(self, sales: Sequence[Sale], until: float, attempt: str) -> None:
        plan = Plan(self._leader, self._catalogs)
        while (left_s := until - self._clock.now()) > 0 and (name := plan.next()) is not None:
            timeout_s = left_s if plan.is_over else left_s / 2
            problems = self._ask(name, sales, timeout_s, attempt)
            sales = [sale for sale in sales if sale.outcome is None]
            if not sales:
                return
            for problem in problems:
                if problem.code == "not-leader":
                    plan.hint(name, problem.members.get("leader"))
            if any(problem.code == "writes-unavailable" for problem in problems):
                plan.only(lambda other: self._leads(other, until))

    def _ask(
        self, name: str, sales: Sequence[Sale], timeout_s: float, attempt: str
    ) -> list[Problem]:
        """Let each sale learn what a catalog says of it; return the problems among that."""
        operations = [sale.operation for sale in sales]
        traced = bundle.traced([sale.trace for sale in sales])
        try:
            reply = bundle.send(
                self._catalogs[name], "/operations", operations, timeout_s, attempt, traced
            )
        except NotSent:
            for sale in sales:
                sale.nothing(f"{name} cannot be reached")
            return []
        except PeerDown:
            for sale in sales:
                sale.unknown(f"{name} did not answer in time")
            return []
        except Problem as problem:
            reply = bundle.Reply([problem] * len(sales), "")
        for sale, told in zip(sales, reply.told, strict=True):
            if isinstance(told, Problem):
                sale.refused(name, told)
            else:
                self._decided(name, sale, told, reply.cluster)
        return [told for told in reply.told if isinstance(told, Problem)]

    def _decided(self, name: str, sale: Sale, told: bundle.Recorded, cluster: str) -> None:
        try:
            sale.outcome = outcome_of(told, cluster)
            self._leader = name
        except Malformed:
            sale.unknown(f"{name} did not answer in time")

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

    def _keep(self, outcomes: Sequence[Outcome]) -> None:
        """Store what was sold; when that fails the answers stand, for the ledger has them."""
        orders = [outcome.order for outcome in outcomes if outcome.order]
        if not orders:
            return
        cluster = next(outcome.cluster for outcome in outcomes if outcome.order)
        try:
            with self._tracer.span("write the order log"):
                self._store.record(orders, cluster)
        except (Refused, NotStored, StorageBroken, apsw.Error) as error:
            ids = ", ".join(order.order_id for order in orders)
            log.error("sold but not in this log: %s; orders %s", error, ids)


def _told(outcome: Outcome | Problem) -> str:
    """Return a sale's outcome in a word, for the metrics."""
    if isinstance(outcome, Problem):
        return outcome.code
    return "sold" if outcome.order else str(outcome.answer.get("code"))
