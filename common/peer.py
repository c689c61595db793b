"""One remote service: signed calls with a timeout, and typed errors.

`Http` is the one send port: `requests` implements it here, the simulator elsewhere; with `Calls` a
thread has several under way. Law: `NotSent` is raised only when not a byte of the request can have
reached the other side; whatever else goes wrong is `NoAnswer`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlencode

import requests
import requests.adapters
import urllib3.exceptions

from common.auth import Signer
from common.errors import parse
from common.openspan import NOT_TRACED, AnySpan
from common.tasks import Tasks
from common.trace import Contexts, Value
from common.tracer import Tracer

CONNECT_TIMEOUT_S = 1.0
TIMEOUT_HEADER = "Bazar-Timeout-Ms"

_VARIES = re.compile("/[^/]*[0-9][^/]*")


class PeerDown(Exception):
    """The other side did not answer."""


class NotSent(PeerDown):
    """The connection was refused: nothing was sent, nothing can have happened."""


class NoAnswer(PeerDown):
    """Timed out or broke off: the other side may or may not have acted."""


@dataclass(frozen=True)
class Request:
    """A call on its way: `to` is the node's name, `target` the path with its query."""

    to: str
    url: str
    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes
    timeout_s: float


@dataclass(frozen=True)
class Response:
    """An answer; header names are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def header(self, name: str) -> str:
        """Return a header's value, or the empty string."""
        return self.headers.get(name.lower(), "")

    def json(self) -> Any:
        """Return the body parsed as JSON."""
        return json.loads(self.body)


class Http(Protocol):
    """Sends one request and returns its answer, whatever its status."""

    def send(self, request: Request) -> Response:
        """Return the answer; raise `NotSent` or `NoAnswer`."""


Answered = Callable[[], Response]  # returns the answer, or raises `NotSent` or `NoAnswer`


class Calls(Protocol):
    """The calls that one thread has under way at the same time; none waits for another."""

    def begin(self, request: Request, done: Callable[[Answered], None]) -> None:
        """Send a request; `done` gets its answer once, from `wait`."""

    def wait(self, timeout_s: float) -> None:
        """Wait until a call ends or the time is over, and give those that have ended to `done`."""

    def abandon(self) -> None:
        """Forget what is under way: nobody waits for these answers any more."""


class CallsHttp(Http, Protocol):
    """`Http` for those who have several calls under way."""

    def calls(self, tasks: Tasks) -> Calls:
        """Return a way to send that waits for nothing; what would block is left to a task."""


class RequestsHttp:
    """`Http` over a `requests` session with a pool of kept connections."""

    def __init__(self, pool_connections: int = 64) -> None:
        self._session = requests.Session()
        self._session.trust_env = False  # proxies are not for calls inside the cluster
        adapter = requests.adapters.HTTPAdapter(pool_maxsize=pool_connections)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)

    def send(self, request: Request) -> Response:
        timeout = (min(CONNECT_TIMEOUT_S, request.timeout_s), request.timeout_s)
        try:
            answer = self._session.send(_prepared(request), timeout=timeout, allow_redirects=False)
        except requests.RequestException as error:
            if _never_connected(error):
                raise NotSent(f"{request.to} cannot be reached") from error
            raise NoAnswer(f"{request.to} did not answer ({type(error).__name__})") from error
        lowered = {name.lower(): value for name, value in answer.headers.items()}
        return Response(answer.status_code, lowered, answer.content)


def _prepared(request: Request) -> requests.PreparedRequest:
    prepared = requests.PreparedRequest()
    headers = dict(request.headers)
    prepared.prepare(request.method, request.url, headers=headers, data=request.body or None)
    # After `prepare`, which would tidy the target up (`/orders/..` becomes `/`): the signature
    # covers it as it is.
    prepared.url = request.url + request.target
    return prepared


