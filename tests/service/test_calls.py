"""Calls of one thread under way at the same time, over real sockets: what is slow, broken, late or
gone at one of them is nothing to the others.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from common.calls import KeptCalls
from common.connections import Connections
from common.peer import Answered, NoAnswer, NotSent, PeerDown, Request
from common.tasks import Threads
from tests.support.answering import ANSWER, Act, Server, answer, call, read_request, reset
from tests.support.processes import free_ports
from tests.support.wait import wait_until

LONG_S = 10.0
OTHER = ANSWER.replace(b"ok", b"no")


class CountingThreads(Threads):
    """Counts what was left to other threads."""

    def __init__(self) -> None:
        super().__init__()
        self.spawned = self.ended = 0

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        def counted() -> None:
            run()
            self.ended += 1

        self.spawned += 1
        super().spawn(name, counted)


class Caller:
    """The one thread, with its calls and what they came to."""

    def __init__(self, pool: Connections, tasks: CountingThreads) -> None:
        self.pool = pool
        self.tasks = tasks
        self.calls: KeptCalls = pool.calls(tasks)
        self.told: dict[str, bytes | type[PeerDown]] = {}

    def begin(self, name: str, request: Request) -> None:
        def done(answered: Answered) -> None:
            assert name not in self.told
            try:
                self.told[name] = answered().body
            except PeerDown as error:
                self.told[name] = type(error)

        self.calls.begin(request, done)

    def wait_for(self, *names: str) -> None:
        """Wait until these calls have ended."""

        def ended() -> bool:
            self.calls.wait(0.05)
            return self.told.keys() >= set(names)

        wait_until(ended, LONG_S, f"the end of {names}, not only of {list(self.told)}")

    def known(self, server: Server) -> Server:
        """Have a connection to a server kept."""
        assert self.pool.send(call(server.url)).body == b"ok"
        return server


@pytest.fixture
def caller() -> Iterator[Caller]:
    with closing(Connections()) as pool:
        yield Caller(pool, CountingThreads())


@pytest.fixture
def servers() -> Iterator[list[Server]]:
    made = [Server(), Server(), Server()]
    yield made
    for server in made:
        server.close()


@pytest.fixture
def server(servers: list[Server]) -> Server:
    return servers[0]


@pytest.fixture
def over() -> Iterator[threading.Event]:
    """What a server waits for that holds its answer back."""
    event = threading.Event()
    yield event
    event.set()


def held(over: threading.Event, then: bytes = ANSWER, first: bytes = b"") -> Act:
    """Answer in part, and with the rest when it is over."""

    def act(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(first)
        over.wait(LONG_S)
        connection.sendall(then)
        return True

    return act


def test_all_are_sent_before_any_is_answered(caller: Caller, servers: list[Server]) -> None:
    """Each server answers only when all have been asked; no other thread had a part in it."""
    together = threading.Barrier(len(servers))

    def act(connection: socket.socket, request: bytes) -> bool:
        together.wait(LONG_S)
        return answer(ANSWER)(connection, request)

    for server in servers:
        caller.known(server).act = act
    names = [f"{number}" for number in range(len(servers))]
    for name, server in zip(names, servers, strict=True):
        caller.begin(name, call(server.url, method="POST", body=b"x"))
    caller.wait_for(*names)
    assert caller.told == dict.fromkeys(names, b"ok")
    assert [server.connections for server in servers] == [1, 1, 1]
    assert caller.tasks.spawned == 0


def test_a_connection_is_used_again_by_calls_and_by_others(caller: Caller, server: Server) -> None:
    """It goes back to where it was taken from, and blocks again for those who block."""
    caller.known(server)
    for name in ("one", "two"):
        caller.begin(name, call(server.url))
        caller.wait_for(name)
        caller.known(server)
    assert (server.connections, len(server.requests)) == (1, 5)


def test_a_slow_one_delays_no_other(
    caller: Caller, servers: list[Server], over: threading.Event
) -> None:
    """Its answer is read when it comes."""
    slow, fast = map(caller.known, servers[:2])
    slow.act = held(over)
    caller.begin("slow", call(slow.url))
    caller.begin("fast", call(fast.url))
    caller.wait_for("fast")
    assert caller.told == {"fast": b"ok"}
    over.set()
    caller.wait_for("slow")
    assert caller.told["slow"] == b"ok"


@pytest.mark.parametrize("first", [b"", ANSWER[:20], ANSWER[:-1]])
def test_each_has_a_deadline_of_its_own(
    caller: Caller, servers: list[Server], over: threading.Event, first: bytes
) -> None:
    """Silence, or half an answer and then silence, ends one call and not the other."""
    silent, slow = map(caller.known, servers[:2])
    silent.act, slow.act = held(over, first=first), held(over)
    caller.begin("silent", call(silent.url, timeout_s=0.1))
    caller.begin("slow", call(slow.url))
    caller.wait_for("silent")
    assert caller.told == {"silent": NoAnswer}
    over.set()
    caller.wait_for("slow")
    assert caller.told["slow"] == b"ok"


def test_time_is_over_though_bytes_go_on_coming(
    caller: Caller, server: Server, over: threading.Event
) -> None:
    """The limit is for the whole call, not for the next byte."""

    def trickle(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.wait(0.01):
            connection.sendall(b"X: y\r\n")
        return False

    caller.known(server).act = trickle
    caller.begin("trickle", call(server.url, timeout_s=0.2))
    caller.wait_for("trickle")
    assert caller.told == {"trickle": NoAnswer}


@pytest.mark.parametrize("how", ["late", "abandoned"])
def test_a_late_answer_is_not_taken_for_the_next_calls(
    caller: Caller, server: Server, over: threading.Event, how: str
) -> None:
    """What was given up, by the clock or by the caller, leaves no connection behind."""
    caller.known(server).act = held(over, OTHER)
    caller.begin(how, call(server.url, timeout_s=0.1 if how == "late" else LONG_S))
    wait_until(lambda: len(server.requests) == 2, LONG_S, "its arrival")
    if how == "late":
        caller.wait_for("late")
    else:
        caller.calls.abandon()
    server.act = answer(ANSWER)
    caller.begin("next", call(server.url))
    over.set()
    caller.wait_for("next")
    assert caller.told.pop("next") == b"ok"
    assert caller.told == ({"late": NoAnswer} if how == "late" else {})


def test_an_abandoned_call_of_a_task_is_not_told(
    caller: Caller, server: Server, over: threading.Event
) -> None:
    """Though its answer comes while others are waited for."""
    server.act = held(over)
    caller.begin("abandoned", call(server.url))  # no connection is kept: a task makes one
    wait_until(lambda: server.requests, LONG_S, "its arrival")
    caller.calls.abandon()
    over.set()
    wait_until(lambda: caller.tasks.ended, LONG_S, "the task's end")
    caller.begin("next", call(server.url))
    caller.wait_for("next")
    assert caller.told == {"next": b"ok"}


@pytest.mark.parametrize(
    "act",
    [
        reset,
        answer(then_close=True),
        answer(ANSWER[:-1], then_close=True),
        answer(b"SSH-2.0-x\r\n"),
    ],
)
def test_one_that_breaks_off_is_no_answer_and_goes_out_once(
    caller: Caller, servers: list[Server], act: Act
) -> None:
    """It may have been obeyed. The others are answered; the next call has another connection."""
    broken, whole = map(caller.known, servers[:2])
    broken.act = act
    caller.begin("broken", call(broken.url, method="POST", target="/once"))
    caller.begin("whole", call(whole.url))
    caller.wait_for("broken", "whole")
    assert caller.told == {"broken": NoAnswer, "whole": b"ok"}
    assert len([request for request in broken.requests if b"/once" in request]) == 1
    broken.act = answer(ANSWER)
    caller.begin("next", call(broken.url))
    caller.wait_for("next")
    assert caller.told["next"] == b"ok"


def test_a_kept_connection_that_has_ended_is_replaced(caller: Caller, server: Server) -> None:
    """Nothing is sent on it, so the call goes out on a new one."""
    server.act = answer(ANSWER, then_close=True)
    caller.known(server)
    wait_until(lambda: server.closed == 1, LONG_S, "the other side's end")
    caller.begin("next", call(server.url))
    caller.wait_for("next")
    assert (caller.told, server.connections) == ({"next": b"ok"}, 2)
    assert caller.tasks.spawned == 1


def test_one_that_cannot_be_reached_was_sent_nothing(caller: Caller, server: Server) -> None:
    """And another that can is not kept from its answer."""
    caller.known(server)
    caller.begin("gone", call(f"http://127.0.0.1:{free_ports(1)[0]}"))
    caller.begin("there", call(server.url))
    caller.wait_for("gone", "there")
    assert caller.told == {"gone": NotSent, "there": b"ok"}


def test_to_connect_never_holds_the_thread_up(caller: Caller, server: Server) -> None:
    """A full backlog: the other side neither takes the connection nor refuses it."""
    caller.known(server)
    with socket.create_server(("127.0.0.1", 0), backlog=0) as full:
        address = full.getsockname()[:2]
        filling = [socket.socket() for _ in range(4)]
        try:
            for one in filling:
                one.setblocking(False)
                one.connect_ex(address)
            url = f"http://127.0.0.1:{address[1]}"
            caller.begin("hangs", call(url, timeout_s=0.5))
            caller.begin("answered", call(server.url))
            caller.wait_for("answered")
            assert caller.told == {"answered": b"ok"}
            caller.wait_for("hangs")
            assert caller.told["hangs"] is NotSent
        finally:
            for one in filling:
                one.close()


def test_an_answer_larger_than_one_read_is_put_together(caller: Caller, server: Server) -> None:
    """However the network cuts it."""
    body = bytes(range(256)) * 8192
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
    caller.known(server).act = answer(head[:9], head[9:], body[:70_000], body[70_000:])
    caller.begin("large", call(server.url))
    caller.wait_for("large")
    assert caller.told == {"large": body}


def test_a_request_larger_than_the_socket_takes_is_sent_piece_by_piece(
    caller: Caller, servers: list[Server], over: threading.Event
) -> None:
    """While it cannot go on another call is answered."""
    large, other = servers[:2]
    arrived: list[bytes] = []

    def act(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(ANSWER)
        assert over.wait(LONG_S)
        arrived.append(read_request(connection))
        return answer(ANSWER)(connection, request)

    large.act = act
    caller.known(large)
    caller.known(other)
    body = bytes(range(256)) * 65536
    caller.begin("large", call(large.url, method="POST", body=body))
    caller.begin("other", call(other.url))
    caller.wait_for("other")
    assert caller.told == {"other": b"ok"}
    over.set()
    caller.wait_for("large")
    assert caller.told["large"] == b"ok"
    assert arrived[0].endswith(b"\r\n\r\n" + body)


def test_an_answer_before_the_request_has_left_whole_ends_the_connection(
    caller: Caller, server: Server, over: threading.Event
) -> None:
    """What would come next on it belongs to the rest of the request."""

    def act(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(ANSWER)
        connection.recv(1)
        connection.sendall(ANSWER)
        over.wait(LONG_S)
        return False

    server.act = act
    caller.known(server)
    caller.begin("early", call(server.url, method="POST", body=bytes(16 << 20)))
    caller.wait_for("early")
    assert caller.told == {"early": b"ok"}
    assert caller.pool.take(server.url) is None


def test_a_wait_is_over_in_time_though_nothing_comes(
    caller: Caller, server: Server, over: threading.Event
) -> None:
    """With a call under way or none."""
    caller.calls.wait(0.01)
    caller.known(server).act = held(over)
    caller.begin("slow", call(server.url))
    caller.calls.wait(0.01)
    assert caller.told == {}


def test_a_task_that_has_its_answer_wakes_the_thread(caller: Caller, server: Server) -> None:
    """It waits for what its own connections bring, and for that."""

    def act(connection: socket.socket, request: bytes) -> bool:
        threading.Event().wait(0.1)  # by then it waits; if not, this shows nothing
        return answer(ANSWER)(connection, request)

    server.act = act
    caller.begin("new", call(server.url))
    began = time.monotonic()
    caller.calls.wait(LONG_S)
    assert caller.told == {"new": b"ok"}
    assert time.monotonic() - began < LONG_S


def test_a_failing_listener_keeps_nobody_from_his_answer(
    caller: Caller, servers: list[Server], caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged, as a task that fails is."""

    def fail(answered: Answered) -> None:
        raise RuntimeError("unforeseen")

    one, other = map(caller.known, servers[:2])
    caller.calls.begin(call(one.url, target="/unforeseen"), fail)
    caller.begin("other", call(other.url))
    caller.wait_for("other")
    wait_until(lambda: caller.calls.wait(0.01) or "/unforeseen" in caplog.text, LONG_S, "its log")


def test_a_head_with_a_line_break_is_not_sent(caller: Caller, server: Server) -> None:
    """Nobody can put a header of his own into our calls."""
    caller.known(server)
    with pytest.raises(ValueError, match="line break"):
        caller.begin("bad", call(server.url, Key="v\r\nBazar-From: catalog-1"))
    assert len(server.requests) == 1
