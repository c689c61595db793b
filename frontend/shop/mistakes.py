"""Tells people what went wrong, in the words of a shop, and what they can safely do about it.

Law: who asked for a page (`Accept` names text/html) gets one, with the status and the headers of
the problem; everybody else gets the problem document as from any other call.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response, request
from werkzeug.exceptions import HTTPException

from common import wsgi
from common.errors import Problem, unexpected
from common.web import http_problem, problem_response, raw_target
from frontend.page import HEADERS
from frontend.shop.apologies import AT_THE_DOOR, BUYING, LOOKING, MISSING, STILL_UNKNOWN, Words
from frontend.shop.showing import show

log = logging.getLogger("bazar.frontend")


def register(app: Flask) -> None:
    """Have addresses that do not exist answered with a page where one was asked for."""

    def lost(error: HTTPException) -> Response:
        answer = http_problem(error)
        if request.url_rule is not None or answer.status_code < 400 or not wants_page():
            return answer
        code = "not-found" if answer.status_code == 404 else "invalid-request"
        page = _page(Problem(code, ""), LOOKING[code], answer.status_code)
        if "Allow" in answer.headers:
            page.headers["Allow"] = answer.headers["Allow"]
        return page

    app.register_error_handler(HTTPException, lost)


def at_the_door(app: Flask) -> Callable[[Problem, str, bytes], wsgi.Answer | None]:
    """Return what tells people who came for one of the shop's pages of a problem that Flask never
    saw. Each page is made once, the first time: who is turned away because too many have come must
    cost little.
    """
    shop = app.url_map.bind("shop")

    @functools.cache
    def page(words: Words) -> bytes:
        return app.jinja_env.get_template("shop/mistake.html").render(words=words).encode()

    def is_page(path: str) -> bool:
        try:
            endpoint, _ = shop.match(path, method="GET")
        except HTTPException as error:
            return error.code == 404
        return str(endpoint).startswith("shop.")

    def explained(problem: Problem, path: str, accept: bytes) -> wsgi.Answer | None:
        if b"text/html" not in accept or not is_page(path):
            return None
        words = AT_THE_DOOR.get(problem.code) or LOOKING.get(problem.code)
        headers = problem.headers() | HEADERS | {"Content-Type": "text/html; charset=utf-8"}
        return wsgi.answer_of(
            problem.status, headers.items(), page(words or LOOKING["invalid-request"])
        )

    return explained


def explain_all(shop: Blueprint) -> None:
    """Have what goes wrong on the shop's pages explained."""

    def refused_by_werkzeug(error: HTTPException) -> Response:
        code = "too-large" if error.code == 413 else "invalid-request"
        return explained(Problem(code, "")) if wants_page() else http_problem(error)

    def unforeseen(error: Exception) -> Response:
        log.exception("unexpected error in %s %s", request.method, request.path, exc_info=error)
        return explained(unexpected(request.method, None))

    shop.register_error_handler(Problem, explained)
    shop.register_error_handler(HTTPException, refused_by_werkzeug)
    shop.register_error_handler(Exception, unforeseen)


def explained(problem: Problem, **more: Any) -> Response:
    """Answer with a problem met while looking around; `more` is for the template."""
    words = LOOKING.get(problem.code) or BUYING.get(problem.code, LOOKING["invalid-request"])
    if problem.code == "not-found" and request.url_rule:
        words = MISSING.get(request.url_rule.rule, words)
    return _answered(problem, words, **more)


def refused(problem: Problem, *, in_doubt: bool, **more: Any) -> Response:
    """Answer with a problem met at the till; `in_doubt`: an earlier try with this form may have
    gone through, so that "nothing was ordered" would say too much.
    """
    words = BUYING.get(problem.code, BUYING["invalid-request"])
    if in_doubt and problem.code in ("writes-unavailable", "rate-limited", "unavailable"):
        words = STILL_UNKNOWN
    return _answered(problem, words, **more)


def wants_page() -> bool:
    """Tell whether a page was asked for, not just anything."""
    return any(kind == "text/html" for kind, _ in request.accept_mimetypes)


def _answered(problem: Problem, words: Words, **more: Any) -> Response:
    if not wants_page():
        return problem_response(problem)
    return _page(problem, words, problem.status, **more)


def _page(problem: Problem, words: Words, status: int, **more: Any) -> Response:
    detail = problem.detail if problem.code == "invalid-request" else ""
    here = raw_target() if request.method == "GET" else ""
    response = show("mistake.html", status, words=words, detail=detail, here=here, **more)
    if problem.retry_after_s is not None:
        response.headers["Retry-After"] = str(problem.retry_after_s)
    response.headers["Vary"] = "Accept, Cookie"
    return response
