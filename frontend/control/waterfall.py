"""Puts the spans of one trace together: who caused what, when each began, how long it took.

Law: nodes' dates need not agree. A node that was asked acted between the question and the answer;
where its date says otherwise all it says in that part of the trace is shifted, and that is told.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from common.trace import CLIENT, SERVER, Span

MS = 1_000_000
TELLING_NS = 500_000  # less than this is how two clocks of one machine are read, not worth a word

# What spans are called in the room; `{}` is whom a call is to.
CALLS = {
    "POST /sales": "ask {} to sell",
    "POST /operations": "ask {} to write",
    "POST /replication/prepare": "prepare at {}",
    "POST /replication/commit": "tell {} that it is committed",
    "POST /internal/invalidate": "invalidate at {}",
    "GET /books/<>": "ask {} for the book",
    "GET /search": "ask {} for the page",
    "GET /books": "ask {} for books",
    "GET /topics": "ask {} for the topics",
    "GET /orders/<>": "ask {} for the order",
    "GET /orders": "ask {} for orders",
    "GET /status": "ask {} who leads",
}
SERVED = {
    "POST /sales": "sell",
    "POST /operations": "take the operation",
    "POST /replication/prepare": "prepare",
    "POST /replication/commit": "hear of the commit",
    "POST /internal/invalidate": "invalidate: forget what changes",
    "GET /books/<int:book_id>": "read the book",
    "GET /search": "read the page",
}


@dataclass(frozen=True)
class Bar:
    """A span in its place: how deep in the tree, when after the beginning, by how much its node's
    date was corrected; `lost`: what caused it is not known here.
    """

    span: Span
    depth: int
    starts_ns: int
    shifted_ns: int
    lost: bool

    def document(self) -> dict[str, Any]:
        """Return what a page draws."""
        span = self.span
        return {
            "what": words(span), "name": span.name, "kind": span.kind, "node": span.node,
            "service": span.service, "depth": self.depth, "start_ms": self.starts_ns / MS,
            "length_ms": span.duration_ns / MS, "shifted_ms": self.shifted_ns / MS,
            "lost": self.lost, "error": span.error, "attributes": dict(span.attributes),
        }  # fmt: skip


def words(span: Span) -> str:
    """Return what a span is called in the room."""
    to = span.attributes.get("server.address", "another node")
    if span.kind == CLIENT:
        return CALLS.get(span.name, span.name + " to {}").format(to)
    if span.kind == SERVER and "url.path" in span.attributes:
        return f"{span.attributes.get('http.request.method', '')} {span.attributes['url.path']}"
    return SERVED.get(span.name, span.name) if span.kind == SERVER else span.name


def bars(spans: Sequence[Span]) -> list[Bar]:
    """Return a trace as it is drawn: each span below the one that caused it, in order of time."""
    known = {span.span_id: span for span in spans}
    children: defaultdict[str, list[Span]] = defaultdict(list)
    for span in known.values():
        children[span.parent_id if span.parent_id in known else ""].append(span)
    tops = sorted(children.pop("", []), key=lambda span: (_is_cut_off(span), span.started_ns))
    if not tops:
        return []
    zero_ns = tops[0].started_ns
    found: list[Bar] = []
    for top in tops:
        found += _below(top, 0, 0, children, zero_ns, {top.node: 0})
    return found


def _is_cut_off(span: Span) -> bool:
    """Tell whether something here must have caused a span that nothing here has caused."""
    return not (span.kind == SERVER and "url.path" in span.attributes)


def _below(
    span: Span, depth: int, shift_ns: int, children: Mapping[str, Sequence[Span]], zero_ns: int,
    clocks: dict[str, int],
) -> Iterator[Bar]:  # fmt: skip
    """Yield a span, whose node's date is off by so much, and all that it caused."""
    lost = depth == 0 and _is_cut_off(span)
    yield Bar(span, depth, span.started_ns + shift_ns - zero_ns, shift_ns, lost)
    inner = [
        (child, shift_ns if child.node == span.node else _shift(span, shift_ns, child, clocks))
        for child in children.get(span.span_id, ())
    ]
    for child, shift in sorted(inner, key=lambda pair: pair[0].started_ns + pair[1]):
        yield from _below(child, depth + 1, shift, children, zero_ns, clocks)


def _shift(asker: Span, shift_ns: int, child: Span, clocks: dict[str, int]) -> int:
    """Return by how much a node's date is off that was asked by another one: by as much as before
    in this trace if that fits, else so much that question and answer took equally long.
    """
    earliest = asker.started_ns + shift_ns - child.started_ns
    latest = max(earliest, earliest + asker.duration_ns - child.duration_ns)
    usual = clocks.setdefault(child.node, 0)
    if earliest - TELLING_NS <= usual <= latest + TELLING_NS:
        return usual
    clocks[child.node] = (earliest + latest) // 2
    return clocks[child.node]
