"""Hits of a real frontend: the same bytes as by Flask's way, and nothing holds them up."""

from __future__ import annotations

import os
import re
import select
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from frontend.app import LANES
from tests.support.real import RealShop, seed_csv

LEASE_S = 30  # hits go on for as long as a test takes, though nobody renews the lease
STUCK = LANES["reads"].workers
HITS = 100
BOOKS = 3
PATHS = ("/lookup/1", "/info/2", "/search/Sea", "/search/Sea?limit=1")


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """A shop of a few books, whose answers do not say that they are traced."""
    folder, more = tmp_path_factory.mktemp("shop"), "TRACES_PER_S=0\n"
    with RealShop(folder, seed=seed_csv(BOOKS), lease_s=LEASE_S, more=more) as shop:
        yield shop


def connect(shop: RealShop) -> socket.socket:
    port = int(shop.url("frontend-1").rpartition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=10)


def head(method: str, path: str, *headers: str) -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: shop", *headers, "", "")).encode()


def read_answer(connection: socket.socket, *, body: bool = True) -> bytes:
    """Return the bytes of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += some(connection)
    length = re.search(rb"\r\ncontent-length: (\d+)\r\n", received)
    until = received.index(b"\r\n\r\n") + 4 + (int(length[1]) if length and body else 0)
    while len(received) < until:
        received += some(connection)
    assert len(received) == until
    return received


def some(connection: socket.socket) -> bytes:
    received = connection.recv(65536)
    assert received, "the connection was closed"
    return received


def ask(connection: socket.socket, request: bytes, *, body: bool = True) -> bytes:
    connection.sendall(request)
    return read_answer(connection, body=body)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("condition", [False, True])
def test_the_same_bytes_come_by_both_ways(
    shop: RealShop, path: str, method: str, condition: bool
) -> None:
    """But for the line that says that the connection is closed, with which Flask's way is asked."""
    tag = shop.hit(path).headers["ETag"]
    headers = (f"If-None-Match: {tag}",) if condition else ()
    with connect(shop) as kept, connect(shop) as closed:
        quick = ask(kept, head(method, path, *headers), body=method == "GET")
        ask(kept, head("GET", path))  # it is kept
        plain = ask(closed, head(method, path, "Connection: close", *headers), body=method == "GET")
        assert closed.recv(1) == b""
    assert b"\r\ncache-status: bazar; hit\r\n" in quick
    assert quick == plain.replace(b"connection: close\r\n", b"")


def test_hits_and_misses_on_one_connection_keep_their_order(shop: RealShop) -> None:
    """However many are sent at once."""
    for path in PATHS:
        shop.hit(path)
    asked = [
        "/lookup/1",
        "/topics",
        "/info/2",
        "/lookup/1",
        "/books?limit=1",
        "/lookup/1",
        "/nowhere",
    ]
    with connect(shop) as connection:
        one_by_one = [ask(connection, head("GET", path)) for path in asked]
        connection.sendall(b"".join(head("GET", path) for path in asked))
        expected, received = sum(map(len, one_by_one)), b""
        while len(received) < expected:
            received += some(connection)
    assert bodies(received) == bodies(b"".join(one_by_one))


def bodies(answers: bytes) -> list[bytes]:
    return re.findall(rb"\r\n\r\n(\{.*?\})(?=HTTP|$)", answers)


def test_hits_are_counted_with_the_other_requests(shop: RealShop) -> None:
    """By route and status, and as look-ups."""
    tag = shop.hit("/lookup/3").headers["ETag"]
    route = 'route="/lookup/<book>"'
    names = [
        f'bazar_requests_total{{method="GET",{route},status="200"}}',
        f'bazar_requests_total{{method="GET",{route},status="304"}}',
        f'bazar_requests_total{{method="HEAD",{route},status="200"}}',
        f"bazar_request_seconds_count{{{route}}}",
        'bazar_cache_lookups_total{result="hit"}',
    ]
    before = [shop.metric(name) for name in names]
    with connect(shop) as connection:
        ask(connection, head("GET", "/lookup/3"))
        ask(connection, head("GET", "/lookup/3", f"If-None-Match: {tag}"))
        ask(connection, head("HEAD", "/lookup/3"), body=False)
    after = [shop.metric(name) for name in names]
    assert [now - then for now, then in zip(after, before, strict=True)] == [1, 1, 1, 3, 3]


def test_a_sale_shows_in_the_next_hit(shop: RealShop) -> None:
    """The invalidation takes what was made ready along."""
    with connect(shop) as connection:
        shop.hit("/lookup/2")
        before = ask(connection, head("GET", "/lookup/2"))
        assert shop.buy(2).status_code == 201
        after = ask(connection, head("GET", "/lookup/2"))
        assert b"fwd=miss" in after
        assert (
            ask(connection, head("GET", "/lookup/2")).partition(b"\r\n\r\n")[2]
            == (after.partition(b"\r\n\r\n")[2])
        )
    assert before.partition(b"\r\n\r\n")[2] != after.partition(b"\r\n\r\n")[2]


def test_hits_wait_for_no_worker(shop: RealShop) -> None:
    """All workers of the reads wait for catalogs that are stopped: hits overtake every one."""
    shop.hit("/lookup/1")
    for catalog in shop.catalogs:
        shop.pause(catalog)
    try:
        shop.wait_until(lambda: hits_overtake(shop), 30, f"{HITS} hits before any stuck read")
    finally:
        for catalog in shop.catalogs:
            shop.resume(catalog)


def hits_overtake(shop: RealShop) -> bool:
    """Send reads that get stuck, then hits; tell whether all hits were answered first."""
    with ExitStack() as stack:
        hitting = stack.enter_context(connect(shop))
        stuck = [stack.enter_context(connect(shop)) for _ in range(STUCK)]
        for number, connection in enumerate(stuck):
            connection.sendall(head("GET", f"/lookup/{BOOKS + 1 + number}"))
        for _ in range(HITS):
            assert b"bazar; hit" in ask(hitting, head("GET", "/lookup/1"))
        return not select.select(stuck, [], [], 0)[0]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets us choose the core")
def test_a_frontend_stays_on_one_core(shop: RealShop) -> None:
    """All its threads: on two they would take the interpreter from one another all the time."""
    pid = shop.processes["frontend-1"].popen.pid
    threads = [int(path.name) for path in Path(f"/proc/{pid}/task").iterdir()]
    assert len(threads) > 1
    assert len({tuple(os.sched_getaffinity(thread)) for thread in threads}) == 1
    assert len(os.sched_getaffinity(pid)) == 1


def test_who_does_not_read_its_answers_holds_nobody_up(shop: RealShop) -> None:
    """Hits are asked for until the frontend takes no more, and none of the answers is fetched."""
    shop.hit("/search/Sea")
    with connect(shop) as lazy, connect(shop) as other:
        lazy.setblocking(False)
        request, sent = head("GET", "/search/Sea"), 0
        many = request * 1000
        while select.select([], [lazy], [], 0.2)[1]:
            sent += lazy.send(many[sent % len(request) :])
        for _ in range(HITS):
            assert b"bazar; hit" in ask(other, head("GET", "/search/Sea"))
