"""One request through a WSGI app (PEP 3333): from an ASGI scope and a body to a whole answer."""

from __future__ import annotations

import functools
import http
import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_to_bytes

from common.errors import Problem

Scope = Mapping[str, Any]
App = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

BODILESS = (204, 304)


@dataclass(frozen=True)
class Answer:
    """A whole answer, as ASGI sends it."""

    status: int
    headers: list[tuple[bytes, bytes]]
    body: bytes

    @property
    def head(self) -> bytes:
        """The status line and the headers as they go over the wire."""
        lines = [b"%s: %s" % header for header in self.headers]
        return b"\r\n".join((_status_line(self.status), *lines, b"", b""))

    @functools.cached_property
    def wire(self) -> bytes:
        """All of it as it goes over the wire."""
        return self.head + self.body


@functools.cache
def _status_line(status: int) -> bytes:
    return f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}".encode()


def path_of(scope: Scope) -> bytes:
    """Return the path, percent-decoded; of an absolute target (`GET http://host/path`) too."""
    raw: bytes = scope["raw_path"]
    if not raw.startswith(b"/") and b"://" in raw:
        raw = b"/" + raw.partition(b"://")[2].partition(b"/")[2]
    return unquote_to_bytes(raw)


def environ_of(scope: Scope, body: bytes) -> dict[str, Any]:
    """Return the environ of a request; RAW_URI is its target as it was sent."""
    query: bytes = scope["query_string"]
    host, port = scope["server"]
    environ = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": path_of(scope).decode("latin-1"),
        "QUERY_STRING": query.decode("latin-1"),
        "RAW_URI": (scope["raw_path"] + (b"?" + query if query else b"")).decode("latin-1"),
        "SERVER_NAME": host,
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "REMOTE_ADDR": scope["client"][0] if scope["client"] else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope["scheme"],
        "wsgi.input": io.BytesIO(body),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    _add_headers(environ, scope["headers"])
    # The body is whole, whether it came with a length or in chunks.
    environ.pop("HTTP_TRANSFER_ENCODING", None)
    environ["CONTENT_LENGTH"] = str(len(body))
    return environ


def _add_headers(environ: dict[str, Any], headers: Iterable[tuple[bytes, bytes]]) -> None:
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        if "_" in name:  # it would pass for the header of that name with a dash
            continue
        key = name.upper().replace("-", "_")
        if key not in ("CONTENT_TYPE", "CONTENT_LENGTH"):
            key = f"HTTP_{key}"
        separator = "; " if key == "HTTP_COOKIE" else ","
        environ[key] = f"{environ[key]}{separator}{value}" if key in environ else value


def call(app: App, environ: dict[str, Any]) -> Answer:
    """Return what a WSGI app answers."""
    head: list[Any] = []
    parts: list[bytes] = []

    def start_response(status: str, headers: Any, exc_info: Any = None) -> Callable[[bytes], None]:
        head[:] = [int(status[:3]), headers]
        return parts.append

    chunks = app(environ, start_response)
    try:
        parts.extend(chunks)
    finally:
        getattr(chunks, "close", lambda: None)()
    status, headers = head
    return answer_of(status, headers, b"".join(parts), head=environ["REQUEST_METHOD"] == "HEAD")


def of_problem(problem: Problem, *more: tuple[str, str]) -> Answer:
    """Return a problem as an answer, with more headers than its own."""
    headers = (*problem.headers().items(), *more)
    return answer_of(problem.status, headers, json.dumps(problem.body()).encode())


def answer_of(
    status: int, headers: Iterable[tuple[str, str]], body: bytes, *, head: bool = False
) -> Answer:
    """Return an answer, with a length unless it is one to HEAD (`head`) or has no body."""
    raw = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]
    if (
        not head
        and status not in BODILESS
        and not any(name == b"content-length" for name, _ in raw)
    ):
        raw.append((b"content-length", str(len(body)).encode()))
    return Answer(status, raw, body)
