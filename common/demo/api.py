"""The controller's calls, for the frontends of its demo: signed as all calls inside a cluster are.

Law: only one who has the cluster's secret can break anything.
"""

from __future__ import annotations

import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import uvicorn

from common.auth import Signer
from common.demo import wishes
from common.demo.controller import Demo
from common.demo.links import HOST
from common.errors import Problem

log = logging.getLogger("bazar.demo")

BODY_BYTES_MAX = 4096
ACTIONS = {"/fault": wishes.fault, "/schedule": wishes.schedule, "/load": wishes.load}

Scope = Mapping[str, Any]
Receive = Callable[[], Awaitable[Mapping[str, Any]]]
Send = Callable[[Mapping[str, Any]], Awaitable[None]]


class Api:
    """The calls as an ASGI app."""

    def __init__(self, demo: Demo, signer: Signer) -> None:
        self._demo = demo
        self._signer = signer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        try:
            body = await _body(receive)
            self._check(scope, body)
            await _answer(send, 200, await self._do(scope, body))
        except Problem as problem:
            await _answer(send, problem.status, problem.body(), problem.headers())
        except Exception:
            log.exception("unexpected error in %s", scope["path"])
            failed = Problem("unavailable", "an unexpected error; the demo's terminal shows it")
            await _answer(send, failed.status, failed.body(), failed.headers())

    def _check(self, scope: Scope, body: bytes) -> None:
        headers = {
            name.decode("latin-1").title(): value.decode("latin-1")
            for name, value in scope["headers"]
        }
        target = scope["raw_path"].decode("latin-1")
        if scope["query_string"]:
            target += "?" + scope["query_string"].decode("latin-1")
        self._signer.check(headers, scope["method"], target, body)

    async def _do(self, scope: Scope, body: bytes) -> Mapping[str, Any]:
        if (scope["method"], scope["path"]) == ("GET", "/state"):
            return self._demo.shown()
        if scope["method"] != "POST" or scope["path"] not in ACTIONS:
            raise Problem("not-found", f"nothing lives at {scope['path']}")
        await ACTIONS[scope["path"]](self._demo, _document(body))
        return {}


async def _body(receive: Receive) -> bytes:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
        if len(body) > BODY_BYTES_MAX:
            raise Problem("too-large", f"a body holds at most {BODY_BYTES_MAX} bytes")
    return body


def _document(body: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise Problem("invalid-request", "the body is not JSON") from None
    if not isinstance(document, dict):
        raise Problem("invalid-request", "the body must be a JSON object")
    return document


async def _answer(
    send: Send, status: int, document: Mapping[str, Any], headers: Mapping[str, str] | None = None
) -> None:
    body = json.dumps(document, separators=(",", ":")).encode()
    told = {"Content-Type": "application/json"} | dict(headers or {})
    told["Content-Length"] = str(len(body))
    pairs = [(name.encode(), value.encode()) for name, value in told.items()]
    await send({"type": "http.response.start", "status": status, "headers": pairs})
    await send({"type": "http.response.body", "body": body})


class Server(uvicorn.Server):
    """uvicorn on the controller's loop; signals are the controller's business."""

    def __init__(self, api: Api, port: int) -> None:
        super().__init__(
            uvicorn.Config(
                api, host=HOST, port=port, http="httptools", ws="none", lifespan="off",
                interface="asgi3", log_config=None, access_log=False, proxy_headers=False,
                server_header=False, timeout_graceful_shutdown=1,
            )
        )  # fmt: skip

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave them alone."""
        yield
