"""Each service goes on with a trace and tells of it; a frontend begins a bounded number."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from common.auth import Signer
from common.config import TRACES_PER_S
from common.peer import TIMEOUT_HEADER, Request
from common.service import Call
from common.trace import ALSO, Span, contexts_of
from common.tracer import ASKED_PER_S, rates
from common.wsgi import Answer
from tests.support.catalog_fakes import FRONTEND, ONE, SECRET, Catalogs
from tests.support.counting import write_books
from tests.support.frontend_fakes import ORDER_ID, World, broken, call, dead
from tests.support.network import call_wsgi
from tests.support.tracing import ASKED, PARENT, tree

OTHER = "f" * 32
UNSAMPLED = PARENT[:-2] + "00"


@pytest.fixture
def world() -> World:
    world = World()
    world.tick()
    return world


def known(world: World, **query: str) -> list[Span]:
    """Return what a frontend answers when a node asks it for spans."""
    path = "/spans?" + "&".join(f"{name}={value}" for name, value in query.items())
    found = world.signed("GET", path)
    assert found.status_code == 200, found.text
    return [Span.of(document) for document in found.get_json()["spans"]]


def buy(world: World, **headers: str) -> Answer:
    """Buy ahead of Flask."""
    answers: list[Answer] = []
    assert world.service.later(call("/purchase/1", "POST", **headers), answers.append)
    return answers[0]


def trace_id(answer: Answer) -> str:
    return dict(answer.headers).get(b"trace-id", b"").decode()


# --- a frontend ---


def test_a_read_leaves_the_look_up_the_question_and_the_fill(world: World) -> None:
    """And its answer says under which id."""
    answer = world.get("/lookup/1")
    found = known(world, trace=answer.headers["Trace-Id"])
    asked = world.http.sent[-1].to
    assert tree(found, lambda span: span.name) == [
        "GET /lookup/<book>", "  look into the cache", "  GET /books/<>", "  fill the cache",
    ]  # fmt: skip
    root, call = (
        next(span for span in found if span.kind == kind) for kind in ("server", "client")
    )
    assert root.attributes == {
        "http.request.method": "GET", "url.path": "/lookup/1", "http.route": "/lookup/<book>",
        "http.response.status_code": 200, "bazar.served_by": asked,
        "bazar.cache": "bazar; fwd=miss",
    }  # fmt: skip
    assert call.attributes == {"server.address": asked, "http.response.status_code": 200}
    assert world.http.sent[-1].headers["traceparent"].split("-")[1:3] == [
        call.trace_id,
        call.span_id,
    ]


def test_a_purchase_carries_its_trace_beside_what_is_signed_and_hashed(world: World) -> None:
    """The message is, byte for byte, that of one which is not traced."""
    answer = buy(world, idempotency_key="a secret key")
    traced = world.http.sent[-1]
    for _ in range(int(TRACES_PER_S)):
        last = buy(world, idempotency_key="a secret key")
    assert (trace_id(last), trace_id(answer) != "") == ("", True)
    plain = world.http.sent[-1]
    assert (traced.body, traced.method) == (plain.body, plain.method)
    assert set(traced.headers) - set(plain.headers) == {"traceparent"}
    root = next(span for span in known(world, trace=trace_id(answer)) if not span.parent_id)
    assert root.attributes["bazar.key"] == "a secret"


@pytest.mark.parametrize("ahead", [True, False])
def test_at_most_so_many_requests_a_second_are_traced(world: World, ahead: bool) -> None:
    """Purchases and reads, ahead of Flask and through it; after a while there is room again."""

    def one() -> bool:
        if ahead:
            return trace_id(buy(world)) != ""
        return "Trace-Id" in world.get("/topics").headers

    per_s, burst = rates(TRACES_PER_S)["write" if ahead else "read"]
    assert sum(one() for _ in range(100)) == burst
    world.clock.advance(0.5)
    assert sum(one() for _ in range(100)) == per_s / 2


def test_who_asks_for_a_trace_gets_it_beyond_those_but_not_without_end(world: World) -> None:
    """A caller that traces everything has a bound of its own."""
    for _ in range(int(TRACES_PER_S)):
        world.get("/topics")
    found = [world.get("/topics", traceparent=PARENT) for _ in range(100)]
    assert sum("Trace-Id" in answer.headers for answer in found) == ASKED_PER_S
    assert found[0].headers["Trace-Id"] == ASKED
    assert known(world, trace=ASKED)[-1].parent_id == PARENT.split("-")[2]


@pytest.mark.parametrize(("header", "goes_on"), [(UNSAMPLED, True), ("nonsense", False)])
def test_a_caller_that_does_not_trace_is_one_of_the_crowd(
    world: World, header: str, goes_on: bool
) -> None:
    """What it calls its request is kept, if it is valid."""
    found = [world.get("/topics", traceparent=header) for _ in range(30)]
    traced = [answer.headers["Trace-Id"] for answer in found if "Trace-Id" in answer.headers]
    assert len(traced) == int(TRACES_PER_S)
    assert (set(traced) == {ASKED}) == goes_on


def test_a_hit_is_told_of_and_one_whose_caller_traces_is_looked_into(world: World) -> None:
    """The first on the event loop, in passing; the second the ordinary way."""
    world.get("/lookup/1")
    for _ in range(1000):
        assert world.service.at_once(call("/lookup/1")) is not None
    told = [
        span for span in known(world, last="50") if "hit" in str(span.attributes["bazar.cache"])
    ]
    assert [span.attributes["url.path"] for span in told] == ["/lookup/1"]
    assert world.service.at_once(call("/lookup/1", traceparent=PARENT)) is None
    assert world.service.at_once(call("/lookup/1", traceparent=UNSAMPLED)) is not None
    world.clock.advance(1)
    for _ in range(1000):
        world.service.at_once(call("/lookup/1"))
    assert len([span for span in known(world, last="50") if span.name == "GET /lookup/<book>"]) == 3


def test_a_failover_is_two_questions_of_one_trace(world: World) -> None:
    """The order server that broke off, and the one that sold."""
    world.http.nodes["order-1"] = world.http.nodes["order-2"] = broken
    unknown = known(world, trace=trace_id(buy(world)))
    assert ["connection reset" in span.error for span in unknown if span.kind == "client"] == [
        True
    ] * 2
    assert [span.error for span in unknown if not span.parent_id] == ["503"]
    world.http.nodes["catalog-1"] = dead
    reads = [known(world, trace=world.get("/topics").headers["Trace-Id"]) for _ in range(2)]
    asked = max(([span for span in read if span.kind == "client"] for read in reads), key=len)
    assert [bool(span.error) for span in asked] == [True, False]
    assert asked[1].attributes["http.request.resend_count"] == 1


def test_what_is_secret_is_shortened(world: World) -> None:
    """An order's id is the way to see it; health and the room itself are not told of."""
    for path in (f"/orders/{ORDER_ID}", "/livez", "/static/base.css", "/ops/login"):
        assert world.get(path).status_code == 200
    (one,) = known(world, last="9")
    assert one.attributes["url.path"] == f"/orders/{ORDER_ID[:8]}…"


