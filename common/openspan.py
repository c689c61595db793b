"""A span while it is under way, in each of the traces that share it, and what stands in for it
where nothing is traced.

Law: what a span says never decides anything. Both kinds take the same calls, so nobody asks which
of them it has before it says something.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Token
from dataclasses import dataclass, field
from types import TracebackType
from typing import NamedTuple, Protocol

from common.clock import Clock
from common.errors import Problem
from common.trace import NO_CONTEXTS, SERVER, Context, Contexts, Span, Spans, Value, headers_of


class Recorder(Protocol):
    """Whose spans these are."""

    node: str
    service: str
    clock: Clock
    spans: Spans

    def span_id(self) -> str:
        """Return a new id."""

    def enter(self, scope: Scope) -> Token[Scope | None]:
        """Make something current; `leave` makes current what was so before."""

    def leave(self, token: Token[Scope | None]) -> None:
        """End what `enter` began."""


@dataclass(eq=False)
class Scope:
    """What is current: whose doing it is, and the calls that end with it at the latest."""

    contexts: Contexts
    calls: list[OpenSpan] = field(default_factory=list)
    span: OpenSpan | None = None


class NotTraced(NamedTuple):
    """Stands in for the span of what is not traced."""

    @property
    def contexts(self) -> Contexts:
        return NO_CONTEXTS

    @property
    def parents(self) -> Contexts:
        return NO_CONTEXTS

    def __enter__(self) -> NotTraced:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def call_it(self, name: str) -> None:
        """Say nothing."""

    def note(self, name: str, value: Value) -> None:
        """Say nothing."""

    def answered(self, status: int) -> None:
        """Say nothing."""

    def headers(self) -> dict[str, str]:
        """Return no headers."""
        return {}

    def end(self, error: str = "") -> None:
        """Say nothing."""

    def ending(self) -> NotTraced:
        """Return what says nothing at its end."""
        return self


NOT_TRACED = NotTraced()


class OpenSpan:
    """One that has begun, in each of the traces that share it. As a context it is current, and has
    ended when that has.
    """

    def __init__(
        self, recorder: Recorder, name: str, kind: str, parents: Contexts, *, entry: bool = False
    ) -> None:
        self.name = name
        self.parents = parents
        self._recorder = recorder
        self._kind = kind
        self._entry = entry
        self._began_at = recorder.clock.now()
        self._started_ns = int(recorder.clock.wall().timestamp() * 1_000_000) * 1000
        self._attributes: dict[str, Value] = {}
        self._error = ""
        self._ended = False
        self._token: Token[Scope | None] | None = None
        self.contexts: Contexts = {
            place: Context(parent.trace_id, recorder.span_id()) for place, parent in parents.items()
        }

    def __enter__(self) -> OpenSpan:
        self._token = self._recorder.enter(Scope(self.contexts, span=self))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        assert self._token is not None
        self._recorder.leave(self._token)
        self.end("" if error is None else _told(error))

    def call_it(self, name: str) -> None:
        """Give it another name, once that is known."""
        self.name = name

    def note(self, name: str, value: Value) -> None:
        """Add an attribute."""
        self._attributes[name] = value

    def answered(self, status: int) -> None:
        """Note the status of an answer; from 500 on a server, from 400 on its caller has failed."""
        self.note("http.response.status_code", status)
        if status >= (500 if self._kind == SERVER else 400):
            self._error = self._error or str(status)

    def headers(self) -> dict[str, str]:
        """Return what a message says of it."""
        return headers_of(self.contexts)

    @contextmanager
    def ending(self) -> Iterator[None]:
        """End it with what is done here, which it is not current for."""
        error = ""
        try:
            yield
        except BaseException as raised:
            error = _told(raised)
            raise
        finally:
            self.end(error)

    def forget(self) -> None:
        """Leave nothing of it."""
        self._ended = True

    def end(self, error: str = "") -> None:
        """End it, unless that has been done."""
        if self._ended:
            return
        self._ended = True
        recorder = self._recorder
        length_ns = max(0, int((recorder.clock.now() - self._began_at) * 1_000_000_000))
        recorder.spans.add(
            [
                Span(
                    own.trace_id, own.span_id, self.parents[place].span_id, self.name, self._kind,
                    recorder.node, recorder.service, self._started_ns, length_ns,
                    error or self._error, dict(self._attributes),
                )
                for place, own in self.contexts.items()
            ],
            entry=self._entry,
        )  # fmt: skip


AnySpan = OpenSpan | NotTraced


def _told(error: BaseException) -> str:
    return error.code if isinstance(error, Problem) else str(error) or type(error).__name__
