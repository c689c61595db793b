"""Sells through the order servers: all purchases that wait at one time go in one message.

Law: every attempt of a purchase carries the same key, and `outcomes.py` decides what they amount
to.

Nobody waits for others to come: while a message is out those who come wait for the next one, as in
group commit. So messages are as large as the load makes them, and a lone purchase pays nothing.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from random import Random

from common import bundle
from common.clock import Clock
from common.compact import compact
from common.errors import Problem, rebuilt, unexpected
from common.openspan import NOT_TRACED, AnySpan
from common.peer import NoAnswer, PeerDown
from common.tasks import Tasks
from common.trace import NO_CONTEXTS, Context, Contexts
from common.tracer import Tracer
from frontend.gateway import ATTEMPT_MIN_S, WRITE_ATTEMPT_S, WRITE_WHOLE_S, Group
from frontend.outcomes import Failure, Outcome, outcome_of, unanswered

CARRIERS_MAX = 1  # messages out; with two of half the size 16 buyers had a fifth less
WAITING_MAX = 1024
STUCK_S = 0.1  # a message that is out for longer is not counted: it holds nobody up

log = logging.getLogger("bazar.frontend")


@dataclass(frozen=True)
class Sold:
    """The order, byte for byte, and its id."""

    order_id: str
    body: bytes
    node: str = field(default="", compare=False)  # the order server that said so


@dataclass(eq=False)
class _Purchase:
    """One purchase, and who is to be told."""

    sale: dict[str, object]
    key: str
    until: float
    done: Callable[[Sold | Problem], None]
    trace: Context | None = None
    waits: AnySpan = NOT_TRACED  # until its message leaves
    attempts: list[tuple[str, Failure]] = field(default_factory=list)
    result: Sold | Problem | None = None


class Purchases:
    """Sells baskets; `lock` is taken for a few steps at a time."""

    def __init__(
        self, orders: Group, *, clock: Clock, tasks: Tasks, random: Random,
        lock: AbstractContextManager[object], tracer: Tracer,
    ) -> None:  # fmt: skip
        self._orders = orders
        self._tracer = tracer
        self._random = random
        self._clock = clock
        self._tasks = tasks
        self._lock = lock
        self._waiting: deque[_Purchase] = deque()
        self._carriers: dict[object, float] = {}  # carrier -> when its message left

    def sell(self, lines: list[dict[str, int]], key: str) -> Sold:
        """Sell a basket; raises a recorded refusal, or what `outcomes.unanswered` says."""
        told = self._tasks.event()
        results: list[Sold | Problem] = []

        def done(result: Sold | Problem) -> None:
            results.append(result)
            told.set()

        self.begin(lines, key, done, self._tracer.contexts)
        told.wait()
        if isinstance(results[0], Problem):
            raise results[0]
        self._tracer.note("bazar.served_by", results[0].node)
        return results[0]

    def begin(
        self, lines: list[dict[str, int]], key: str, done: Callable[[Sold | Problem], None],
        traced: Contexts = NO_CONTEXTS,
    ) -> None:  # fmt: skip
        """Sell a basket; `done`, which must not wait, is told what came of it."""
        until = self._clock.now() + WRITE_WHOLE_S
        purchase = _Purchase({"key": key, "items": lines}, key, until, done)
        if traced:
            purchase.trace = traced[0]
            purchase.waits = self._tracer.span("wait for a message", traced)
        with self._lock:
            full = len(self._waiting) >= WAITING_MAX
            if not full:
                self._waiting.append(purchase)
        if full:
            done(Problem("rate-limited", "too many purchases wait; nothing was changed"))
        else:
            self.tick()

    def tick(self) -> None:
        """Have somebody carry what waits, unless enough others will soon."""
        with self._lock:
            now = self._clock.now()
            lively = sum(now - since < STUCK_S for since in self._carriers.values())
            if not self._waiting or lively >= CARRIERS_MAX:
                return
            carrier = object()
            self._carriers[carrier] = now
        self._tasks.spawn("purchases", lambda: self._carry(carrier))

    def _carry(self, carrier: object) -> None:
        """Carry load after load until nothing waits."""
        while load := self._take(carrier):
            try:
                self._sell(load)
            except Exception:
                log.exception("selling failed")
            for purchase in load:
                purchase.done(purchase.result or unexpected("POST", purchase.key))

    def _take(self, carrier: object) -> list[_Purchase]:
        with self._lock:
            self._carriers[carrier] = self._clock.now()
            size = min(len(self._waiting), bundle.WRITES_MAX)
            if not size:
                del self._carriers[carrier]
            return [self._waiting.popleft() for _ in range(size)]

    def _sell(self, load: list[_Purchase]) -> None:
        until = min(purchase.until for purchase in load)
        for purchase in load:
            if purchase.waits:
                purchase.waits.end()
        waiting = load
        for name in self._orders.order():
            left_s = until - self._clock.now()
            if not waiting or left_s < ATTEMPT_MIN_S:
                break
            self._attempt(name, waiting, min(WRITE_ATTEMPT_S, left_s))
            waiting = [purchase for purchase in waiting if purchase.result is None]
        for purchase in waiting:
            purchase.result = unanswered(purchase.attempts, purchase.key)

    def _attempt(self, name: str, load: Sequence[_Purchase], timeout_s: float) -> None:
        """Let each purchase learn what an order server says of it."""
        sales = [purchase.sale for purchase in load]
        told: Sequence[bundle.Recorded | Failure]
        try:
            attempt = f"{self._random.getrandbits(64):016x}"
            told = bundle.send(
                self._orders.peers[name], "/sales", sales, timeout_s, attempt,
                _traced(load),
            ).told  # fmt: skip
        except (Problem, PeerDown) as error:
            told = [error] * len(load)
        useless = all(map(_is_useless, told))
        (self._orders.failed if useless else self._orders.succeeded)(name)
        for purchase, said in zip(load, told, strict=True):
            result = _result(name, said) if isinstance(said, bundle.Recorded) else said
            if isinstance(result, Sold):
                purchase.result = result
                continue
            if isinstance(result, Problem) and outcome_of(result) is Outcome.ANSWERED:
                purchase.result = result
            purchase.attempts.append((name, result))


def _traced(load: Sequence[_Purchase]) -> Contexts:
    """Return for whom a message is; most are for nobody who is traced."""
    for purchase in load:
        if purchase.trace is not None:
            return bundle.traced([purchase.trace for purchase in load])
    return NO_CONTEXTS


def _is_useless(told: bundle.Recorded | Failure) -> bool:
    return isinstance(told, PeerDown) or (isinstance(told, Problem) and told.code == "unavailable")


def _result(name: str, recorded: bundle.Recorded) -> Sold | Failure:
    """Return what was recorded; what is not ours is no answer: it may have happened."""
    order_id = recorded.answer.get("order_id")
    if recorded.status == 201 and isinstance(order_id, str):
        return Sold(order_id, compact(recorded.answer).encode(), name)
    refusal = rebuilt(recorded.answer) if recorded.status >= 400 else None
    return refusal or NoAnswer(f"{name} answered with something that is not ours")
