"""Operations taken ahead of Flask, without a worker that waits: to the byte what Flask answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from catalog.write_routes import ANSWER_MARGIN_S, BRIEF_BYTES_MAX, QUEUED_MAX
from common.auth import Signer
from common.peer import TIMEOUT_HEADER, NoAnswer
from common.service import Call
from common.wsgi import Answer
from tests.support.catalog_fakes import ONE, SECRET, TWO, Catalogs, Document, book, sale, silent
from tests.support.frontend_fakes import by_flask

SENDER = Signer("order-1", SECRET)
TIMEOUT_S = 1.5


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with one book of five copies."""
    with closing(Catalogs(tmp_path)) as catalogs:
        catalogs.open()
        catalogs.operate("first book", "add", book(quantity=5))
        catalogs.run_for(0.1)
        yield catalogs


def selling(key: str, copies: int = 1, **changed: Any) -> Document:
    return {"key": key, "kind": "sell", "body": sale((1, copies))} | changed


def asking(
    document: Any, to: str = ONE, target: str = "/operations?attempt=a1", method: str = "POST"
) -> Call:
    """Return a signed call."""
    body = document if isinstance(document, bytes) else json.dumps(document).encode()
    headers = SENDER.headers(to, method, target, "", body) | {
        "Host": to, TIMEOUT_HEADER: str(int(TIMEOUT_S * 1000)),
    }  # fmt: skip
    named = {name.lower().encode(): text.encode() for name, text in headers.items()}
    return Call(method, target.encode(), named, body)


def take(shop: Catalogs, call: Call, to: str = ONE) -> list[Answer] | None:
    """Give a call to a catalog; return where its answer will be, None if it is left to Flask."""
    answers: list[Answer] = []
    return answers if shop.service(to).later(call, answers.append) else None


def codes(answer: Answer) -> list[str | int]:
    """Return what was said of each operation of a list: its status or its problem's code."""
    return [told.get("code") or told["status"] for told in json.loads(answer.body)]


MANY = [selling("a"), selling("b"), selling("c", copies=90), selling("a"), selling("a", copies=2)]


@pytest.mark.parametrize("document", [MANY, [selling("a")], selling("a"), selling("a", copies=90)])
def test_what_is_taken_is_answered_as_flask_answers_it(shop: Catalogs, document: Any) -> None:
    """Status, headers, body; also a second time, when all has been decided."""
    taken = take(shop, asking(document))
    assert taken == []  # nobody waits, and nothing is decided yet
    shop.run_for(0.1)
    again = take(shop, asking(document))
    assert again is not None
    flasks = shop.do(lambda: by_flask(shop.apps[ONE], asking(document)))
    for answers in (taken, again):
        assert len(answers) == 1
        assert (answers[0].status, answers[0].body) == (flasks.status, flasks.body)
        assert sorted(answers[0].headers) == sorted(flasks.headers)


def test_each_operation_of_a_list_is_told_its_own(shop: Catalogs) -> None:
    """The same key twice is one sale; with another body it is a mismatch."""
    taken = take(shop, asking(MANY))
    assert taken is not None
    shop.run_for(0.1)
    assert codes(taken[0]) == [201, 201, 409, 201, "idempotency-mismatch"]
    assert shop.get("/books/1").json["quantity"] == 3


@pytest.mark.parametrize("document", [[selling("a"), selling("b")], selling("a")])
def test_a_node_that_does_not_lead_says_so_at_once(shop: Catalogs, document: Any) -> None:
    """With its problem as the answer to one, or for each in a list."""
    taken = take(shop, asking(document, to=TWO), to=TWO)
    assert taken is not None
    told = json.loads(taken[0].body)
    problems = told if isinstance(document, list) else [told]
    assert {problem["code"] for problem in problems} == {"not-leader"}
    assert taken[0].status == (200 if isinstance(document, list) else 421)


def unsigned(call: Call) -> Call:
    return call._replace(headers={**call.headers, b"bazar-signature": b"0" * 64})


@pytest.mark.parametrize(
    "call",
    [
        unsigned(asking([selling("a")])),
        asking([selling("a")], method="PUT"),
        asking([selling("a")], target="/operations/"),
        asking([selling("a")], target="/operationsandmore"),
        asking([]),
        asking([selling("a")] * 65),
        asking([selling("a", kind="steal")]),
        asking(b"["),
        asking(json.dumps([selling("a")]).encode() + b" " * BRIEF_BYTES_MAX),
    ],
)
def test_what_is_not_brief_and_in_order_is_left_to_a_worker(shop: Catalogs, call: Call) -> None:
    """It says what is wrong, or parses what is long; nothing of it has been done."""
    assert take(shop, call) is None
    shop.run_for(0.1)
    assert shop.get("/books/1").json["quantity"] == 5


def test_when_too_many_wait_they_wait_in_their_lane(shop: Catalogs) -> None:
    """Which refuses when it is full: memory is bounded."""
    shop.line.before.append(silent(TWO))
    lists = [[selling(f"{n}-{k}") for k in range(64)] for n in range(QUEUED_MAX // 64 + 2)]
    taken = []
    for document in lists:
        taken.append(take(shop, asking(document)) is not None)
        shop.run_for(0.01)  # the first is taken into a batch, and waits for the replica
    assert taken == [True] * (QUEUED_MAX // 64 + 1) + [False]


def test_who_waits_is_told_in_time_what_is_known(shop: Catalogs) -> None:
    """The first may have happened, the second was never begun and never will be."""

    def lose(request: Any) -> None:
        if "prepare" in request.target:
            raise NoAnswer("lost")

    shop.line.before.append(lose)
    first = take(shop, asking([selling("first")]))
    shop.run_for(0.1)
    second = take(shop, asking([selling("second")]))
    assert (first, second) == ([], [])
    shop.run_for(TIMEOUT_S - ANSWER_MARGIN_S - 0.15)
    assert first == []
    shop.run_for(0.1)
    assert [codes(one) for one in first or []] == [["outcome-unknown"]]
    shop.line.before.remove(lose)
    shop.run_for(1.0)
    assert [codes(one) for one in second or []] == [["writes-unavailable"]]
    assert shop.get("/books/1").json["quantity"] == 4
