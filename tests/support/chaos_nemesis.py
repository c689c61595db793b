"""Breaks a shop, in bursts of faults, and leaves it to recover after each burst.

Law: every fault it began it has healed, whatever happens in between; what it draws depends on the
seed alone, never on how the shop took it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from random import Random
from threading import Event
from time import monotonic

from tests.support.chaos_faults import Plan, World, draw
from tests.support.chaos_history import READS, WRITES, History
from tests.support.wait import wait_until

BURSTS = (1, 1, 2, 2, 3, 4)  # how many faults in a row, before the shop is left to recover
TWO_AT_ONCE = 0.25
RECOVERY_WAIT_S = 8.0  # then the next burst comes all the same
WHOLE_WAIT_S = 4.0
CALM_S = (0.3, 1.5)
FAULT_EVERY_S = 2.5  # who is behind this does not wait
LOOK_S = 0.05


@dataclass
class Fault:
    """A fault that happened."""

    kind: str
    nodes: tuple[str, ...]
    began: float
    fresh: bool  # it hit a shop that answered again after the fault before
    healed: float = 0.0
    next_began: float = 0.0  # when the shop was hurt again, or the run ended


class Nemesis:
    """Runs faults until told to stop; `watch` is called often, and may raise to end the run."""

    def __init__(
        self, world: World, history: History, random: Random, watch: Callable[[], None]
    ) -> None:
        self._world = world
        self._history = history
        self._random = random
        self._watch = watch
        self.faults: list[Fault] = []
        self.skipped = 0

    def run(self, until: float) -> None:
        """Break and heal until a moment."""
        began = monotonic()
        while monotonic() < until:
            for _ in range(self._random.choice(BURSTS)):
                if monotonic() < until:
                    self._break_and_heal(self._draw())
            calm_s = self._random.uniform(*CALM_S)
            patience_s = min(RECOVERY_WAIT_S, until - monotonic())
            self._wait(lambda: self._is_back() or self._is_late(began), patience_s)
            if not self._is_late(began):
                self.calm(calm_s)

    def calm(self, seconds: float) -> None:
        """Leave the shop alone for a while."""
        self._wait(lambda: False, seconds)

    def _draw(self) -> list[Plan]:
        first = draw(self._world, self._random)
        second = draw(self._world, self._random)
        two = self._random.random() < TWO_AT_ONCE
        apart = not set(first.nodes) & set(second.nodes) and not (first.alone or second.alone)
        return [first, second] if two and apart else [first]

    def _break_and_heal(self, plans: list[Plan]) -> None:
        begun: list[tuple[Plan, Fault]] = []
        try:
            for plan in plans:
                if plan.whole_first and not self._wait(self._is_whole, WHOLE_WAIT_S):
                    self.skipped += 1
                    continue
                begun.append((plan, self._begin(plan)))
                self._wait(lambda: False, plan.hold_s)
        finally:
            for plan, fault in reversed(begun):
                plan.heal()
                fault.healed = monotonic()

    def _begin(self, plan: Plan) -> Fault:
        fault = Fault(plan.kind, plan.nodes, monotonic(), fresh=self._is_back())
        for earlier in self.faults:
            earlier.next_began = earlier.next_began or fault.began
        self.faults.append(fault)
        plan.begin()
        return fault

    def _is_late(self, began: float) -> bool:
        return monotonic() - began > len(self.faults) * FAULT_EVERY_S

    def _is_whole(self) -> bool:
        return self._world.shop.is_ready()

    def _is_back(self) -> bool:
        """Tell whether reads and writes have been answered since the last healing."""
        healed = (self.faults[-1].healed or inf) if self.faults else 0.0
        return all(self._history.answered_since(healed, kinds) for kinds in (READS, WRITES))

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        """Wait for a condition; return whether it came true in time."""
        until = monotonic() + timeout_s
        while not (true := condition()) and (left_s := until - monotonic()) > 0:
            self._world.shop.tend()
            self._watch()
            Event().wait(min(LOOK_S, left_s))
        return true

    def settle(self, timeout_s: float) -> float:
        """Heal everything; return how long the whole shop took to be ready again.

        Raises AssertionError, with the logs, when it took longer than `timeout_s`.
        """
        world = self._world
        world.network.heal_all()
        world.disks.free_all()
        world.shop.start_all()
        began = monotonic()
        for earlier in self.faults:
            earlier.next_began = earlier.next_began or began

        def ready() -> bool:
            world.shop.tend()
            return world.shop.is_ready()

        wait_until(ready, timeout_s, "a shop that is ready after healing", world.shop.logs)
        return monotonic() - began
