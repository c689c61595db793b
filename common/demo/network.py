"""All links of a demo, and what was done to them.

Law: a link is cut while its pair is, or either of its nodes; its delay is the sum of theirs. So
whatever is undone, in whatever order, the end is a whole network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from common.demo.layout import Layout
from common.demo.links import Link

DELAYS_MS = (50, 200, 1000)


class Network:
    """The links between each two nodes, both ways."""

    def __init__(self, layout: Layout) -> None:
        self._links = {
            (caller, called): Link(layout.link_port(caller, called), layout.node_port(called))
            for caller, called in layout.pairs
        }
        self._cut_off: set[str] = set()
        self._cut: set[frozenset[str]] = set()
        self._delay_ms: dict[str, int] = {}

    async def accept(self, called: str) -> None:
        """Let others connect to a node that listens."""
        for (_, to), link in self._links.items():
            if to == called:
                await link.open()

    def refuse(self, called: str) -> None:
        """Let nobody connect to a node that is dead."""
        for (_, to), link in self._links.items():
            if to == called:
                link.refuse()

    def close(self) -> None:
        """Break everything off."""
        for link in self._links.values():
            link.close()

    # --- what can be done to them, and undone ---

    def cut_off(self, node: str) -> None:
        """Cut a node off from all others."""
        self._cut_off.add(node)
        self._apply()

    def rejoin(self, node: str) -> None:
        """Undo that."""
        self._cut_off.discard(node)
        self._apply()

    def cut(self, one: str, other: str) -> None:
        """Cut two nodes off from one another."""
        self._cut.add(frozenset((one, other)))
        self._apply()

    def mend(self, one: str, other: str) -> None:
        """Undo that."""
        self._cut.discard(frozenset((one, other)))
        self._apply()

    def delay(self, node: str, milliseconds: int) -> None:
        """Make each message to and from a node later; 0: no longer."""
        self._delay_ms[node] = milliseconds
        self._apply()

    def heal(self) -> None:
        """Undo all of it."""
        self._cut_off.clear()
        self._cut.clear()
        self._delay_ms.clear()
        self._apply()

    def _apply(self) -> None:
        for pair, link in self._links.items():
            delay_ms = sum(self._delay_ms.get(node, 0) for node in pair)
            link.change(cut=self._is_interrupted(pair), delay_s=delay_ms / 1000)

    def _is_interrupted(self, pair: tuple[str, str]) -> bool:
        return not self._cut_off.isdisjoint(pair) or frozenset(pair) in self._cut

    # --- as it is shown ---

    def is_cut_off(self, node: str) -> bool:
        """Tell whether a node is cut off from all others."""
        return node in self._cut_off

    def is_cut(self, one: str, other: str) -> bool:
        """Tell whether two nodes were cut off from one another, and not only from all."""
        return frozenset((one, other)) in self._cut

    def delay_ms(self, node: str) -> int:
        """Return how much later messages to and from a node are."""
        return self._delay_ms.get(node, 0)

    def shown(self, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
        """Return each of these pairs: whether it was cut, and whether it is, by whatever."""
        return [
            {
                "one": one, "other": other,
                "cut": self.is_cut(one, other),
                "through": not self._is_interrupted((one, other)),
                "delay_ms": self.delay_ms(one) + self.delay_ms(other),
            }
            for one, other in pairs
        ]  # fmt: skip
