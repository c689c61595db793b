"""Is a history linearizable? A Wing-Gong search with memory (Lowe 2017), against one book as the
specification.

Law: an operation whose outcome nobody learnt may have happened at any time after it was called, or
never; everything else happened at one moment between its call and its return.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

State = tuple[int, int]  # quantity, price_cents


@dataclass
class Operation:
    """One call as its client saw it; `returned` stays infinite while the outcome is not known."""

    what: str  # read | price-seen | sell | restock | price
    argument: int
    called: float
    result: Any = None
    returned: float = inf
    by: str = ""
    number: int = field(default=0, compare=False)

    def __str__(self) -> str:
        end = "?" if self.returned == inf else f"{self.returned * 1000:.1f}"
        return (
            f"{self.called * 1000:10.1f} .. {end:>10} ms {self.by:10} {self.what}({self.argument})"
            f" -> {self.result}"
        )


def step(state: State, operation: Operation) -> Iterable[State]:
    """Yield the states an operation may lead to; none: its result cannot be seen in this state."""
    quantity, price = state
    result = operation.result
    if operation.what == "read":
        return [state] if result == state else []
    if operation.what == "price-seen":
        return [state] if result == price else []
    if operation.what == "sell":
        return _sell(quantity, price, operation)
    after = (quantity + operation.argument, price)
    if operation.what == "price":
        after = (quantity, operation.argument)
    return [after] if result in (None, after) else []


def _sell(quantity: int, price: int, operation: Operation) -> Iterable[State]:
    enough = quantity >= operation.argument
    sold = [(quantity - operation.argument, price)]
    if operation.result is None:  # unknown: it sold, or it was refused for good
        return sold if enough else [(quantity, price)]
    if operation.result == "sold-out":
        return [] if enough else [(quantity, price)]
    return sold if enough and operation.result == price else []


class TooHard(Exception):
    """The search was given up: neither yes nor no."""


def linearizable(
    operations: Sequence[Operation],
    start: State,
    *,
    steps_max: int = 2_000_000,
    next_states: Callable[[State, Operation], Iterable[State]] = step,
) -> bool:
    """Tell whether some order of the operations, each within its time, explains every result.

    Unknown reads must not be in it. Raises `TooHard` after `steps_max` steps.
    """
    ordered = sorted(operations, key=lambda operation: operation.called)
    must = sum(1 << index for index, op in enumerate(ordered) if op.returned < inf)
    seen: set[tuple[int, State]] = set()
    stack: list[tuple[int, State]] = [(0, start)]
    steps = 0
    while stack:
        done, state = stack.pop()
        if done & must == must:
            return True
        for index in _may_be_next(ordered, done):
            steps += 1
            if steps > steps_max:
                raise TooHard(f"given up after {steps_max} steps")
            for after in next_states(state, ordered[index]):
                found = (done | 1 << index, after)
                if found not in seen:
                    seen.add(found)
                    stack.append(found)
    return False


def _may_be_next(ordered: Sequence[Operation], done: int) -> Iterable[int]:
    """Yield the operations called before the first return among those not done: any may be next."""
    horizon = inf
    candidates = []
    for index, operation in enumerate(ordered):
        if done >> index & 1:
            continue
        if operation.called > horizon:
            break
        candidates.append(index)
        horizon = min(horizon, operation.returned)
    return [index for index in candidates if ordered[index].called <= horizon]
