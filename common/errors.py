"""Every error that crosses a wire: one table of code, status and title, used in both directions.

A server raises `Problem`; it is sent as RFC 9457 `application/problem+json`; `peer.py` raises the
very same `Problem` at the caller.
"""

from __future__ import annotations

import json
from typing import Any

PUBLIC: dict[str, tuple[int, str]] = {
    "invalid-request": (400, "The request is not valid"),
    "unauthorized": (401, "This call needs the operator's token"),
    "not-found": (404, "There is no such thing here"),
    "method-not-allowed": (405, "This address does not take this method"),
    "sold-out": (409, "Not enough copies left"),
    "in-progress": (409, "A request with this key is still running"),
    "too-large": (413, "The request is too large"),
    "idempotency-mismatch": (422, "This key was used for another request"),
    "rate-limited": (429, "Too many requests are waiting"),
    "writes-unavailable": (503, "Nothing was changed: writes are not possible now"),
    "outcome-unknown": (503, "The outcome is not known yet: ask again with the same key"),
    "unavailable": (503, "Nobody could answer now"),
}

INTERNAL: dict[str, tuple[int, str]] = {
    "not-leader": (421, "Another node leads"),
    "dirty": (409, "A write to this key is under way: ask the leader"),
    "unknown-session": (410, "This session has ended"),
    "fenced": (409, "A higher epoch has been promised"),
    "behind": (409, "Entries are missing here"),
    "too-far-behind": (410, "The log no longer holds these entries: take a snapshot"),
    "diverged": (409, "The copies differ"),
    "foreign-cluster": (409, "This belongs to another cluster"),
    "storage-failed": (507, "The disk did not take the write"),
}

TABLE = PUBLIC | INTERNAL
MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is an error: `code` from the table, a `detail` for people, further members."""

    def __init__(self, code: str, detail: str, *, retry_after_s: int = 1, **members: Any) -> None:
        super().__init__(f"{code}: {detail}")
        self.code = code
        self.detail = detail
        self.members = members
        self.status, self.title = TABLE[code]
        self.retry_after_s = retry_after_s if self.status in (429, 503) else None

    def body(self) -> dict[str, Any]:
        """Return the problem document (RFC 9457, section 3)."""
        head = {"type": "about:blank", "title": self.title, "status": self.status}
        return head | {"code": self.code, "detail": self.detail} | self.members

    def headers(self) -> dict[str, str]:
        """Return the headers that belong to the document."""
        headers = {"Content-Type": MEDIA_TYPE, "Cache-Control": "no-store"}
        if self.retry_after_s is not None:
            headers["Retry-After"] = str(self.retry_after_s)
        if self.code == "unauthorized":
            headers["WWW-Authenticate"] = "Bearer"
        return headers


def unexpected(method: str, key: str | None) -> Problem:
    """Return what to answer when something failed that nobody foresaw.

    A read may just be tried again; of anything else nobody can say whether it happened.
    """
    if method in ("GET", "HEAD", "OPTIONS"):
        return Problem("unavailable", "an unexpected error; it has been logged")
    detail = "an unexpected error; ask again with the same key"
    return Problem("outcome-unknown", detail, idempotency_key=key)


def parse(body: bytes) -> Problem | None:
    """Rebuild the problem a server answered with; None when the body is not one of ours."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return rebuilt(document)


def rebuilt(document: Any) -> Problem | None:
    """Rebuild a problem from its document; None when it is not one of ours."""
    try:
        problem = Problem(document["code"], str(document["detail"]))
    except (TypeError, KeyError):
        return None
    standard = ("type", "title", "status", "code", "detail")
    problem.members = {name: document[name] for name in document if name not in standard}
    return problem
