"""What the other nodes call here: the invalidate hook and the status. Signed calls only.

Law: the hook waits for nothing but the cache's lock; a write waits for its answer. So a signed
invalidation of ordinary size is answered on the event loop, another one in the hook's own lane.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from flask import Flask, Response

from common.compact import compact
from common.direct import Asked
from common.errors import Problem
from common.fields import invalid
from common.service import Call, Reply
from common.web import direct_of, json_answer, json_object
from frontend.cache import Cache

BRIEF_BYTES_MAX = 16 * 1024  # parsed in less time than it takes to wake a worker
INVALIDATE, STATUS = "/internal/invalidate", "/status"
PATHS = (INVALIDATE, STATUS)
_MEMBERS = {"session": str, "epoch": int, "seq": int, "hash": str, "keys": list}


class Hook:
    """The internal calls as views."""

    def __init__(
        self, app: Flask, cache: Cache[Any], status: Callable[[], Mapping[str, Any]]
    ) -> None:
        """Give an app the internal calls."""
        self._cache = cache
        self._status = status
        self._direct = direct_of(app)
        self._direct.post(app, INVALIDATE)(self.invalidate)
        app.get(STATUS)(self.status)

    def take(self, call: Call, reply: Reply) -> bool:
        """Answer a call on the event loop if it is a brief invalidation in order."""
        if call.target != INVALIDATE.encode() or len(call.body) > BRIEF_BYTES_MAX:
            return False
        answer = self._direct.answer(call)
        if answer is not None:
            reply(answer)
        return answer is not None

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
