"""What a frontend says of the requests it traces: which they are, what their spans tell.

Law: a secret is shortened: of an idempotency key and an order's id only the beginning is told.
"""

from __future__ import annotations

import dataclasses
import re

from common.openspan import NOT_TRACED, AnySpan
from common.service import Call
from common.spanned import TRACEPARENT_VARIABLE, Environ
from common.trace import TRACEPARENT_HEADER, parse
from common.tracer import TRACE_ID, Tracer
from common.web import OPEN_PATHS
from common.wsgi import Answer

KEY_CHARS = 8
TARGET_CHARS_MAX = 200
OWN_PATHS = ("/static/", "/ops", "/cluster", *OPEN_PATHS)  # files, and who watches: not told of
READS = ("GET", "HEAD")

_ORDER = re.compile(r"(/orders?/[A-Za-z0-9_~-]{8})[^?/]+")


def begun(tracer: Tracer, environ: Environ) -> AnySpan:
    """Begin the span of a request, if it is to be traced."""
    traceparent, path = environ.get(TRACEPARENT_VARIABLE), environ["PATH_INFO"]
    if traceparent is None and path.startswith(OWN_PATHS):
        return NOT_TRACED
    method = environ["REQUEST_METHOD"]
    span = tracer.received("read" if method in READS else "write", method, traceparent)
    if span:
        key = environ.get("HTTP_IDEMPOTENCY_KEY", "")
        described(span, method, "", environ.get("RAW_URI") or path, key)
    return span


def described(span: AnySpan, method: str, route: str, target: str, key: str) -> None:
    """Note what was asked."""
    span.note("http.request.method", method)
    if route:
        span.call_it(f"{method} {route}")
        span.note("http.route", route)
    span.note("url.path", shown(target))
    if key:
        span.note("bazar.key", key[:KEY_CHARS])


def shown(target: str) -> str:
    """Return a target as it may be shown."""
    return _ORDER.sub(r"\1…", target)[:TARGET_CHARS_MAX]


def labelled(answer: Answer, span: AnySpan) -> Answer:
    """Return an answer ahead of Flask with the id of its trace, which ends with it."""
    span.answered(answer.status)
    span.end()
    traced = (TRACE_ID.lower().encode(), span.contexts[0].trace_id.encode())
    return dataclasses.replace(answer, headers=[*answer.headers, traced])


def wants_to_be_traced(call: Call) -> bool:
    """Tell whether the caller of a plain call traces it."""
    context = parse(call.headers.get(TRACEPARENT_HEADER, b"").decode("latin-1"))
    return context is not None and context.sampled


def tell_of_a_hit(tracer: Tracer, method: str, route: str, target: str, status: int) -> None:
    """Note a request that the cache answered on the spot."""
    tracer.hit(f"{method} {route}", {
        "http.request.method": method, "http.route": route, "url.path": shown(target),
        "http.response.status_code": status, "bazar.served_by": tracer.node,
        "bazar.cache": "bazar; hit",
    })  # fmt: skip
