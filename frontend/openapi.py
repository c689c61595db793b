"""Describes the public API as an OpenAPI 3.1 document, made from the code that answers it.

Law: a call is in it if and only if a view of the app is named in `frontend/calls.py`.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask
from werkzeug.routing import Rule

from frontend.calls import (
    CALLS,
    HOMES,
    KEY_BACK,
    LOCATION,
    PATHS,
    READ_LABELS,
    TAGS,
    Call,
    of,
)
from frontend.schemas import SCHEMAS, Schema, content, problems

VERSION = "1"
METHODS = ("GET", "POST", "PATCH", "PUT", "DELETE")
TOKEN = "token"
ABOUT = (
    "JSON in and out. Money is whole cents, times are RFC 3339 in UTC. Errors are"
    " `application/problem+json` (RFC 9457) with a stable `code`. Send an `Idempotency-Key` with a"
    " write and repeat it as often as you like: it happens once, and you get the same answer again."
    " Unknown fields and parameters are refused."
)


def document(app: Flask) -> dict[str, Any]:
    """Return the whole description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "The API of Bazar", "version": VERSION, "description": ABOUT},
        "servers": [{"url": "/"}],
        "tags": [{"name": name, "description": about} for name, about in TAGS.items()],
        "paths": _paths(app),
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                TOKEN: {
                    "type": "http", "scheme": "bearer",
                    "description": "`ADMIN_TOKEN` of config/secrets.env",
                }
            },
        },
    }  # fmt: skip


def described(app: Flask) -> Iterator[tuple[Rule, str, str]]:
    """Yield each route that is described, its method and the name of its view."""
    for rule in app.url_map.iter_rules():
        view = app.view_functions[rule.endpoint]
        if view.__module__ in HOMES and view.__name__ in CALLS:
            for method in METHODS:
                if method in (rule.methods or ()):
                    yield rule, method, view.__name__


def address(rule: Rule) -> str:
    """Return a rule as OpenAPI writes it: `/lookup/<book>` is `/lookup/{book}`."""
    return re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)


def _paths(app: Flask) -> dict[str, Any]:
    order = list(CALLS)
    found = sorted(
        described(app), key=lambda each: (order.index(each[2]), -each[0].rule.count("l"))
    )
    paths: dict[str, Any] = {}
    names: set[str] = set()
    for rule, method, view in found:
        # An operation's name is its view's; another address of the same view has its own.
        name = view if view not in names else rule.rule.split("/")[1]
        names.add(name)
        path = paths.setdefault(address(rule), {})
        path[method.lower()] = _operation(app, rule, method, view, name)
    return paths


def _operation(app: Flask, rule: Rule, method: str, view: str, name: str) -> Schema:
    call = CALLS[view]
    operation: Schema = {
        "tags": [call.tag],
        "summary": call.summary,
        "description": inspect.getdoc(app.view_functions[rule.endpoint]) or call.summary,
        "operationId": name,
        "parameters": [*_in_path(rule), *call.parameters, *of(view, method)],
        "responses": _answers(call, method),
    }
    if call.body is not None:
        operation["requestBody"] = {"content": content(call.body), "required": call.body_required}
    if call.operator:
        operation["security"] = [{TOKEN: []}]
    return operation


def _in_path(rule: Rule) -> list[Schema]:
    return [
        {"name": name, "in": "path", "required": True, **PATHS[name]}
        for name in sorted(rule.arguments)
    ]


def _answers(call: Call, method: str) -> Schema:
    back = KEY_BACK if method != "GET" else {}
    headers = back | (READ_LABELS if call.cached else {}) | (LOCATION if call.located else {})
    success: Schema = {
        "description": call.summary, "content": content(call.answer, call.media_type),
    }  # fmt: skip
    if headers:
        success["headers"] = headers
    if call.leads_to:
        success["links"] = call.leads_to
    answers = {str(call.status): success}
    if call.cached:
        answers["304"] = {"description": "It is what you have", "headers": READ_LABELS}
    return dict(sorted((answers | problems(_errors(call)) | call.more).items()))


def _errors(call: Call) -> Iterable[str]:
    return (*call.errors, "unauthorized") if call.operator else call.errors