@pytest.mark.parametrize(
    "query", ["trace=x", f"trace={ASKED.upper()}", "last=x", "last=-1", "more=1", "last=1&last=2"]
)
def test_a_strange_question_is_refused(world: World, query: str) -> None:
    """And nobody asks without a signature."""
    assert world.signed("GET", f"/spans?{query}").status_code == 400
    assert world.get("/spans?last=1").status_code == 401


# --- a catalog ---


@pytest.fixture
def catalogs(tmp_path: Path) -> Iterator[Catalogs]:
    seed = write_books(tmp_path / "catalog.csv", 3, "Sea")
    with closing(Catalogs(tmp_path, seed)) as catalogs:
        catalogs.open()
        yield catalogs


def headers_for(catalogs: Catalogs, method: str, target: str, body: bytes = b"") -> dict[str, str]:
    """Return the headers of a call that is signed and traced."""
    cluster = catalogs.node().record.cluster
    signed = Signer(FRONTEND, SECRET).headers(ONE, method, target, cluster, body)
    return signed | {"traceparent": PARENT, TIMEOUT_HEADER: "2000"}


def send(catalogs: Catalogs, headers: dict[str, str], method: str, target: str, body: bytes) -> Any:
    request = Request(ONE, "", method, target, headers, body, 2.0)
    return catalogs.do(lambda: call_wsgi(catalogs.apps[ONE], request))


