"""The kept connections between services, against a server that does what a test tells it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from common.connections import Connections
from common.peer import NoAnswer, NotSent
from tests.support.answering import ANSWER, Act, Server, answer, call, reset
from tests.support.processes import free_ports
from tests.support.wait import wait_until


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.close()


@pytest.fixture
def connections() -> Iterator[Connections]:
    made = Connections()
    yield made
    made.close()


def test_an_answer_comes_back_whole(server: Server, connections: Connections) -> None:
    """Status, headers in lower case, body."""
    got = connections.send(call(server.url))
    assert (got.status, got.header("ETag"), got.body) == (200, '"7"', b"ok")


@pytest.mark.parametrize(
    "pieces",
    [
        [ANSWER[:9], ANSWER[9:40], ANSWER[40:-1], ANSWER[-1:]],
        [
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n",
            b"1\r\nk\r\n0\r\n\r\n",
        ],
    ],
)
def test_an_answer_in_pieces_is_put_together(
    server: Server, connections: Connections, pieces: list[bytes]
) -> None:
    """However the network or the other side cuts it."""
    server.act = answer(*pieces)
    assert connections.send(call(server.url)).body == b"ok"


def test_what_is_sent_is_what_was_given(server: Server, connections: Connections) -> None:
    """The target stays as it was signed; the body has its length, an empty one of a POST too."""
    connections.send(
        call(server.url, method="POST", target="/a/..//b?c=%2F", body=b"\0\xff", Key="v w")
    )
    connections.send(call(server.url, method="POST"))
    host = server.url.removeprefix("http://").encode()
    assert server.requests == [
        b"POST /a/..//b?c=%2F HTTP/1.1\r\nHost: " + host
        + b"\r\nKey: v w\r\nContent-Length: 2\r\n\r\n\0\xff",
        b"POST /x HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n",
    ]  # fmt: skip


def test_a_connection_is_used_again(server: Server, connections: Connections) -> None:
    """Also after an answer that has no body by its status."""
    server.act = answer(b'HTTP/1.1 304 Not Modified\r\nETag: "7"\r\n\r\n')
    statuses = [connections.send(call(server.url)).status for _ in range(3)]
    assert (statuses, server.connections) == ([304] * 3, 1)


def test_calls_at_the_same_time_have_a_connection_each(
    server: Server, connections: Connections
) -> None:
    """None waits for another's answer."""
    together = threading.Barrier(4)

    def act(connection: socket.socket, request: bytes) -> bool:
        together.wait(10)
        return answer(ANSWER)(connection, request)

    server.act = act
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: connections.send(call(server.url)).body, range(4)))
    assert (found, server.connections) == ([b"ok"] * 4, 4)


@pytest.mark.parametrize(
    "act",
    [
        answer(ANSWER.replace(b"\r\nETag", b"\r\nConnection: close\r\nETag"), then_close=True),
        answer(ANSWER, then_close=True),
    ],
)
def test_a_connection_that_ended_is_not_used_again(
    server: Server, connections: Connections, act: Act
) -> None:
    """Whether the other side said so or just closed it: the next call opens another one."""
    server.act = act
    connections.send(call(server.url))
    wait_until(lambda: server.closed == 1, 10, "the other side's end")
    assert connections.send(call(server.url)).body == b"ok"
    assert server.connections == 2


@pytest.mark.parametrize(
    "act",
    [
        reset,
        answer(then_close=True),
        answer(ANSWER[:-1], then_close=True),
        answer(b"SSH-2.0-OpenSSH\r\n"),
    ],
)
@pytest.mark.parametrize("kept", [False, True])
def test_a_call_that_breaks_off_is_no_answer_and_goes_out_once(
    server: Server, connections: Connections, act: Act, kept: bool
) -> None:
    """It may have been obeyed, so it is never sent again by itself."""
    if kept:
        connections.send(call(server.url))
    server.act = act
    with pytest.raises(NoAnswer):
        connections.send(call(server.url, method="POST", target="/once"))
    assert len([request for request in server.requests if b"/once" in request]) == 1
    server.act = answer(ANSWER)
    assert connections.send(call(server.url)).body == b"ok"


def test_time_is_over_though_bytes_go_on_coming(server: Server, connections: Connections) -> None:
    """The limit is for the whole call, not for the next byte."""
    over = threading.Event()

    def trickle(connection: socket.socket, request: bytes) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while not over.wait(0.01):
            connection.sendall(b"X: y\r\n")
        return False

    server.act = trickle
    try:
        with pytest.raises(NoAnswer):
            connections.send(call(server.url, timeout_s=0.2))
    finally:
        over.set()


def test_who_cannot_be_reached_was_sent_nothing(connections: Connections) -> None:
    """The caller may go elsewhere."""
    with pytest.raises(NotSent):
        connections.send(call(f"http://127.0.0.1:{free_ports(1)[0]}"))


def test_a_head_with_a_line_break_is_not_sent(server: Server, connections: Connections) -> None:
    """Nobody can put a header of his own into our calls."""
    with pytest.raises(ValueError, match="line break"):
        connections.send(call(server.url, Key="v\r\nBazar-From: catalog-1"))
    assert server.requests == []
