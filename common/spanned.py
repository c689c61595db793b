"""Has the requests that a Flask app answers leave a span, and says what other nodes ask of spans.

Law: it stands around the app, so a request that is not traced pays one question. A call that turns
out not to be signed leaves no span.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from flask import Response

from common.compact import compact
from common.errors import Problem
from common.openspan import NOT_TRACED, AnySpan, OpenSpan
from common.trace import ENTRIES_MAX, is_trace_id
from common.tracer import TRACE_ID, Tracer
from common.wsgi import App

SPANS = "/spans"
SPANS_MAX = 1000  # in one answer
TOLD = {"X-Served-By": "bazar.served_by", "Cache-Status": "bazar.cache"}  # of an answer's headers

Environ = dict[str, Any]
Entry = Callable[[Environ], AnySpan]  # begins the span of a request from outside, if any
TRACEPARENT_VARIABLE = "HTTP_TRACEPARENT"


def variable(header: str) -> str:
    """Return the name of a header in an environ."""
    return "HTTP_" + header.upper().replace("-", "_")


def not_traced(environ: Environ) -> AnySpan:
    """Leave requests from outside alone."""
    return NOT_TRACED


class Spanned:
    """An app whose requests leave spans; those for `internal` paths only when a node asks."""

    def __init__(
        self, app: App, tracer: Tracer, internal: Callable[[str], bool], entry: Entry
    ) -> None:
        self._app = app
        self._tracer = tracer
        self._internal = internal
        self._entry = entry

    def __call__(self, environ: Environ, start_response: Callable[..., Any]) -> Iterable[bytes]:
        span = self._begun(environ)
        if not span:
            return self._app(environ, start_response)
        assert isinstance(span, OpenSpan)
        with span:
            return self._answer(span, environ, start_response)

    def _begun(self, environ: Environ) -> AnySpan:
        if not self._internal(environ["PATH_INFO"]):
            return self._entry(environ)
        if TRACEPARENT_VARIABLE not in environ:
            return NOT_TRACED
        method = environ["REQUEST_METHOD"]
        return self._tracer.continued(method, lambda name, no: environ.get(variable(name), no))

    def _answer(
        self, span: OpenSpan, environ: Environ, start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        def start(status: str, headers: list[tuple[str, str]], *more: Any) -> Any:
            _describe(span, environ, int(status[:3]), dict(headers))
            if int(status[:3]) == 401:
                span.forget()
            headers.append((TRACE_ID, span.contexts[min(span.contexts)].trace_id))
            return start_response(status, headers, *more)

        return self._app(environ, start)


def _describe(span: OpenSpan, environ: Environ, status: int, headers: dict[str, str]) -> None:
    """Note which route a request took, and how it was answered."""
    request = environ.get("werkzeug.request")
    route = getattr(getattr(request, "url_rule", None), "rule", "")
    if route:
        span.call_it(f"{environ['REQUEST_METHOD']} {route}")
        span.note("http.route", route)
    span.answered(status)
    for header, attribute in TOLD.items():
        if header in headers:
            span.note(attribute, headers[header])


def spans_of(tracer: Tracer, asked: dict[str, str]) -> Response:
    """Answer what this node knows of a trace, or the last requests that came to it from outside."""
    trace_id, last = asked.get("trace", ""), asked.get("last", "0")
    if trace_id and not is_trace_id(trace_id):
        raise Problem("invalid-request", "trace: must be 32 digits of 0-9, a-f")
    if not last.isascii() or not last.isdecimal():
        raise Problem("invalid-request", "last: must be a count")
    count = min(int(last[:6]), ENTRIES_MAX)
    found = tracer.spans.of(trace_id)[:SPANS_MAX] if trace_id else tracer.spans.last(count)
    document = {"node": tracer.node, "spans": [span.document() for span in found]}
    return Response(compact(document), content_type="application/json")
