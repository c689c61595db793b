"""The sales ledger as the catalogs tell it: whom to ask for a page, and what an answer is worth.

Law: any catalog that may answer will do; `dirty` sends on to the leader it names; a silent one is
asked last for a while, so that readers do not wait for it again and again.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from common.auth import CLUSTER
from common.clock import Clock
from common.errors import Problem
from common.peer import Peer, PeerDown, Response
from order.model import Malformed, Page, Refused, ask_after, parse_page

log = logging.getLogger("bazar.order")

PAGE_ROWS = 500
QUARANTINE_S = 1.0
RECENT_S = 3.0


class Ledger:
    """Reads pages from the catalogs in turn."""

    def __init__(self, catalogs: Mapping[str, Peer], clock: Clock) -> None:
        self._catalogs = catalogs
        self._clock = clock
        self._lock = threading.Lock()
        self._turn = 0
        self._last_until: dict[str, float] = {}
        self._heard_at: float | None = None

    @property
    def reachable(self) -> bool:
        """Tell whether some catalog has answered a moment ago."""
        return self._heard_at is not None and self._clock.now() - self._heard_at < RECENT_S

    def read(self, since: int, until: float) -> Page:
        """Return the page after row `since`, read after this call began and before `until`.

        Raises `unavailable` when nobody could answer, `Refused` when what came is foreign.
        """
        why = "no time was left"
        names = self._in_turn()
        while names and (left_s := until - self._clock.now()) > 0:
            name = names.pop(0)
            try:
                return self._ask(name, since, left_s / 2 if names else left_s)
            except PeerDown:
                self._ask_last(name)
                why = f"{name} does not answer"
            except Malformed as error:
                log.error("%s: %s", name, error)
                why = f"{name} gave no ledger page"
            except Problem as problem:
                names = self._after_problem(problem, names)
                why = f"{name}: {problem.detail}"
        raise Problem("unavailable", f"the sales ledger cannot be read now: {why}")

    def _ask(self, name: str, since: int, timeout_s: float) -> Page:
        query = {"after": ask_after(since), "limit": PAGE_ROWS}
        try:
            answer = self._catalogs[name].call("GET", "/ledger", timeout_s=timeout_s, query=query)
        except Problem:
            self._heard_at = self._clock.now()
            raise
        self._heard_at = self._clock.now()
        return _page(answer, since)

    def _after_problem(self, problem: Problem, names: list[str]) -> list[str]:
        """Return whom to ask next."""
        if problem.code == "foreign-cluster":
            raise Refused(problem.detail)
        if problem.code == "dirty":
            # When the leader itself says so nobody can tell yet, and nobody else is asked.
            return [name for name in names if name == problem.members.get("leader")]
        return names

    def _in_turn(self) -> list[str]:
        """Return whom to ask: round robin, but at the end those that did not answer lately."""
        names, now = list(self._catalogs), self._clock.now()
        with self._lock:
            first, self._turn = self._turn, (self._turn + 1) % len(names)
            silent = {name for name, until in self._last_until.items() if now < until}
        return sorted(names[first:] + names[:first], key=silent.__contains__)

    def _ask_last(self, name: str) -> None:
        with self._lock:
            self._last_until[name] = self._clock.now() + QUARANTINE_S


def _page(answer: Response, since: int) -> Page:
    try:
        document = answer.json()
    except ValueError as error:
        raise Malformed(f"not JSON: {error}") from error
    epoch, as_of = (_number(answer.header(name)) for name in ("Bazar-Epoch", "Bazar-As-Of"))
    return parse_page(document, answer.header(CLUSTER), since, epoch=epoch, as_of=as_of)


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None
