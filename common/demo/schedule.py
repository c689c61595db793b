"""A seeded sequence of faults. Pure: the same seed is the same sequence, on any machine.

Law: a gentle one hurts one node at a time, and undoes each fault before the next; a rough one may
begin the next while the last is still on, at another node.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from random import Random

KILL, PAUSE, CUT_OFF, CUT, DELAY = "kill", "pause", "cut-off", "cut", "delay"
LEADER = "leader"  # whoever leads when the fault begins
HOLD_S = (3.0, 7.0)
CALM_S = (4.0, 7.0)
ROUGH_S = (1.5, 4.5)  # from one beginning to the next
DELAYS_MS = (50, 200, 1000)
KINDS = {KILL: 4, PAUSE: 3, CUT_OFF: 2, CUT: 2, DELAY: 2}
SHOWN_NEXT = 3


@dataclass(frozen=True)
class Step:
    """One fault: what is done to whom, for how long, and how long until the next.

    `other` is the second node of a cut pair, `amount_ms` what a delay adds.
    """

    number: int
    kind: str
    node: str
    other: str
    amount_ms: int
    hold_s: float
    calm_s: float
    rough: bool

    @property
    def words(self) -> str:
        """Return what is done."""
        who = "the leader" if self.node == LEADER else self.node
        return {
            KILL: f"kill {who}", PAUSE: f"pause {who}", CUT_OFF: f"cut {who} off",
            CUT: f"cut between {who} and {self.other}",
            DELAY: f"delay {who} by {self.amount_ms} ms",
        }[self.kind]  # fmt: skip


def steps(
    seed: int, nodes: Sequence[str], pairs: Sequence[tuple[str, str]], *, rough: bool
) -> Iterator[Step]:
    """Yield faults without end; `nodes` may be hurt, `pairs` cut. The leader is hit more often."""
    random = Random(f"demo {seed} {rough}")
    last = ""
    for number in count(1):
        (kind,) = random.choices(list(KINDS), list(KINDS.values()))
        node, other = _target(kind, random, nodes, pairs, last)
        last = node
        yield Step(
            number, kind, node, other,
            amount_ms=random.choice(DELAYS_MS) if kind == DELAY else 0,
            hold_s=round(random.uniform(*HOLD_S), 1),
            calm_s=round(random.uniform(*(ROUGH_S if rough else CALM_S)), 1),
            rough=rough,
        )  # fmt: skip


def _target(
    kind: str,
    random: Random,
    nodes: Sequence[str],
    pairs: Sequence[tuple[str, str]],
    last: str,
) -> tuple[str, str]:
    """Choose whom to hit: not the same as last time."""
    if kind == CUT:
        return random.choice([pair for pair in pairs if last not in pair] or pairs)
    others = [node for node in (*nodes, LEADER, LEADER) if node != last]
    return random.choice(others), ""
