"""Calls to a peer: what is sent, what comes back, and what is known when nothing does."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator

import pytest
import requests
import responses
import urllib3.exceptions

from common.auth import CLUSTER, Signer
from common.errors import Problem
from common.peer import TIMEOUT_HEADER, NoAnswer, NotSent, Peer, PeerDown, RequestsHttp
from tests.support.processes import free_ports

SECRET = "s" * 32
URL = "http://catalog-1.test:8101"


def peer(url: str = URL) -> Peer:
    return Peer(
        "catalog-1",
        url,
        http=RequestsHttp(),
        signer=Signer("order-1", SECRET),
        cluster=lambda: "cluster-a",
    )


@pytest.fixture
def wire() -> Iterator[responses.RequestsMock]:
    """A pretended network; every answer registered must be fetched."""
    with responses.RequestsMock() as mock:
        yield mock


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A real listening socket."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(10)
        yield listening


def url_of(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_a_call_is_signed_and_says_how_long_it_waits(wire: responses.RequestsMock) -> None:
    """The receiver's check passes on exactly what went out."""
    wire.post(f"{URL}/operations", json={"status": 201})
    answer = peer().call(
        "POST", "/operations", timeout_s=2.4, query={"x": "a b/ü"}, document={"key": "k"}
    )
    assert answer.json() == {"status": 201}
    sent = wire.calls[0].request
    assert sent.headers[TIMEOUT_HEADER] == "2400"
    assert sent.headers[CLUSTER] == "cluster-a"
    assert isinstance(sent.body, bytes)
    assert json.loads(sent.body) == {"key": "k"}
    receiver = Signer("catalog-1", SECRET)
    assert receiver.check(sent.headers, "POST", sent.path_url, sent.body) == "order-1"


@pytest.mark.parametrize("status", [200, 201, 304])
def test_a_success_is_returned(wire: responses.RequestsMock, status: int) -> None:
    """With its headers in any case."""
    wire.get(f"{URL}/books/1", status=status, headers={"ETag": '"7"'})
    answer = peer().call("GET", "/books/1", timeout_s=1)
    assert (answer.status, answer.header("etag"), answer.header("X-None")) == (status, '"7"', "")


def test_a_problem_is_raised_as_the_other_side_raised_it(wire: responses.RequestsMock) -> None:
    """One vocabulary of errors on both sides of the wire."""
    there = Problem("not-leader", "another node leads", leader="catalog-2")
    wire.post(f"{URL}/operations", json=there.body(), status=there.status)
    with pytest.raises(Problem) as caught:
        peer().call("POST", "/operations", timeout_s=1)
    assert (caught.value.code, caught.value.members) == ("not-leader", {"leader": "catalog-2"})


@pytest.mark.parametrize(("status", "body"), [(500, "<h1>Oops</h1>"), (302, ""), (404, "{}")])
def test_an_error_that_is_not_ours_is_no_answer(
    wire: responses.RequestsMock, status: int, body: str
) -> None:
    """Nobody knows what stood between, so nobody knows what happened."""
    wire.post(f"{URL}/operations", body=body, status=status)
    with pytest.raises(NoAnswer):
        peer().call("POST", "/operations", timeout_s=1)


@pytest.mark.parametrize(
    "error",
    [
        requests.ReadTimeout(),
        requests.ConnectionError("reset"),
        requests.exceptions.ChunkedEncodingError(),
        requests.exceptions.InvalidURL(),
    ],
)
def test_whatever_breaks_a_call_off_is_no_answer(
    wire: responses.RequestsMock, error: Exception
) -> None:
    """The other side may have acted."""
    wire.post(f"{URL}/operations", body=error)
    with pytest.raises(NoAnswer):
        peer().call("POST", "/operations", timeout_s=1)


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectTimeout(),
        requests.ConnectionError(
            urllib3.exceptions.MaxRetryError(
                None,  # type: ignore[arg-type]
                "/",
                urllib3.exceptions.NewConnectionError(None, "refused"),  # type: ignore[arg-type]
            )
        ),
    ],
)
def test_a_connection_never_made_is_not_sent(
    wire: responses.RequestsMock, error: Exception
) -> None:
    """Nothing can have happened, so the caller may go elsewhere."""
    wire.post(f"{URL}/operations", body=error)
    with pytest.raises(NotSent):
        peer().call("POST", "/operations", timeout_s=1)


def test_a_refused_port_is_not_sent() -> None:
    """The same with a real socket."""
    with pytest.raises(NotSent):
        peer(f"http://127.0.0.1:{free_ports(1)[0]}").call("GET", "/", timeout_s=1)


def test_a_silent_server_is_no_answer(listener: socket.socket) -> None:
    """It is connected, so the request may have arrived."""
    with pytest.raises(NoAnswer):
        peer(url_of(listener)).call("GET", "/", timeout_s=0.05)


@pytest.mark.parametrize(
    "path", ["/orders/..", "/orders/%2E%2E/x", "/search/a%2Fb", "//x", "/~a+b"]
)
def test_the_target_goes_over_the_wire_as_it_was_signed(listener: socket.socket, path: str) -> None:
    """HTTP libraries like to tidy a path up, and the signature would no longer hold."""
    with pytest.raises(PeerDown):  # nobody answers; what arrived is what counts
        peer(url_of(listener)).call("GET", path, timeout_s=0.05, query={"after": "~/ +"})
    connection, _ = listener.accept()
    with connection:
        connection.settimeout(10)
        line = connection.recv(65536).split(b"\r\n")[0]
    assert line == f"GET {path}?after=~%2F+%2B HTTP/1.1".encode()
