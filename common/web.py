"""`new_app()`: a Flask app whose every answer keeps the public rules.

Errors are problem+json, nothing is a 500, bodies are bounded and strict JSON, internal calls are
checked before a route sees them, and `/livez`, `/readyz`, `/metrics` are there.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from werkzeug.exceptions import HTTPException
from werkzeug.routing import Rule

from common.auth import CLUSTER, Signer
from common.clock import Clock
from common.compact import compact
from common.direct import Direct, seconds_of
from common.errors import Problem, unexpected
from common.peer import TIMEOUT_HEADER
from common.service import INTERNAL_BODY_BYTES_MAX, PUBLIC_BODY_BYTES_MAX
from common.spanned import SPANS, Entry, Spanned, not_traced, spans_of
from common.tracer import Tracer

log = logging.getLogger("bazar")

OPEN_PATHS = ("/livez", "/readyz", "/metrics")
HTTP_CODES = {404: "not-found", 405: "method-not-allowed", 413: "too-large"}


class MatchingRule(Rule):
    """A route that can be matched only: Bazar builds no URLs, and to compile what builds them took
    more than half of making an app (13 ms), and a quarter of a simulated schedule.
    """

    def _compile_builder(self, append_unknown: bool = True) -> Callable[..., tuple[str, str]]:
        return lambda **values: ("", "")


@dataclass(frozen=True)
class Readiness:
    """Whether a node can answer reads and writes, and if not, why."""

    reads: bool
    writes: bool
    why: str


def new_app(
    name: str,
    *,
    clock: Clock,
    signer: Signer,
    cluster: Callable[[], str],
    internal: Callable[[str], bool],
    readiness: Callable[[], Readiness],
    registry: CollectorRegistry,
    tracer: Tracer,
    entry: Entry = not_traced,
) -> Flask:
    """Return an app with the rules in and no routes yet.

    `internal(path)` says which paths take signed calls only; `cluster()` is this node's cluster id,
    or "" while it knows none. A checked call finds its sender in `g.sender`, and in `g.until` when
    its caller stops waiting. `entry` begins the span of a request from outside.
    """
    app = Flask(name, static_folder=None)
    app.url_rule_class = MatchingRule
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True

    def is_guarded(path: str) -> bool:
        return path == SPANS or internal(path)

    @app.before_request
    def check_call() -> None:
        guarded = is_guarded(request.path)
        request.max_content_length = INTERNAL_BODY_BYTES_MAX if guarded else PUBLIC_BODY_BYTES_MAX
        if guarded:
            # The signature covers the target as it was sent, not Werkzeug's decoded path.
            body = request.get_data()
            g.sender = signer.check(request.headers, request.method, raw_target(), body, cluster())
            g.until = clock.now() + seconds_of(request.headers.get(TIMEOUT_HEADER, ""))

    @app.after_request
    def label(response: Response) -> Response:
        response.headers.setdefault("Cache-Control", "no-store")
        if is_guarded(request.path):
            response.headers[CLUSTER] = cluster()
        return response

    app.register_error_handler(Problem, problem_response)
    app.register_error_handler(HTTPException, http_problem)
    app.register_error_handler(Exception, _unexpected)
    _health(app, readiness, registry)
    app.get(SPANS)(lambda: spans_of(tracer, query(("trace", "last"))))
    app.wsgi_app = Spanned(app.wsgi_app, tracer, is_guarded, entry)  # type: ignore[method-assign]
    app.extensions["bazar.direct"] = Direct(
        clock=clock, signer=signer, cluster=cluster, tracer=tracer
    )
    return app


def direct_of(app: Flask) -> Direct:
    """Return the calls of an app that are answered without it."""
    direct = app.extensions["bazar.direct"]
    assert isinstance(direct, Direct)
    return direct


def raw_target() -> str:
    """Return the request's path with its query as they came over the wire."""
    raw = request.environ.get("RAW_URI")
    return str(raw) if raw is not None else request.full_path.rstrip("?")


def problem_response(problem: Problem) -> Response:
    """Write a problem as an answer."""
    return Response(json.dumps(problem.body()), problem.status, headers=problem.headers())


def http_problem(error: HTTPException) -> Response:
    """Write what Werkzeug refused as a problem."""
    code = HTTP_CODES.get(error.code or 400, "invalid-request")
    if error.code is not None and error.code < 400 and error.response is None:
        return error.get_response()  # type: ignore[return-value]  # a redirect
    details = {
        "not-found": f"nothing lives at {request.path}",
        "method-not-allowed": f"{request.path} does not take {request.method}",
        "too-large": f"a body holds at most {request.max_content_length or 0} bytes",
    }
    response = problem_response(Problem(code, details.get(code) or str(error.description)))
    for header, value in error.get_headers():
        if header == "Allow":
            response.headers[header] = value
    return response


def _unexpected(error: Exception) -> Response:
    """Log what nobody foresaw, and say honestly whether the client may just try again."""
    log.exception("unexpected error in %s %s", request.method, request.path, exc_info=error)
    return problem_response(unexpected(request.method, request.headers.get("Idempotency-Key")))


def _health(app: Flask, readiness: Callable[[], Readiness], registry: CollectorRegistry) -> None:
    @app.get("/livez")
    def livez() -> dict[str, bool]:
        return {"alive": True}

    @app.get("/readyz")
    def readyz() -> tuple[dict[str, Any], int]:
        ready = readiness()
        return asdict(ready), 200 if ready.reads else 503

    @app.get("/metrics")
    def metrics() -> Response:
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)


def json_answer(
    document: Any, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """Write a document as compact JSON, UTF-8 as it is."""
    text = compact(document)
    return Response(text, status, content_type="application/json", headers=dict(headers or {}))


def json_body(*, optional: bool = False) -> dict[str, Any]:
    """Return the body, a JSON object whatever its Content-Type; an absent one is {} if optional."""
    if optional and not request.get_data().strip():
        return {}
    return json_object(request.get_data())


def json_object(raw: bytes) -> dict[str, Any]:
    """Parse strict JSON that is an object."""
    document = strict_json(raw)
    if not isinstance(document, dict):
        raise Problem("invalid-request", "the body must be a JSON object")
    return document


def strict_json(raw: bytes) -> Any:
    """Parse JSON: UTF-8, no member twice, no NaN; raise `invalid-request` for anything else."""
    try:
        text = raw.decode("utf-8")
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except UnicodeDecodeError:
        raise Problem("invalid-request", "the body is not UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise Problem("invalid-request", f"the body is not JSON: {str(error)[:200]}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    document = dict(pairs)
    if len(document) != len(pairs):
        raise ValueError("a member stands in it twice")
    return document


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def query(allowed: Collection[str]) -> dict[str, str]:
    """Return the query parameters; raise `invalid-request` for one unknown or given twice."""
    found: dict[str, str] = {}
    for name, values in request.args.lists():
        if name not in allowed:
            known = ", ".join(sorted(allowed)) or "none"
            detail = f"{name[:100]}: no such parameter here (known: {known})"
            raise Problem("invalid-request", detail)
        if len(values) > 1:
            raise Problem("invalid-request", f"{name}: given twice")
        found[name] = values[0]
    return found