def recorded(catalogs: Catalogs, trace: str = ASKED) -> list[Span]:
    """Return what the leader tells of a trace."""
    found = catalogs.get(f"/spans?trace={trace}")
    assert found.status == 200, found.body
    return [Span.of(document) for document in found.json["spans"]]


@pytest.mark.parametrize("target", ["/books/1", "/search?topic=sea&limit=10"])
def test_a_catalog_goes_on_with_a_trace_by_both_ways(catalogs: Catalogs, target: str) -> None:
    """On the event loop and through Flask, and the answer is the same."""
    headers = headers_for(catalogs, "GET", target)
    named = {name.lower().encode(): text.encode() for name, text in headers.items()}
    ahead = catalogs.service(ONE).at_once(Call("GET", target.encode(), {b"host": b"c"} | named))
    assert ahead is not None
    flasks = send(catalogs, headers, "GET", target, b"")
    assert ahead.body == flasks.body
    one, other = recorded(catalogs)
    assert (one.name, one.kind, one.parent_id) == (other.name, "server", PARENT.split("-")[2])
    assert one.attributes["bazar.as_of"] == 1


@pytest.mark.parametrize("target", ["/books/1", "/operations", "/replication/prepare", "/status"])
def test_a_call_that_is_not_signed_leaves_no_span(catalogs: Catalogs, target: str) -> None:
    """Nobody from outside fills a catalog's memory."""
    method = "POST" if target.startswith(("/op", "/rep")) else "GET"
    headers = headers_for(catalogs, method, target) | {"Bazar-Signature": "x"}
    assert send(catalogs, headers, method, target, b"").status == 401
    assert recorded(catalogs) == []


def test_each_operation_of_a_message_has_its_own_trace(catalogs: Catalogs) -> None:
    """By its place: what one of them is not traced for is not told of it."""
    sales = [
        {"key": f"k{n}", "kind": "sell", "body": {"items": [{"book_id": n, "quantity": 1}]}}
        for n in (1, 2, 3)
    ]
    body = json.dumps(sales).encode()
    other = PARENT.replace(ASKED, OTHER)
    headers = headers_for(catalogs, "POST", "/operations", body) | {ALSO: f"0={PARENT},2={other}"}
    answer = send(catalogs, headers, "POST", "/operations", body)
    assert [one["status"] for one in answer.json()] == [201] * 3
    one, two = recorded(catalogs), recorded(catalogs, OTHER)
    assert [span.name for span in one] == [span.name for span in two]
    assert {span.name for span in one} >= {
        "POST /operations", "wait in the queue", "transaction", "commit",
        "POST /replication/prepare",
    }  # fmt: skip
    assert not {span.span_id for span in one} & {span.span_id for span in two}
    sent = [request for request in catalogs.line.sent if "prepare" in request.target][-1]
    assert set(contexts_of(sent.headers["traceparent"], sent.headers[ALSO])) == {0, 1}


def test_what_is_written_is_the_same_whether_it_is_traced_or_not(tmp_path: Path) -> None:
    """Entry, hash, fingerprint and answer: a trace is nowhere in them."""

    def written(folder: Path, traced: bool) -> list[Any]:
        folder.mkdir()
        seed = write_books(folder / "catalog.csv", 3, "Sea")
        with closing(Catalogs(folder, seed)) as catalogs:
            catalogs.open()
            sale = {"items": [{"book_id": 1, "quantity": 1}]}
            body = json.dumps([{"key": "k", "kind": "sell", "body": sale}]).encode()
            headers = headers_for(catalogs, "POST", "/operations", body)
            if not traced:
                del headers["traceparent"]
            answer = send(catalogs, headers, "POST", "/operations", body)
            assert bool(recorded(catalogs)) == traced
            at_replica = [one for one in catalogs.line.sent if "prepare" in one.target][-1]
            with catalogs.node().db.read() as db:
                fingerprints = db.execute("SELECT * FROM operations").get
            return [answer.body, at_replica.body, at_replica.target, fingerprints]

    assert written(tmp_path / "traced", True) == written(tmp_path / "plain", False)
