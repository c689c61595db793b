"""Writes HTML pages and serves the files they use; knows nothing of what a page is about.

Law: a page brings nothing from elsewhere and runs nothing that stands in it (a strict Content
Security Policy), so what a title or a name contains is text, whatever it contains.
"""

from __future__ import annotations

import functools
import hashlib
import mimetypes
from pathlib import Path
from typing import Any

from flask import Flask, Response, render_template, request
from markupsafe import Markup
from werkzeug.security import safe_join

from common.errors import Problem
from common.web import query

STATIC = Path(__file__).with_name("static")
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self';"
    " form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Vary": "Cookie",
}
FOR_EVER = "public, max-age=31536000, immutable"


def register(app: Flask) -> None:
    """Give an app the files that pages use, and templates the functions `static(name)`, for a
    file's address, and `drawing(name)`, for an SVG as part of the page.
    """
    app.jinja_env.globals.update(static=static_url, drawing=drawing)
    app.jinja_env.trim_blocks = app.jinja_env.lstrip_blocks = True
    app.get("/static/<path:name>")(static_file)


def page(template: str, status: int = 200, **context: Any) -> Response:
    """Return a page: a template of this service's, filled in."""
    return Response(
        render_template(template, **context),
        status,
        headers=HEADERS,
        content_type="text/html; charset=utf-8",
    )


def static_file(name: str) -> Response:
    """Answer a file; under the address that names its contents a browser may keep it for ever."""
    version = query(("v",)).get("v")
    path = safe_join(str(STATIC), name)
    if path is None or not Path(path).is_file():
        raise Problem("not-found", f"nothing lives at {request.path}")
    response = Response(Path(path).read_bytes(), content_type=_content_type(name))
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Cache-Control"] = FOR_EVER if version == _digest(name) else "no-cache"
    response.set_etag(_digest(name))
    response.make_conditional(request)
    return response


def static_url(name: str) -> str:
    """Return the address of a file and its contents."""
    return f"/static/{name}?v={_digest(name)}"


@functools.cache
def drawing(name: str) -> Markup:
    """Return an SVG file as markup: for an `<img>` a browser would ask once more, and make a
    document of its own, before the page counts as loaded.
    """
    return Markup((STATIC / name).read_text(encoding="utf-8").strip())


def _content_type(name: str) -> str:
    kind = mimetypes.types_map.get(Path(name).suffix, "application/octet-stream")
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind


@functools.cache
def _digest(name: str) -> str:
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]