def _never_connected(error: requests.RequestException) -> bool:
    """Tell whether the connection was never made: urllib3 has errors of its own for that."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    return isinstance(error, requests.ConnectTimeout) or isinstance(
        reason, urllib3.exceptions.NewConnectionError | urllib3.exceptions.ConnectTimeoutError
    )


class Peer:
    """A node of the cluster as another one calls it."""

    def __init__(
        self, name: str, url: str, *, http: Http, signer: Signer, cluster: Callable[[], str],
        tracer: Tracer | None = None,
    ) -> None:  # fmt: skip
        self.name = name
        self._url = url
        self._http = http
        self._signer = signer
        self._cluster = cluster
        self._tracer = tracer

    def call(
        self,
        method: str,
        path: str,
        *,
        timeout_s: float,
        query: Mapping[str, Any] | None = None,
        document: Any = None,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        traced: Contexts | None = None,
        noted: Mapping[str, Value] | None = None,
    ) -> Response:
        """Send one call and return its 2xx or 304 answer.

        `document` is sent as JSON, `body` and `path` (percent-encoded) as they are. Raises the
        `Problem` the other side answered with, `NotSent` when nothing was sent, `NoAnswer` for
        everything else. `traced` says for whom this is done, if not for who is current; `noted`
        what its span says besides.
        """
        data = body if document is None else json.dumps(document, separators=(",", ":")).encode()
        target = path + ("?" + urlencode(query) if query else "")
        if traced is None and self._tracer is not None:
            traced = self._tracer.contexts
        if self._tracer is None or not traced:
            request = self._signed(method, target, data, timeout_s, headers or {})
            return self._checked(self._http.send(request))
        with self._described(self._tracer.call(_name(method, path), traced), noted) as span:
            more = {**(headers or {}), **span.headers()}
            request = self._signed(method, target, data, timeout_s, more)
            return self._answered(span, self._http.send(request))

    def begin(
        self,
        calls: Calls,
        path: str,
        done: Callable[[Answered], None],
        *,
        timeout_s: float,
        query: Mapping[str, Any] | None = None,
        document: Any = None,
        body: bytes = b"",
    ) -> None:
        """Send a POST as `call` does, without waiting; `done` gets what returns its answer, or
        raises what `call` raises.
        """
        data = body if document is None else json.dumps(document, separators=(",", ":")).encode()
        target = path + ("?" + urlencode(query) if query else "")
        span: AnySpan = NOT_TRACED
        if self._tracer is not None and self._tracer.contexts:
            span = self._described(self._tracer.begin_call(_name("POST", path)))
        request = self._signed("POST", target, data, timeout_s, span.headers())

        def checked(answered: Answered) -> Response:
            with span.ending():
                return self._answered(span, answered())

        calls.begin(request, lambda answered: done(lambda: checked(answered)))

    def _described(self, span: AnySpan, noted: Mapping[str, Value] | None = None) -> AnySpan:
        for name, value in {"server.address": self.name, **(noted or {})}.items():
            span.note(name, value)
        return span

    def _answered(self, span: AnySpan, answer: Response) -> Response:
        span.answered(answer.status)
        return self._checked(answer)

    def _signed(
        self, method: str, target: str, data: bytes, timeout_s: float, headers: Mapping[str, str]
    ) -> Request:
        signed = self._signer.headers(self.name, method, target, self._cluster(), data)
        extra = {TIMEOUT_HEADER: str(int(timeout_s * 1000)), **headers}
        return Request(self.name, self._url, method, target, signed | extra, data, timeout_s)

    def _checked(self, answer: Response) -> Response:
        if answer.status < 300 or answer.status == 304:
            return answer
        problem = parse(answer.body)
        if problem is None:
            raise NoAnswer(f"{self.name} answered {answer.status} with something that is not ours")
        raise problem


def _name(method: str, path: str) -> str:
    """Return what a call's span is called: without what varies."""
    return f"{method} {_VARIES.sub('/<>', path.partition('?')[0])}"
