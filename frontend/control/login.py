"""Who may enter the control room: whoever knows the admin token, until the cookie ends.

Law: the cookie holds no secret and cannot be made without the token (HMAC under a key derived from
it), so every frontend with this token knows it, and a new token ends it. Passwords are not to be
guessed at speed: after a few wrong ones each further attempt waits for a pause that grows.
"""

from __future__ import annotations

import functools
import hmac
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from flask import Flask, Response, request

from common.clock import Clock
from common.errors import Problem
from frontend.page import page

COOKIE, PATH = "bazar_operator", "/ops"
LASTS_S = 12 * 3600
FREE_ATTEMPTS, PAUSE_S_MAX, FORGOTTEN_S = 3, 16, 600.0
REQUESTED_BY = ("X-Requested-By", "bazar")  # what no form of another site can send

View = Callable[..., Any]


class Attempts:
    """How soon another password may be tried; `lock` is taken for a few steps at a time."""

    def __init__(self, *, lock: AbstractContextManager[object]) -> None:
        self._lock = lock
        self._wrong = 0
        self._last = 0.0

    def take(self, now: float) -> float:
        """Return for how many seconds to wait; 0: try, and call `succeeded` if it was right."""
        with self._lock:
            if now - self._last > FORGOTTEN_S:
                self._wrong = 0
            left_s = self._last + self._pause_s() - now
            if left_s > 0:
                return left_s
            self._wrong, self._last = self._wrong + 1, now
            return 0.0

    def succeeded(self) -> None:
        """Forget the wrong ones."""
        with self._lock:
            self._wrong = 0

    def _pause_s(self) -> float:
        beyond = self._wrong - FREE_ATTEMPTS
        return 0.0 if beyond < 0 else float(min(2**beyond, PAUSE_S_MAX))


class Login:
    """The form, the cookie, and the guard of everything else."""

    def __init__(self, token: str, *, clock: Clock, lock: AbstractContextManager[object]) -> None:
        self._token = token.encode()
        self._key = hmac.digest(self._token, b"bazar control room", "sha256")
        self._clock = clock
        self._attempts = Attempts(lock=lock)

    def register(self, app: Flask) -> None:
        """Give an app the form and the way out."""
        app.get("/ops/login")(self.form)
        app.post("/ops/login")(self.enter)
        app.post("/ops/logout")(self.leave)

    def required(self, view: View) -> View:
        """Guard a view: without the cookie a page leads to the form, all else is 401. An action
        must also come from one of our own scripts.
        """

        @functools.wraps(view)
        def guarded(**arguments: Any) -> Any:
            if not self._known(request.cookies.get(COOKIE, "")):
                if request.path.startswith(("/ops/data/", "/ops/do/")):
                    raise Problem("unauthorized", "sign in at /ops/login first")
                return _to(f"/ops/login?next={request.path}")
            name, value = REQUESTED_BY
            if request.method == "POST" and request.headers.get(name) != value:
                raise Problem("invalid-request", f"an action needs the header {name}: {value}")
            return view(**arguments)

        return guarded

    def form(self) -> Response:
        """Show the form."""
        return page("ops/login.html", next=_within(request.args.get("next", "")))

    def enter(self) -> Response:
        """Take a token; set the cookie and lead to where the operator wanted to go."""
        onward, given = _within(request.form.get("next", "")), request.form.get("token", "")
        wait_s = self._attempts.take(self._clock.now())
        if wait_s > 0:
            answer = page("ops/login.html", 429, next=onward, wait_s=int(wait_s) + 1)
            answer.headers["Retry-After"] = str(int(wait_s) + 1)
            return answer
        if not (self._token and hmac.compare_digest(given.strip().encode(), self._token)):
            return page("ops/login.html", 403, next=onward, wrong=True)
        self._attempts.succeeded()
        answer = _to(onward)
        answer.set_cookie(
            COOKIE, self._cookie(), max_age=LASTS_S, path=PATH, httponly=True,
            samesite="Strict", secure=request.is_secure,
        )  # fmt: skip
        return answer

    def leave(self) -> Response:
        """Forget the cookie, and show the form."""
        answer = _to("/ops/login")
        answer.delete_cookie(COOKIE, path=PATH, httponly=True, samesite="Strict")
        return answer

    def _cookie(self) -> str:
        ends = str(int(self._clock.wall().timestamp()) + LASTS_S)
        return f"{ends}.{self._signed(ends)}"

    def _known(self, cookie: str) -> bool:
        ends, _, signature = cookie.partition(".")
        same = hmac.compare_digest(signature.encode(), self._signed(ends).encode())
        return same and int(ends) > self._clock.wall().timestamp()

    def _signed(self, ends: str) -> str:
        return hmac.digest(self._key, ends.encode(), "sha256").hex()


def _to(path: str) -> Response:
    return Response(status=303, headers={"Location": path})


def _within(path: str) -> str:
    """Return where to go after the form: never out of the control room."""
    plain = path.isascii() and path.replace("/", "").isalnum()
    return path if plain and path.startswith("/ops") and "//" not in path else "/ops"
