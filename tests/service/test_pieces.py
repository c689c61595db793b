"""However a client cuts its requests into pieces, it is answered alike, and in order."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import closing
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common.intake import HEADER_BYTES_MAX
from tests.support.line import BODY_BYTES_MAX, GRACE_S, SMALL_BODY_BYTES_MAX, Line, Shop, heard

T = TypeVar("T")
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def request(
    target: bytes = b"/echo", body: bytes = b"", *lines: bytes, method: bytes = b"POST"
) -> bytes:
    length = [b"Content-Length: %d" % len(body)] if body else []
    head = (b"%s %s HTTP/1.1" % (method, target), b"Host: a", *lines, *length, b"", b"")
    return b"\r\n".join(head) + body


@pytest.fixture
def shop() -> Iterator[Shop]:
    with closing(Shop()) as shop:
        yield shop


def on_a_line(shop: Shop, story: Callable[[Line], Awaitable[T]], grace_s: float = GRACE_S) -> T:
    """Return how a story on one connection ends."""

    async def tell() -> T:
        line = shop.line(grace_s)
        told = await story(line)
        shop.free.set()
        await line.drained()
        return told

    return asyncio.run(tell())


# --- every shape, cut in every way ---

SHAPES = {
    "flask": request(),
    "flask, with a body": request(b"/echo", b'{"a":1}', b"Content-Type: application/json"),
    "no query behind a question mark": request(b"/echo?"),
    "two question marks": request(b"/echo??"),
    "a query": request(b"/echo?a=%20b&c", b"x"),
    "an empty query, taken directly": request(b"/direct?", b"x"),
    "slashes": request(b"//echo"),
    "escapes": request(b"/%65cho/%C3%BC"),
    "an absolute target": request(b"http://b/echo?x=1"),
    "a star": request(b"*", method=b"OPTIONS"),
    "unknown": request(b"/"),
    "at once": request(b"/at-once", method=b"GET"),
    "at once, HEAD": request(b"/at-once", method=b"HEAD"),
    "not at once": request(b"/at-once"),
    "later": request(b"/later", b"x"),
    "later, GET": request(b"/later", method=b"GET"),
    "later, HEAD": request(b"/later", method=b"HEAD"),
    "later, broken": request(b"/later-broken", b"x", b"Idempotency-Key: k"),
    "direct": request(b"/direct", b"x" * 30_000),
    "direct, a problem": request(b"/direct-problem"),
    "broken": request(b"/broken", b"", b"Idempotency-Key: k"),
    "broken, GET": request(b"/broken", method=b"GET"),
    "a worker that would end": request(b"/exit"),
    "no lane": request(b"/no-lane"),
    "HEAD": request(method=b"HEAD"),
    "GET with a body": request(b"/echo", b"body", method=b"GET"),
    "PATCH": request(b"/echo", b"body", method=b"PATCH"),
    "PUT": request(b"/echo", b"body", method=b"PUT"),
    "DELETE": request(method=b"DELETE"),
    "another method": request(method=b"REPORT"),
    "the largest body": request(b"/echo", b"x" * BODY_BYTES_MAX),
    "too large": request(b"/echo", b"x" * (BODY_BYTES_MAX + 1)),
    "too large for its lane": request(b"/narrow", b"x" * (SMALL_BODY_BYTES_MAX + 1)),
    "no length": request(b"/echo", b"", b"Content-Length: 0"),
    "a length with zeros": request(b"/echo", b"", b"Content-Length: 003") + b"abc",
    "blanks": request(b"/direct", b"x", b"X:  a \t", b"Y: \t", b"Content-Length: 1  ")
    .replace(b"Content-Length: 1\r\n", b""),
    "a header twice": request(b"/later", b"x", b"X: 1", b"X: 2"),
    "a cookie twice": request(b"/echo", b"x", b"Cookie: a=1", b"Cookie: b=2"),
    "an underscore": request(b"/echo", b"", b"X_Y: 1"),
    "two hosts": request(b"/echo", b"", b"Host: b"),
    "no host": b"POST /echo HTTP/1.1\r\n\r\n",
    "no plain host": b"POST /echo HTTP/1.1\r\nHost: ..\r\n\r\n",
    "a host with a blank": b"POST /later HTTP/1.1\r\nHost: a \r\n\r\n",
    "chunks": request(b"/later", b"", b"Transfer-Encoding: chunked") + b"1\r\nx\r\n0\r\n\r\n",
    "asks first": request(b"/echo", b"x", b"Expect: 100-continue"),
    "another protocol": request(b"/echo", b"x", b"Connection: Upgrade", b"Upgrade: h2c"),
    "kept, it says": request(b"/echo", b"x", b"Connection: keep-alive"),
    "closed, it says": request(b"/echo", b"x", b"Connection: close"),
    "closed, we say": request(b"/close"),
    "HTTP/1.0": b"POST /echo HTTP/1.0\r\nContent-Length: 1\r\n\r\nx",
    "HTTP/1.0, kept": b"GET /echo HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
    "empty lines before": b"\r\n\r\n" + request(b"/echo", b"x"),
    "the end of a head in a body": request(b"/echo", b"a\r\n\r\nb"),
}  # fmt: skip


def halves(data: bytes) -> list[bytes]:
    return [data[: len(data) // 2], data[len(data) // 2 :]]


def one_by_one(data: bytes) -> list[bytes]:
    return [data[at : at + 1] for at in range(len(data))]


@pytest.mark.parametrize("data", SHAPES.values(), ids=SHAPES)
def test_a_request_is_answered_alike_however_it_is_cut(shop: Shop, data: bytes) -> None:
    """In one piece, in two, byte by byte, and with the next one behind it; patiently or not."""
    head, cut = data.partition(b"\r\n\r\n")[0], one_by_one
    pieces = [data, LAST]
    answered = {
        asyncio.run(heard(shop, pieces, patient=True)),
        asyncio.run(heard(shop, pieces)),
        asyncio.run(heard(shop, [data + LAST])),
        asyncio.run(heard(shop, [*halves(data), LAST], patient=False)),
        asyncio.run(heard(shop, [*cut(data[: len(head) + 9]), data[len(head) + 9 :], *cut(LAST)])),
    }
    (answer,) = answered
    assert answer.startswith(b"HTTP/1.1 ")


PLAIN = [data for name, data in SHAPES.items() if len(data) < 500 and name != "closed, it says"]


@given(
    st.lists(st.sampled_from(PLAIN), min_size=1, max_size=5),
    st.lists(st.integers(0, 1000), max_size=8),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
def test_any_requests_cut_anywhere_are_answered_as_in_the_ordinary_way(
    asked: Sequence[bytes], cuts: Sequence[int], patient: bool
) -> None:
    """The ordinary way: a byte that begins each request comes alone."""
    whole = b"".join(asked) + LAST
    places = [0, *sorted(cut % len(whole) for cut in cuts), len(whole)]
    pieces = [whole[a:b] for a, b in itertools.pairwise(places) if a < b]
    ordinary = [part for one in (*asked, LAST) for part in (one[:5], one[5:])]
    with closing(Shop()) as shop:
        expected = asyncio.run(heard(shop, ordinary, patient=True))
        assert asyncio.run(heard(shop, pieces)) == expected
        assert asyncio.run(heard(shop, [*asked, LAST], patient=patient)) == expected


# --- which way ---

ORDINARY = (
    "chunks", "asks first", "another protocol", "closed, it says", "HTTP/1.0", "HTTP/1.0, kept",
    "two hosts", "no host", "no plain host", "a host with a blank", "a header twice",
    "a cookie twice", "an absolute target", "a star", "another method", "empty lines before",
)  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_only_plain_requests_go_without_a_task(shop: Shop, name: str) -> None:
    """The others, and those that come in pieces or behind one another, as ever."""

    async def story(line: Line) -> None:
        line.send(SHAPES[name])
        assert line.tasks == (name in ORDINARY)
        await line.answers(1)

    async def in_two(line: Line) -> None:
        line.send(*halves(SHAPES[name]))
        assert line.tasks == 1
        await line.answers(1)

    on_a_line(shop, story)
    on_a_line(shop, in_two)


def test_a_long_head_goes_the_ordinary_way(shop: Shop) -> None:
    """It is refused there, and the connection is closed."""

    async def story(line: Line) -> bytes:
        line.send(request(b"/echo", b"x", b"X: " + b"a" * HEADER_BYTES_MAX))
        assert line.tasks == 1
        return await line.end()

    answer = on_a_line(shop, story)
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"\r\nconnection: close\r\n" in answer


# --- while a call is in flight ---


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("apart", [True, False])
def test_what_comes_behind_a_call_is_answered_behind_it(
    shop: Shop, count: int, apart: bool
) -> None:
    """In pieces of its own or in one; nothing of it is begun before."""

    async def story(line: Line) -> list[bytes]:
        more = [request(b"/echo%d" % number) for number in range(count)]
        line.send(request(b"/at-once", method=b"GET"))  # its bytes are known from now on
        line.send(request(b"/hold"))
        line.send(*(more if apart else [b"".join(more)]))
        line.send(request(b"/at-once", method=b"GET"))
        await line.until(lambda: shop.entered, "a worker")
        other = shop.line()
        for number in range(3):  # whatever had been begun would end meanwhile
            other.send(request(b"/meanwhile"))
            await other.answers(number + 1)
        assert shop.entered == ["hold", *["meanwhile"] * 3]
        assert line.heard.count(b"HTTP/1.1 ") == 1
        shop.free.set()
        line.send(LAST)
        heard = await line.end()
        return [path for path in (b"/hold", b"/echo0", b"/echo1", b"at once", b"/last")
                if path in heard and sorted_in(heard)]  # fmt: skip

    def sorted_in(heard: bytes) -> bool:
        first = heard.index(b"at once")
        places = [heard.index(b"/hold"), *(heard.index(b"/echo%d" % n) for n in range(count))]
        places += [heard.index(b"at once", first + 1), heard.index(b"/last")]
        return [first, *places] == sorted([first, *places])

    assert len(on_a_line(shop, story)) == 3 + count


def test_a_flood_behind_a_call_is_not_read(shop: Shop) -> None:
    """A client that sends without end is not read on until its turn comes."""

    async def story(line: Line) -> None:
        line.send(request(b"/hold"), *[request(b"/echo", b"x" * 10_000)] * 7)
        assert line.transport.paused
        shop.free.set()
        await line.answers(8)
        assert not line.transport.paused

    on_a_line(shop, story)


def test_who_goes_away_gets_no_answer_and_is_waited_for(shop: Shop) -> None:
    """Its worker is still inside: a stop waits for that, and nothing is written."""

    async def story(line: Line) -> None:
        line.send(request(b"/hold"), request(b"/echo"))
        line.lose()
        assert line.state.connections == {line.protocol}
        shop.free.set()
        await line.until(lambda: not line.state.connections, "its end")
        assert (line.heard, shop.entered) == (b"", ["hold"])

    on_a_line(shop, story)


def test_a_stop_finishes_what_is_in_flight(shop: Shop) -> None:
    """It is answered and told that nothing follows; what came behind it is not begun."""

    async def story(line: Line) -> bytes:
        line.send(request(b"/hold"), request(b"/echo"))
        line.protocol.shutdown()
        assert not line.transport.closed
        shop.free.set()
        return await line.end()

    answer = on_a_line(shop, story)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"\r\nconnection: close\r\n\r\n" in answer
    assert shop.entered == ["hold"]


@pytest.mark.parametrize("gone", [True, False])
def test_a_stop_does_not_wait_for_ever(
    shop: Shop, gone: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """A client is told that nobody knows; the answer that comes too late is dropped."""

    async def story(line: Line) -> None:
        line.send(request(b"/hold", b"", b"Idempotency-Key: k"))
        if gone:
            line.lose()
        line.protocol.shutdown()
        await line.until(lambda: "in time" in caplog.text, "an end")
        assert line.transport.closed
        before = line.heard
        assert (b'"outcome-unknown"' in before) is not gone
        shop.free.set()
        await line.until(lambda: not inside(shop), "the worker's end")
        assert line.heard == before

    on_a_line(shop, story, grace_s=0.01)
    assert "POST /hold did not end in time" in caplog.text


def test_a_stop_closes_an_idle_connection(shop: Shop) -> None:
    """At once, whatever it carried before."""

    async def story(line: Line) -> None:
        line.send(request())
        await line.answers(1)
        line.protocol.shutdown()
        assert line.transport.closed

    on_a_line(shop, story)


def test_a_connection_with_a_call_in_flight_is_not_idle(shop: Shop) -> None:
    """However long it takes; once it is answered, the time begins anew."""

    async def story(line: Line) -> None:
        line.send(request(b"/hold"))
        for _ in range(3):
            line.protocol.timeout_keep_alive_handler()
        assert not line.transport.closed
        shop.free.set()
        await line.answers(1)
        line.protocol.timeout_keep_alive_handler()
        assert not line.transport.closed
        line.protocol.timeout_keep_alive_handler()
        assert line.transport.closed

    on_a_line(shop, story)


def test_a_full_lane_refuses_at_once(shop: Shop) -> None:
    """One works, one waits, the third is refused, and its connection goes on; so do those ways."""

    async def tell() -> None:
        lines = [shop.line() for _ in range(4)]
        for line in lines[:3]:
            line.send(request(b"/narrow-hold"))
        lines[3].send(*halves(request(b"/narrow-hold")))
        for line in lines[2:]:
            answer = await line.answers(1)
            assert answer.startswith(b"HTTP/1.1 429 ")
            assert b"\r\nretry-after: 1\r\n" in answer
            assert b'"rate-limited"' in answer
            line.send(request(b"/echo"))
            assert b"/echo" in await line.answers(2)
        shop.free.set()
        for line in lines[:2]:
            assert b"200 OK" in await line.answers(1)
        assert inside(shop) == 0

    asyncio.run(tell())


def test_who_does_not_read_goes_the_ordinary_way(shop: Shop) -> None:
    """It waits for the client, and the answer is written when there is room."""

    async def story(line: Line) -> None:
        line.protocol.pause_writing()
        line.send(request())
        assert line.tasks == 1
        await line.until(lambda: not inside(shop), "the work")
        assert line.heard == b""
        line.protocol.resume_writing()
        await line.answers(1)

    on_a_line(shop, story)


def test_what_fails_is_logged_and_its_worker_works_on(
    shop: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    """More often than there are workers."""

    async def story(line: Line) -> None:
        for number in range(9):
            line.send(request(b"/exit" if number % 2 else b"/broken"))
            await line.answers(number + 1)
        line.send(request())
        assert (await line.answers(10)).count(b"503 Service Unavailable") == 9

    on_a_line(shop, story)
    assert "unexpected error in POST /broken" in caplog.text
    assert "unexpected error in POST /exit" in caplog.text


def test_a_closed_gate_takes_nothing_and_says_who_is_inside(shop: Shop) -> None:
    """What waits is dropped; what runs is counted."""

    async def tell() -> None:
        first, second = shop.line(), shop.line()
        first.send(request(b"/narrow-hold"))
        await first.until(lambda: shop.entered, "a worker")
        second.send(request(b"/narrow-hold"))
        assert shop.gate.close() == 1
        late = shop.line()
        late.send(request())
        assert b"429" in await late.answers(1)
        shop.free.set()
        await first.answers(1)
        assert (shop.gate.close(), second.heard) == (0, b"")

    asyncio.run(tell())


def inside(shop: Shop) -> int:
    """Return how many are in the lanes."""
    return sum(lane.inside for lane in shop.gate._lanes.values())
