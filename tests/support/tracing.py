"""A tracer for whoever is tested by itself, and what nodes have recorded, as a tree of words."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from random import Random

from common.clock import Clock
from common.peer import Peer
from common.trace import Span
from common.tracer import Tracer

ASKED = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{ASKED}-00f067aa0ba902b7-01"


def tracer(clock: Clock, node: str = "node-1", service: str = "service", seed: int = 1) -> Tracer:
    """Return the tracer of one node."""
    return Tracer(node, service, clock=clock, random=Random(seed))


def spans_at(peers: Iterable[Peer], trace_id: str) -> list[Span]:
    """Ask nodes what they know of a trace."""
    query = {"trace": trace_id}
    answers = [peer.call("GET", "/spans", timeout_s=5, query=query).json() for peer in peers]
    return [Span.of(document) for answer in answers for document in answer["spans"]]


def tree(
    spans: Iterable[Span],
    shown: Callable[[Span], str] = lambda span: f"{span.node}: {span.name}",
    order: Callable[[Span], object] = lambda span: span.started_ns,
) -> list[str]:
    """Return a trace line by line: each span under its parent, in the order in which they began."""
    known = sorted(spans, key=order)  # type: ignore[arg-type]
    ids = {span.span_id for span in known}
    lines: list[str] = []

    def add(parent_id: str | None, depth: int) -> None:
        for span in known:
            is_child = span.parent_id == parent_id if parent_id else span.parent_id not in ids
            if is_child:
                lines.append("  " * depth + shown(span))
                add(span.span_id, depth + 1)

    add(None, 0)
    return lines
