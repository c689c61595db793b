"""What a trace is made of: contexts as they travel, spans that have ended, and where they are kept.

Law: nothing here grows with the load. How many requests are traced is bounded by buckets, what is
remembered of them by the store; a context stands in headers only, never in what is hashed, signed
or stored.

The header is that of W3C Trace Context, https://www.w3.org/TR/trace-context/
"""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple

TRACEPARENT = "traceparent"
TRACEPARENT_HEADER = b"traceparent"  # as a `Call` has it
ALSO = "Bazar-Traces"  # the other requests that share a message, by their places in it

SPANS_MAX = 4096
ENTRIES_MAX = 256

SERVER, CLIENT, INTERNAL = "server", "client", "internal"

_PARENT = re.compile("([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_TRACE_ID = re.compile("[0-9a-f]{32}")
_SAMPLED = 0x01
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16

Value = str | int | float | bool


class Context(NamedTuple):
    """One place in one trace: the span that causes what comes next ("" is none: a root)."""

    trace_id: str
    span_id: str
    sampled: bool = True


Contexts = Mapping[int, Context]  # of a message: its part -> the span that caused that part
NO_CONTEXTS: Contexts = MappingProxyType({})


def parse(header: str) -> Context | None:
    """Read a traceparent; None: it is not valid, and counts as if it were not there.

    A later version may have more at its end, after a dash; version ff is none (section 3.2.2).
    """
    found = _PARENT.fullmatch(header)
    if found is None:
        return None
    version, trace_id, span_id, flags, more = found.groups()
    if version == "ff" or (version == "00" and more is not None):
        return None
    if trace_id == _NO_TRACE or span_id == _NO_SPAN:
        return None
    return Context(trace_id, span_id, bool(int(flags, 16) & _SAMPLED))


def write(context: Context) -> str:
    """Return the traceparent of a context; flags we do not know are not passed on."""
    return f"00-{context.trace_id}-{context.span_id}-{int(context.sampled):02x}"


def is_trace_id(text: str) -> bool:
    """Tell whether a text may be the id of a trace."""
    return _TRACE_ID.fullmatch(text) is not None and text != _NO_TRACE


def headers_of(contexts: Contexts) -> dict[str, str]:
    """Return the headers of a message; that of one request, or of one that stands first, is the
    standard's alone.
    """
    if not contexts:
        return {}
    headers = {TRACEPARENT: write(next(iter(contexts.values())))}
    if list(contexts) != [0]:
        headers[ALSO] = ",".join(f"{place}={write(one)}" for place, one in contexts.items())
    return headers


def contexts_of(traceparent: str, also: str) -> Contexts:
    """Return what `headers_of` wrote, as far as it is sampled."""
    if not also:
        first = parse(traceparent)
        return {0: first} if first is not None and first.sampled else NO_CONTEXTS
    found = {}
    for part in also.split(","):
        place, _, header = part.partition("=")
        context = parse(header)
        if context is not None and context.sampled and place.isascii() and place.isdecimal():
            found[int(place[:4])] = context
    return found


@dataclass(frozen=True, slots=True)
class Span:
    """Something that a node did for a request, from when to when; `error` is "" when it went well.

    Times are nanoseconds: the start by the node's date, so that nodes can be compared, the length
    by the clock that never jumps.
    """

    trace_id: str
    span_id: str
    parent_id: str
    name: str
    kind: str
    node: str
    service: str
    started_ns: int
    duration_ns: int
    error: str = ""
    attributes: Mapping[str, Value] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Span:
        """Read what `document` wrote; raise ValueError for anything else."""
        try:
            span = cls(**document)
        except TypeError as error:
            raise ValueError("not a span") from error
        if not all(isinstance(time, int) for time in (span.started_ns, span.duration_ns)):
            raise ValueError("not a span")
        return span


class Spans:
    """The last spans of one node, and apart from them the last requests that came to it from
    outside.
    """

    def __init__(
        self, lock: AbstractContextManager[object], spans_max: int = SPANS_MAX,
        entries_max: int = ENTRIES_MAX,
    ) -> None:  # fmt: skip
        self._lock = lock
        self._kept: deque[Span] = deque(maxlen=spans_max)
        self._entries: deque[Span] = deque(maxlen=entries_max)
        self._watchers: list[Callable[[Span], None]] = []

    def watch(self, told: Callable[[Span], None]) -> None:
        """Have each span told, too, that is kept from now on."""
        self._watchers.append(told)

    def add(self, spans: Iterable[Span], *, entry: bool) -> None:
        """Keep spans; `entry`: they are requests from outside."""
        with self._lock:
            for span in spans:
                self._kept.append(span)
                if entry:
                    self._entries.append(span)
                for told in self._watchers:
                    told(span)

    def of(self, trace_id: str) -> list[Span]:
        """Return what is known of a trace here."""
        with self._lock:
            found = [span for span in self._kept if span.trace_id == trace_id]
            return found or [span for span in self._entries if span.trace_id == trace_id]

    def last(self, count: int) -> list[Span]:
        """Return the last requests from outside, the newest first."""
        with self._lock:
            return list(self._entries)[: -count - 1 : -1]


class Bucket:
    """Lets so many through in a second, and at most `burst` at once (a token bucket)."""

    def __init__(
        self, per_s: float, burst: int, *, now: Callable[[], float],
        lock: AbstractContextManager[object],
    ) -> None:  # fmt: skip
        self._per_s = per_s
        self._burst = burst
        self._now = now
        self._lock = lock
        self._tokens = float(burst)
        self._filled_at = now()
        self._empty_until = -math.inf

    def take(self) -> bool:
        """Tell whether one more may pass."""
        now = self._now()
        if now < self._empty_until:  # most calls end here, under load
            return False
        with self._lock:
            grown = self._tokens + (now - self._filled_at) * self._per_s
            self._tokens, self._filled_at = min(float(self._burst), grown), now
            if self._tokens < 1.0:
                left_s = (1.0 - self._tokens) / self._per_s if self._per_s else math.inf
                self._empty_until = now + left_s
                return False
            self._tokens -= 1.0
            return True
