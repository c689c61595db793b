"""`Calls` in which each call is a task of its own: for every `Http` that is no socket."""

from __future__ import annotations

from collections.abc import Callable

from common.peer import Answered, Http, PeerDown, Request, Response
from common.tasks import Tasks

Ended = tuple[object, Callable[[Answered], None], Answered]


class TaskCalls:
    """The calls of one task."""

    def __init__(self, http: Http, tasks: Tasks) -> None:
        self._http = http
        self._tasks = tasks
        self._changed = tasks.event()
        self._under_way: set[object] = set()
        self._ended: list[Ended] = []

    def begin(self, request: Request, done: Callable[[Answered], None]) -> None:
        call = object()
        self._under_way.add(call)

        def send() -> None:
            answered = self._answered(request)
            self._ended.append((call, done, answered))
            self._changed.set()

        self._tasks.spawn(f"call {request.to}", send)

    def _answered(self, request: Request) -> Answered:
        try:
            response = self._http.send(request)
        except PeerDown as error:
            failed = error

            def fail() -> Response:
                raise failed

            return fail
        return lambda: response

    def wait(self, timeout_s: float) -> None:
        self._changed.wait(timeout_s)
        self._changed.clear()
        ended, self._ended = self._ended, []
        for call, done, answered in ended:
            if call in self._under_way:
                self._under_way.remove(call)
                done(answered)

    def abandon(self) -> None:
        self._under_way.clear()
