"""What `common/ordinary.py` and `common/protocol.py` lean on in the pinned uvicorn and httptools. A
red test here means: read the new source of HttpToolsProtocol, then the overrides.
"""

from __future__ import annotations

import asyncio
import inspect
import re
from collections.abc import Callable, Sequence
from pathlib import Path

import httptools
import pytest
import uvicorn
from flask import Flask
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import ServerState

from common.gate import REMEMBERED_MAX, Gate
from common.intake import HEADER_BYTES_MAX
from common.plain import is_plain
from common.protocol import Protocol
from common.service import Again, Call, Lane, Service
from common.turn import CALLS_MAX
from common.wsgi import Answer, answer_of

PINNED = (Path(__file__).parents[2] / "requirements.txt").read_text("utf-8")
GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"
TWICE = b"POST / HTTP/1.1\r\nHost: a\r\nX: 1\r\nX: 2\r\n\r\n"  # not plain: it gets a task


class Transport(asyncio.Transport):
    """Remembers what is written."""

    def __init__(self) -> None:
        super().__init__({"sockname": ("127.0.0.1", 80), "peername": ("127.0.0.1", 1234)})
        self.written = b""
        self.closed = False
        self.on_write: Callable[[], None] = lambda: None

    def write(self, data: bytes) -> None:  # type: ignore[override]
        self.written += data
        self.on_write()

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


class Together(Again):
    """Answers calls with their targets, and remembers which came together."""

    def __init__(self) -> None:
        self.turns: list[list[bytes]] = []

    def asked(self, call: Call) -> bytes:
        return call.target

    def answers(self, asked: Sequence[bytes]) -> list[Answer | None]:
        self.turns.append(list(asked))
        return [answer_of(200, (), target) for target in asked]


