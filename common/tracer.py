"""Records the spans of one node: what is current in a thread, what a message carries on.

Laws: who is not traced pays one look at what is current. A span of a message that several requests
share is recorded in each of their traces. What a span says never decides anything.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar, Token
from random import Random

from common.clock import Clock
from common.openspan import NOT_TRACED, AnySpan, OpenSpan, Scope
from common.trace import (
    ALSO,
    CLIENT,
    INTERNAL,
    NO_CONTEXTS,
    SERVER,
    TRACEPARENT,
    Bucket,
    Context,
    Contexts,
    Spans,
    Value,
    contexts_of,
    parse,
)  # fmt: skip

ASKED_PER_S = 50.0  # requests traced because their caller asks for it
CALLS_MAX = 64  # of one batch: one that is sent again for hours would push out all else

TRACE_ID = "Trace-Id"  # tells a client under which id its request is found
NOT_WAITED_FOR = "nobody waited for the answer any longer"

Headers = Callable[[str, str], str]  # (name, default) -> value


def rates(per_s: float) -> dict[str, tuple[float, int]]:
    """Return kind of request -> how many of them are traced in a second, and at once. The sum
    bounds what tracing costs.
    """
    burst = math.ceil(per_s)
    return {
        "read": (per_s, burst), "write": (per_s, burst), "hit": (per_s / 2, min(1, burst)),
        "asked": (ASKED_PER_S, int(ASKED_PER_S)),
    }  # fmt: skip


class Tracer:
    """What one node records; `random` gives one number, for a source of ids of its own."""

    def __init__(
        self, node: str, service: str, *, clock: Clock, random: Random, per_s: float = 0.0
    ) -> None:
        """`per_s` reads and as many writes are traced that nobody asks for."""
        self.node = node
        self.service = service
        self.clock = clock
        self.spans = Spans(threading.Lock())
        self._ids = Random(random.getrandbits(64))
        self._current: ContextVar[Scope | None] = ContextVar(f"traced at {node}", default=None)
        self._buckets = {
            kind: Bucket(rate, burst, now=clock.now, lock=threading.Lock())
            for kind, (rate, burst) in rates(per_s).items()
        }

    # --- requests that come in ---

    def received(self, kind: str, name: str, traceparent: bytes | str | None) -> AnySpan:
        """Begin the span of a request from outside, of a kind of `rates`, if it is to be traced."""
        parent = None
        if traceparent:
            given = traceparent if isinstance(traceparent, str) else traceparent.decode("latin-1")
            parent = parse(given)
            if parent is not None and parent.sampled:
                kind = "asked"
        if not self._buckets[kind].take():
            return NOT_TRACED
        root = parent or Context(f"{self._ids.getrandbits(128) or 1:032x}", "")
        return OpenSpan(self, name, SERVER, {0: root}, entry=True)

    def continued(self, name: str, headers: Headers) -> AnySpan:
        """Begin the span of a call from another node, if it comes from one."""
        traceparent = headers(TRACEPARENT, "")
        if not traceparent:
            return NOT_TRACED
        contexts = contexts_of(traceparent, headers(ALSO, ""))
        return OpenSpan(self, name, SERVER, contexts) if contexts else NOT_TRACED

    def may_note_a_hit(self) -> bool:
        """Tell whether another hit may be told of."""
        return self._buckets["hit"].take()

    def hit(self, name: str, attributes: Mapping[str, Value]) -> None:
        """Tell of a request that was answered on the spot: there is nothing below it."""
        root = Context(f"{self._ids.getrandbits(128) or 1:032x}", "")
        span = OpenSpan(self, name, SERVER, {0: root}, entry=True)
        for attribute, value in attributes.items():
            span.note(attribute, value)
        span.end()

    # --- what happens meanwhile ---

    @property
    def contexts(self) -> Contexts:
        """Return whose doing it is what happens now."""
        scope = self._current.get()
        return NO_CONTEXTS if scope is None else scope.contexts

    def span(self, name: str, parents: Contexts | None = None, kind: str = INTERNAL) -> AnySpan:
        """Begin the span of something done for what is current, or for `parents`."""
        if parents is None:
            parents = self.contexts
        return OpenSpan(self, name, kind, parents) if parents else NOT_TRACED

    def note(self, name: str, value: Value) -> None:
        """Add an attribute to the span that is current, if one is."""
        scope = self._current.get()
        if scope is not None and scope.span is not None:
            scope.span.note(name, value)

    def call(self, name: str, parents: Contexts | None = None) -> AnySpan:
        """Begin the span of a call to another node."""
        return self.span(name, parents, CLIENT)

    def begin_call(self, name: str) -> AnySpan:
        """Begin the span of a call that ends at the latest when what is current has ended."""
        scope = self._current.get()
        if scope is None or not scope.contexts or len(scope.calls) >= CALLS_MAX:
            return NOT_TRACED
        span = OpenSpan(self, name, CLIENT, scope.contexts)
        scope.calls.append(span)
        return span

    @contextmanager
    def within(self, contexts: Contexts) -> Iterator[None]:
        """Let it be current for whom something is done; calls left open have ended after that."""
        if not contexts:
            yield
            return
        scope = Scope(contexts)
        token = self.enter(scope)
        try:
            yield
        finally:
            self.leave(token)
            for call in scope.calls:
                call.end(NOT_WAITED_FOR)

    def carry(self, run: Callable[[], None]) -> Callable[[], None]:
        """Return what does the same for whom is current now, in whatever thread."""
        contexts = self.contexts
        if not contexts:
            return run

        def carried() -> None:
            with self.within(contexts):
                run()

        return carried

    # --- for spans ---

    def enter(self, scope: Scope) -> Token[Scope | None]:
        """Make something current; `leave` makes current what was so before."""
        return self._current.set(scope)

    def leave(self, token: Token[Scope | None]) -> None:
        """End what `enter` began."""
        self._current.reset(token)

    def span_id(self) -> str:
        """Return a new id."""
        return f"{self._ids.getrandbits(64) or 1:016x}"
