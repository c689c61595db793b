"""What a service hands to whoever runs it: its Flask app, lanes, tickers, loops, and its end.

`serve.py` runs it with threads and a socket, the simulator with greenlets and neither.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol

from flask import Flask

from common.errors import Problem
from common.wsgi import Answer

PUBLIC_BODY_BYTES_MAX = 64 * 1024
INTERNAL_BODY_BYTES_MAX = 16 * 1024 * 1024


class StartRefused(Exception):
    """Raised by `create_app`: this node must not start as things are; the message says why."""


class Call(NamedTuple):
    """A whole request: its target as it was sent, its headers' names in lower case, each once; its
    host is a plain one.
    """

    method: str
    target: bytes
    headers: Mapping[bytes, bytes]
    body: bytes = b""


Reply = Callable[[Answer], None]


class Again(Protocol):
    """Answers calls that come again, several together, each as `at_once` would."""

    def asked(self, call: Call) -> Any:
        """Return what never changes of a call."""

    def answers(self, asked: Sequence[Any]) -> Sequence[Answer | None]:
        """Answer calls as `asked` returned them."""


@dataclass(frozen=True)
class Lane:
    """A bounded pool of workers of its own: a stuck kind of request never starves the others."""

    workers: int
    waiting_max: int
    body_bytes_max: int


@dataclass(frozen=True)
class Ticker:
    """Something to do again and again, `interval_s` after it last ended."""

    name: str
    interval_s: float
    run: Callable[[], None]


@dataclass(frozen=True)
class Service:
    """One node, built but not running.

    `at_once` may answer a GET or HEAD without a body on the event loop, ahead of Flask and exactly
    as Flask would; it waits for nothing. None: the call goes to Flask. `again` has a shorter way
    for calls that come again. `later` may take any other call in the same way, and gives its answer
    to `reply`, once, from whatever thread. `direct` may answer one in a worker of its lane, where
    it may wait, and again as Flask would. `explained` may put a problem that Flask never saw (a
    lane is full, the node ends) into words for who came for this path with this `Accept`.
    `one_core`: its threads hardly ever run without the interpreter's lock, so that on several cores
    they only steal it from one another.
    """

    flask: Flask
    lanes: Mapping[str, Lane]
    lane_of: Callable[[str, str], str]  # (method, path) -> name of a lane
    tickers: Sequence[Ticker] = ()
    at_once: Callable[[Call], Answer | None] = lambda call: None
    again: Again | None = None  # None: `at_once`, one by one
    later: Callable[[Call, Reply], bool] = lambda call, reply: False
    direct: Callable[[Call], Answer | None] = lambda call: None
    explained: Callable[[Problem, str, bytes], Answer | None] = lambda problem, path, accept: None
    one_core: bool = False
    loops: Mapping[str, Callable[[], None]] = field(default_factory=dict)  # each until `stop`
    leave: Callable[[], None] = lambda: None  # at the signal: give back what others wait for
    stop: Callable[[], None] = lambda: None  # once nothing is in flight: end the loops
    close: Callable[[], None] = lambda: None  # after the last request: close files


def service_of(app: Flask) -> Service:
    """Return the service that `create_app` put into a Flask app."""
    service = app.extensions["bazar"]
    assert isinstance(service, Service)
    return service