class Line:
    """A protocol whose service answers each call at once with its target; its loop stands still."""

    def __init__(
        self, at_once: Callable[[Call], Answer | None] | None = None, again: Again | None = None
    ) -> None:
        self.asked: list[bytes] = []
        self.loop = asyncio.new_event_loop()
        lanes = {"only": Lane(workers=1, waiting_max=0, body_bytes_max=100)}
        service = Service(
            Flask("line"), lanes, lambda *_: "only", at_once=at_once or self.echo, again=again
        )
        self.gate = Gate(service)
        self.protocol, self.transport = self.connect()

    def connect(self) -> tuple[Protocol, Transport]:
        """Open one more connection."""
        config = uvicorn.Config(
            self.gate, http=Protocol, ws="none", lifespan="off", log_config=None
        )
        protocol = Protocol(config, ServerState(), {}, _loop=self.loop)
        transport = Transport()
        protocol.connection_made(transport)
        return protocol, transport

    def turn(self) -> None:
        """Let the loop turn once."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def echo(self, call: Call) -> Answer:
        self.asked.append(call.target)
        return answer_of(200, (), call.target)

    def close(self) -> None:
        for task in self.protocol.tasks:
            task.cancel()
        if self.protocol.tasks:
            self.loop.run_until_complete(asyncio.wait(self.protocol.tasks))
        self.gate.close()
        self.loop.close()


@pytest.fixture
def line() -> Line:
    line = Line()
    yield line
    line.close()


def test_the_versions_are_the_ones_that_were_read() -> None:
    """Another version: read its HttpToolsProtocol before changing this line."""
    assert (uvicorn.__version__, httptools.__version__) == ("0.54.0", "0.9.0")
    assert "\nuvicorn==0.54.0\n" in PINNED
    assert "\nhttptools==0.9.0\n" in PINNED


def test_the_methods_we_override_and_call_are_there() -> None:
    """By name and by their parameters."""
    known = {
        "__init__": ["self", "config", "server_state", "app_state", "_loop"],
        "data_received": ["self", "data"],
        "on_message_begin": ["self"],
        "on_headers_complete": ["self"],
        "on_body": ["self", "body"],
        "on_message_complete": ["self"],
        "on_header": ["self", "name", "value"],
        "on_url": ["self", "url"],
        "send_400_response": ["self", "msg"],
        "timeout_keep_alive_handler": ["self"],
        "_unset_keepalive_if_required": ["self"],
        "on_response_complete": ["self"],
        "connection_made": ["self", "transport"],
        "connection_lost": ["self", "exc"],
        "eof_received": ["self"],
        "shutdown": ["self"],
    }
    found = {name: list(inspect.signature(getattr(HttpToolsProtocol, name)).parameters)
             for name in known}  # fmt: skip
    assert found == known


def test_the_attributes_we_use_are_there(line: Line) -> None:
    """On the protocol, its flow control and its cycles; and uvicorn sets no others of our names."""
    protocol, plain = line.protocol, vars(line.protocol).keys()
    for name in ("url", "headers", "expect_100_continue", "scope"):  # set when a message begins
        HttpToolsProtocol.on_message_begin(protocol)
        assert hasattr(protocol, name)
    assert {"parser", "transport", "flow", "cycle", "loop", "timeout_keep_alive"} <= plain
    assert {"config", "server", "client", "scheme", "tasks"} <= plain
    assert protocol.connections is protocol.server_state.connections
    assert uvicorn.Config("app", timeout_graceful_shutdown=5).timeout_graceful_shutdown == 5
    assert protocol.timeout_keep_alive_task is None
    assert FlowControl(line.transport).write_paused is False
    source = inspect.getsource(RequestResponseCycle)
    assert "self.response_complete = False" in source
    for name in ("scope", "flow", "keep_alive", "disconnected", "message_event", "on_response"):
        assert f"self.{name} = " in source
    assert "self.response_started = False" in source
    words = set(re.findall(r"\w+", inspect.getsource(HttpToolsProtocol)))
    ours = vars(protocol).keys() - {name for name in plain if name in words}
    assert {"_at_once", "_in_head", "_whole", "_begun", "_used", "_host", "_done"} <= ours
    assert {"_gate", "_piece", "_begins", "_hit", "_sole", "_taken", "_behind", "_last"} <= ours
    assert {"_known", "_turn", "_askers", "waits"} <= ours


def test_the_scope_is_not_read_before_the_loop_runs_again() -> None:
    """We put the raw target into it after the task has been made; and it is ours that is made."""
    source = inspect.getsource(HttpToolsProtocol)
    assert source.count("self._start_asgi_task(") == 2
    assert "create_task(" not in source.replace(
        inspect.getsource(HttpToolsProtocol._start_asgi_task), ""
    )


def test_calls_on_one_connection_are_answered_in_order(line: Line) -> None:
    """As many as come in one piece."""
    line.protocol.data_received(GET % 1 + GET % 2)
    line.protocol.data_received(GET % 3)
    assert line.asked == [b"/1", b"/2", b"/3"]
    assert line.transport.written == b"".join(
        b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n/%d" % number for number in (1, 2, 3)
    )


def test_a_call_in_pieces_goes_the_ordinary_way(line: Line) -> None:
    """So do those in the piece with its end."""
    line.protocol.data_received((GET % 1)[:20])
    line.protocol.data_received((GET % 1)[20:] + GET % 2)
    assert line.asked == []
    assert len(line.protocol.tasks) == len(line.protocol.pipeline) == 1


def test_nothing_overtakes_a_request_in_flight(line: Line) -> None:
    """What follows it goes the same way, behind it."""
    line.protocol.data_received(POST + GET % 1)
    assert (line.asked, line.transport.written) == ([], b"")
    assert len(line.protocol.pipeline) == 1


def test_the_same_bytes_again_are_the_same_call_again(line: Line) -> None:
    """Parsed once, asked each time, on every connection; two in one piece stay two."""
    for _ in range(3):
        line.protocol.data_received(GET % 1)
        line.protocol.data_received(GET % 2 + GET % 3)
        line.turn()
    assert line.asked == [b"/1", b"/2", b"/3"] * 3
    assert list(line.gate.known) == [GET % 1]


def test_known_calls_of_one_turn_are_answered_together() -> None:
    """At its end, by one call of the service; a connection has its answers in their order."""
    together = Together()
    line = Line(again=together)
    other, its_transport = line.connect()
    for protocol, number in ((line.protocol, 1), (line.protocol, 2)):
        protocol.data_received(GET % number)
    known = line.transport.written
    for protocol, number in ((line.protocol, 1), (other, 2)):
        protocol.data_received(GET % number)
    assert (line.transport.written, its_transport.written) == (known, b"")
    line.turn()
    assert together.turns == [[b"/1", b"/2"]]
    assert line.transport.written == known + answer_of(200, (), b"/1").wire
    assert its_transport.written == answer_of(200, (), b"/2").wire
    line.close()


@pytest.mark.parametrize("number", [2, 3])
def test_what_follows_a_known_call_in_its_turn_is_answered_behind_it(
    line: Line, number: int
) -> None:
    """Known or not, on the same connection."""
    for known in (1, 2):
        line.protocol.data_received(GET % known)
    line.protocol.data_received(GET % 1)
    line.protocol.data_received(GET % number)
    line.protocol.data_received(b"\0")
    assert line.asked == [b"/1", b"/2", b"/1", b"/%d" % number]
    bodies = re.findall(rb"\r\n\r\n(/.)", line.transport.written)
    assert bodies == line.asked
    assert line.transport.written.index(b"HTTP/1.1 400") > line.transport.written.rindex(b"200 OK")
    line.turn()
    assert len(line.asked) == 4


@pytest.mark.parametrize("end", ["eof_received", "shutdown"])
def test_what_ends_a_connection_comes_after_the_answer(line: Line, end: str) -> None:
    """A client that says no more still reads, and so does one whose server stops."""
    line.protocol.data_received(GET % 1)
    line.protocol.data_received(GET % 1)
    written: list[int] = []
    line.transport.on_write = lambda: written.append(line.transport.closed)
    getattr(line.protocol, end)()
    assert written == [False]
    assert line.transport.written.count(b"200 OK") == 2


def test_a_connection_that_has_gone_keeps_nobody_from_an_answer(line: Line) -> None:
    """Nothing is written to it."""
    other, its_transport = line.connect()
    line.protocol.data_received(GET % 1)
    for protocol in (line.protocol, other):
        protocol.data_received(GET % 1)
    line.transport.close()
    line.turn()
    assert line.transport.written.count(b"200 OK") == 1
    assert its_transport.written.count(b"200 OK") == 1


def test_a_turn_of_many_is_answered_before_its_end(line: Line) -> None:
    """The first of them does not wait for hundreds."""
    line.protocol.data_received(GET % 1)
    others = [line.connect() for _ in range(CALLS_MAX + 1)]
    for protocol, _ in others:
        protocol.data_received(GET % 1)
    assert [transport.written != b"" for _, transport in others] == [True] * CALLS_MAX + [False]
    line.turn()
    assert all(transport.written for _, transport in others)


def test_known_bytes_of_who_does_not_read_wait(line: Line) -> None:
    """Until the client has read what was answered before."""
    line.protocol.data_received(GET % 1)
    line.transport.on_write = line.protocol.pause_writing
    for _ in range(2):
        line.protocol.data_received(GET % 1)
        line.turn()
    assert line.asked == [b"/1", b"/1"]
    line.transport.on_write = lambda: None
    line.protocol.resume_writing()


def test_an_error_in_a_turn_is_left_to_the_ordinary_way(caplog: pytest.LogCaptureFixture) -> None:
    """Each of its calls is answered all the same."""

    def fail(call: Call) -> Answer | None:
        if len(asked) > 1:
            raise RuntimeError("nobody foresaw this")
        asked.append(call)
        return answer_of(200, (), b"hit")

    asked: list[Call] = []
    line = Line(fail)
    line.protocol.data_received(GET % 1)
    asked.append(asked[0])
    line.protocol.data_received(GET % 1)
    line.turn()
    assert "nobody foresaw this" in caplog.text
    assert line.protocol._in_flight()
    line.close()


def test_what_was_answered_at_once_and_is_no_more_goes_the_ordinary_way() -> None:
    """The bytes are remembered, never the answer."""
    answers = [answer_of(200, (), b"hit"), None]
    line = Line(lambda call: answers.pop(0))
    try:
        line.protocol.data_received(GET % 1)
        line.protocol.data_received(GET % 1)
        line.turn()
        assert line.transport.written.endswith(b"hit")
        assert line.protocol._taken is not None
    finally:
        line.close()


@pytest.mark.parametrize("head", [20, None])
def test_the_same_bytes_inside_another_message_are_no_call(line: Line, head: int | None) -> None:
    """In its body, or in its head: only the parser knows what they mean there."""
    line.protocol.data_received(GET % 1)
    before = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99\r\n\r\n"[:head]
    line.protocol.data_received(before)
    line.protocol.data_received(GET % 1)
    assert line.asked == [b"/1"]
    assert line.transport.written.count(b"200 OK") == 1


def test_the_same_bytes_behind_a_request_in_flight_wait_their_turn(line: Line) -> None:
    """Remembered or not, and whichever way that goes."""
    line.protocol.data_received(GET % 1)
    line.protocol.data_received(TWICE)
    line.protocol.data_received(GET % 1)
    assert line.asked == [b"/1"]
    assert len(line.protocol.pipeline) == 1


def test_the_same_bytes_behind_a_call_in_flight_wait_their_turn(line: Line) -> None:
    """They are not even parsed."""
    line.protocol.data_received(GET % 1)
    line.protocol.data_received(POST)
    line.protocol.data_received(GET % 1)
    assert line.asked == [b"/1"]
    assert line.protocol._behind == GET % 1


def test_few_bytes_are_remembered_and_not_too_many(line: Line) -> None:
    """A client that always asks in other words fills nothing up."""
    for number in range(REMEMBERED_MAX + 10):
        line.protocol.data_received(GET % number)
    line.protocol.data_received(b"GET /1 HTTP/1.1\r\nHost: a\r\nX: " + b"a" * 2000 + b"\r\n\r\n")
    assert len(line.gate.known) == 10


def test_garbage_behind_a_request_in_flight_waits_its_turn(line: Line) -> None:
    """The connection is closed once that is answered; a 400 now would pass for its answer."""
    line.protocol.data_received(POST + b"\0\0")
    assert (line.transport.written, line.transport.closed) == (b"", False)
    assert line.protocol.cycle.keep_alive is False


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: ..\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nAccept: x\r\nAccept: y\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nxG",
        b"GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        b"TRACE / HTTP/1.1\r\nHost: a\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * HEADER_BYTES_MAX + b"\r\n\r\n",
    ],
)
def test_what_is_not_plain_goes_the_ordinary_way(line: Line, request_: bytes) -> None:
    """The gate knows what to do with it."""
    line.protocol.data_received(request_)
    assert line.asked == []
    assert len(line.protocol.tasks) == 1


@pytest.mark.parametrize(
    "request_",
    [POST, b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx",
     b"OPTIONS / HTTP/1.1\r\nHost: a\r\n\r\n"],
)  # fmt: skip
def test_what_is_plain_and_by_itself_goes_without_a_task(line: Line, request_: bytes) -> None:
    """It is in flight all the same."""
    line.protocol.data_received(request_)
    assert (line.asked, len(line.protocol.tasks)) == ([], 0)
    assert line.protocol._in_flight()


class Heads:
    """Notes where a parser sees header blocks end."""

    def __init__(self) -> None:
        self.ended = 0

    def on_headers_complete(self) -> None:
        self.ended += 1


@pytest.mark.parametrize("end", [b"\n", b"\r", b"\n\r"])
@pytest.mark.parametrize("line_", range(4))
def test_the_parser_takes_no_end_of_a_line_but_crlf(end: bytes, line_: int) -> None:
    """So the first empty line ends a header block, as `plain.sole` has it; as uvicorn sets it."""
    ends = [b"\r\n"] * 4
    ends[line_] = end
    lines = (b"POST / HTTP/1.1", b"Host: a", b"Content-Length: 1", b"")
    heads = Heads()
    parser = httptools.HttpRequestParser(heads)
    parser.set_dangerous_leniencies(lenient_data_after_close=True)
    with pytest.raises(httptools.HttpParserError):
        parser.feed_data(b"".join(map(b"".join, zip(lines, ends, strict=True))) + b"x\r\n\r\n")
    assert heads.ended == 0


@pytest.mark.parametrize("length", [b"+1", b"-1", b"1,1", b"1, 1", b"0x1", b"1 1", b"", b"\xb9"])
def test_the_parser_takes_no_length_but_digits(length: bytes) -> None:
    """And so does `int`, of what it takes."""
    parser = httptools.HttpRequestParser(Heads())
    with pytest.raises(httptools.HttpParserError):
        parser.feed_data(b"POST / HTTP/1.1\r\nContent-Length: %s\r\n\r\nx" % length)


@pytest.mark.parametrize("byte", range(256))
def test_the_two_parsers_of_targets_agree(byte: int) -> None:
    """What begins with a slash and passes the one does not fail in the other, in the ordinary way,
    and is ASCII.
    """
    target = b"/a" + bytes((byte,)) + b"b"
    try:
        httptools.HttpRequestParser(Heads()).feed_data(b"GET %s HTTP/1.1\r\n\r\n" % target)
    except httptools.HttpParserError:
        return
    assert httptools.parse_url(target).path.isascii()


def test_an_idle_connection_is_closed_in_time(line: Line) -> None:
    """One timer however many hits there are; it closes what was not used between two of its ends,
    half a header block or none.
    """
    line.protocol.data_received(GET % 1 + GET % 2)
    first = line.protocol.timeout_keep_alive_task
    assert first is not None
    assert first.when() > line.loop.time()
    line.protocol.data_received(GET % 3)
    assert line.protocol.timeout_keep_alive_task is first
    line.protocol.timeout_keep_alive_handler()
    second = line.protocol.timeout_keep_alive_task
    assert second is not first
    line.protocol.data_received(b"GET /4 HT")
    line.protocol.timeout_keep_alive_handler()
    assert not line.transport.closed
    line.protocol.timeout_keep_alive_handler()
    assert line.transport.closed


def test_a_connection_in_use_is_not_closed(line: Line) -> None:
    """However long its answer takes."""
    line.protocol.data_received(TWICE)
    for _ in range(3):
        line.protocol.timeout_keep_alive_handler()
    assert not line.transport.closed


def test_who_does_not_read_is_not_answered_without_end(line: Line) -> None:
    """Once the transport's buffer is full, requests wait in their cycles."""
    line.transport.on_write = line.protocol.pause_writing
    line.protocol.data_received(b"".join(GET % number for number in range(100)))
    assert line.asked == [b"/0"]


def test_an_error_in_a_service_is_left_to_the_ordinary_way(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """It is logged, and the request is answered all the same."""

    def fail(call: Call) -> Answer | None:
        raise RuntimeError("nobody foresaw this")

    line = Line(fail)
    line.protocol.data_received(GET % 1)
    assert "nobody foresaw this" in caplog.text
    assert line.protocol._in_flight()
    line.close()


@pytest.mark.parametrize(
    "host", ["a", "shop.example:8000", "127.0.0.1", "[::1]:80", "a_b-c.d:65535"]
)
def test_plain_hosts(host: str) -> None:
    """What clients say."""
    assert is_plain(host.encode())


@pytest.mark.parametrize("host", ["", ".", "a..b", "a b", "a/b", "a:0", "a:65536", "ä", "x" * 64])
def test_hosts_that_are_not_plain(host: str) -> None:
    """Werkzeug refuses some of them."""
    assert not is_plain(host.encode())
