"""The gate in front of a service, without a socket: who may keep it waiting, and for how long."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from flask import Flask, request

from common.errors import Problem
from common.gate import Gate
from common.intake import HEADER_BYTES_MAX
from common.service import Call, Lane, Reply, Service
from common.wsgi import Answer, answer_of

Message = dict[str, Any]
Later = Callable[[Call, Reply], bool]
TIMEOUT_S = 0.05


def make_gate(later: Later) -> Gate:
    app = Flask("gate")

    @app.post("/echo")
    def echo() -> bytes:
        return request.get_data()

    lanes = {"only": Lane(workers=1, waiting_max=0, body_bytes_max=100)}
    service = Service(
        flask=app, lanes=lanes, lane_of=lambda method, path: lanes_by_path(path), later=later,
        explained=explained,
    )  # fmt: skip
    return Gate(service, body_timeout_s=TIMEOUT_S)


def explained(problem: Problem, path: str, accept: bytes) -> Answer | None:
    if b"text/html" not in accept:
        return None
    return answer_of(problem.status, [("Content-Type", "text/html")], problem.code.encode())


def lanes_by_path(path: str) -> str:
    return "only" if path == "/echo" else "no such lane"


def ask(
    messages: Iterable[Message],
    path: str = "/echo",
    later: Later = lambda call, reply: False,
    more: Sequence[tuple[bytes, bytes]] = (),
    **headers: str,
) -> tuple[int, dict[str, str], bytes] | None:
    """Send a request whose body comes in `messages`, and then nothing more for ever."""
    scope = {
        "type": "http",
        "method": "POST",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "http_version": "1.1",
        "scheme": "http",
        "server": ("127.0.0.1", 80),
        "client": ("127.0.0.1", 1234),
        "headers": [
            *(
                (name.replace("_", "-").encode(), value.encode())
                for name, value in ({"host": "gate"} | headers).items()
            ),
            *more,
        ],
    }
    coming = list(messages)

    async def receive() -> Message:
        if not coming:
            await asyncio.Event().wait()
        return coming.pop(0)

    gate = make_gate(later)
    answer = asyncio.run(gate(scope, receive))
    assert gate.close() == 0
    if answer is None:
        return None
    named = {name.decode(): value.decode() for name, value in answer.headers}
    return answer.status, named, answer.body


def part(body: bytes, more: bool) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


def test_a_body_in_parts_arrives_whole() -> None:
    """However the server cut it."""
    answer = ask([part(b"ab", True), part(b"", True), part(b"c", False)], content_length="3")
    assert answer is not None
    assert (answer[0], answer[2]) == (200, b"abc")


def test_a_call_taken_ahead_of_flask_is_answered_when_its_answer_is_there() -> None:
    """From whatever thread; the body is whole by then, and no worker is held."""
    seen: list[Call] = []

    def later(call: Call, reply: Reply) -> bool:
        seen.append(call)
        answer = answer_of(201, [("X-By", "another thread")], call.body.upper())
        threading.Thread(target=reply, args=(answer,)).start()
        return True

    pieces = [part(b"ab", True), part(b"c", False)]
    answer = ask(pieces, "/echo", later, content_length="3", idempotency_key="k")
    assert answer is not None
    assert (answer[0], answer[1]["x-by"], answer[2]) == (201, "another thread", b"ABC")
    assert (seen[0].method, seen[0].target, seen[0].body) == ("POST", b"/echo", b"abc")
    assert seen[0].headers[b"idempotency-key"] == b"k"


@pytest.mark.parametrize(
    "more", [[(b"host", b"b")], [(b"x", b"1"), (b"x", b"2")], [(b"idempotency-key", b"k")] * 2]
)
def test_a_call_with_a_header_twice_is_not_offered_ahead(more: list[tuple[bytes, bytes]]) -> None:
    """Frameworks differ in what it means; ours says."""
    asked: list[Call] = []
    ask([part(b"a", False)], "/echo", lambda call, reply: bool(asked.append(call)), more)
    assert asked == []


def test_a_defect_in_what_is_ahead_leaves_the_outcome_unknown() -> None:
    """Nobody knows how far it had got."""

    def later(call: Call, reply: Reply) -> bool:
        raise RuntimeError("a defect")

    answer = ask([part(b"a", False)], "/echo", later, content_length="1", idempotency_key="k")
    assert answer is not None
    assert json.loads(answer[2])["code"] == "outcome-unknown"


def test_a_body_that_does_not_come_is_given_up() -> None:
    """The client is told, and the connection is closed: what follows on it would be that body."""
    answer = ask([part(b"ab", True)], content_length="3")
    assert answer is not None
    status, headers, body = answer
    assert (status, headers["connection"]) == (400, "close")
    assert "did not arrive within 0.05 s" in json.loads(body)["detail"]


def test_who_wants_a_page_gets_the_words_of_the_service() -> None:
    """With all that the gate has to say by itself: here that the connection ends."""
    answer = ask([part(b"ab", True)], content_length="3", accept="text/html,*/*;q=0.8")
    assert answer is not None
    status, headers, body = answer
    assert (status, headers["connection"], headers["content-type"]) == (400, "close", "text/html")
    assert body == b"invalid-request"


def test_a_defect_is_explained_to_who_wants_a_page(caplog: pytest.LogCaptureFixture) -> None:
    """As to a program: the outcome is not known."""
    answer = ask([], path="/elsewhere", accept="text/html")
    assert answer is not None
    assert answer[2] == b"outcome-unknown"
    assert "no such lane" in caplog.text


def test_a_client_that_goes_away_gets_no_answer() -> None:
    """And no worker."""
    assert ask([part(b"ab", True), {"type": "http.disconnect"}], content_length="3") is None


def test_a_body_without_end_is_cut_off() -> None:
    """Reading on is a kindness with a limit."""
    answer = ask([part(b"x" * 1_000_000, True)] * 18, transfer_encoding="chunked")
    assert answer is not None
    assert (answer[0], answer[1]["connection"]) == (413, "close")


def test_a_header_block_over_the_limit_is_refused() -> None:
    """Also when it was read in one piece, which the parser lets through."""
    answer = ask([], x="a" * HEADER_BYTES_MAX)
    assert answer is not None
    assert answer[0] == 413


@pytest.mark.parametrize("path", ["/elsewhere", "//echo/"])
def test_an_error_in_the_gate_is_no_500(path: str, caplog: pytest.LogCaptureFixture) -> None:
    """Here: a path that no lane takes."""
    answer = ask([], path=path)
    assert answer is not None
    assert json.loads(answer[2])["code"] == "outcome-unknown"
    assert "no such lane" in caplog.text


def test_a_lane_is_chosen_by_the_path_that_flask_sees() -> None:
    """`//echo` and `/%65cho` are `/echo`."""
    for path in ("//echo", "/%65cho"):
        answer = ask([], path=path)
        assert answer is not None
        assert answer[0] == 200
