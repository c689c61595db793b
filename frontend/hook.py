"""What the other nodes call here: the invalidate hook and the status. Signed calls only.

Law: the hook waits for nothing but the cache's lock; a write waits for its answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response

from common.compact import compact
from common.direct import Asked
from common.errors import Problem
from common.fields import invalid
from common.web import direct_of, json_answer, json_object
from frontend.cache import Cache

INVALIDATE, STATUS = "/internal/invalidate", "/status"
PATHS = (INVALIDATE, STATUS)
_MEMBERS = {"session": str, "epoch": int, "seq": int, "hash": str, "keys": list}


class Hook:
    """The internal calls as views."""

    def __init__(self, cache: Cache[Any], status: Callable[[], Mapping[str, Any]]) -> None:
        self._cache = cache
        self._status = status

    def register(self, app: Flask) -> None:
        """Give an app the internal calls."""
        direct_of(app).post(app, INVALIDATE)(self.invalidate)
        app.get(STATUS)(self.status)

    def invalidate(self, asked: Asked) -> str:
        """Forget what a write makes stale; say whether that settles it for the session named."""
        told = _checked(json_object(asked.body))
        acknowledged = self._cache.invalidate(
            told["session"], told["epoch"], told["seq"], told["keys"]
        )
        answer = {"acknowledged": acknowledged, "seq": told["seq"], "hash": told["hash"]}
        return compact(answer)

    def status(self) -> Response:
        """Answer what `/cluster` shows of this node."""
        return json_answer(self._status())


def _checked(body: Mapping[str, Any]) -> Mapping[str, Any]:
    for name, kind in _MEMBERS.items():
        if type(body.get(name)) is not kind:
            raise invalid(name, f"must be a {kind.__name__}")
    if not all(isinstance(key, str) for key in body["keys"]):
        raise Problem("invalid-request", "keys: must be strings", field="keys")
    return body
