"""How the attempts of one sale add up, and how the leader is found."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from common.database import Database
from common.errors import Problem
from common.peer import NoAnswer, NotSent, Request, Response
from order.metrics import Metrics
from order.model import Outcome
from order.sales import MARGIN_S, PROBE_S, Sale, Sales
from order.store import Place, Store, open_database
from tests.support.order_fakes import (
    FakeClock,
    FakeHttp,
    TellingWriter,
    answer,
    order,
    peers,
)
from tests.support.tracing import tracer

ITEMS = [{"book_id": 1, "quantity": 1}]
Node = Callable[[Request], Response]

SOLD = "sold"
REFUSED = "refused"
NOT_SENT = "not-sent"
NO_ANSWER = "no-answer"
NONSENSE = "nonsense"
FOLLOW_1, FOLLOW_2, LEADERLESS = "catalog-1 leads", "catalog-2 leads", "nobody leads"
REFUSAL = {"status": 409, "code": "sold-out", "title": "Not enough copies left", "detail": "0 left"}


def act(what: str) -> Response:
    """Answer, or fail to, as a catalog would."""
    if what == SOLD:
        return answer([{"status": 201, "answer": order(1) | {"number": 1}}])
    if what == REFUSED:
        return answer([{"status": 409, "answer": REFUSAL}])
    if what == NONSENSE:
        return Response(200, {}, b"<html>")
    if what == NOT_SENT:
        raise NotSent("refused")
    if what == NO_ANSWER:
        raise NoAnswer("timed out")
    if what in (FOLLOW_1, FOLLOW_2):
        raise Problem("not-leader", what, leader=what.split()[0])
    if what == LEADERLESS:
        raise Problem("not-leader", what, leader=None)
    raise Problem(what, f"it says {what}")


def script(*steps: str, leads: bool = False, of_each: bool = False) -> Node:
    """Return a catalog that does one step at each message, and says whether it leads; a problem is
    one of the message, or `of_each` sale in it.
    """
    left = list(steps)

    def node(request: Request) -> Response:
        if request.target == "/status":
            return answer({"leader": request.to if leads else None})
        try:
            return act(left.pop(0))
        except Problem as problem:
            if of_each:
                return answer([problem.body()])
            raise

    return node


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    database = open_database(tmp_path / "orders.db")
    yield database
    database.close()


@pytest.fixture
def store(database: Database) -> Store:
    return Store(database)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def sales_over(http: FakeHttp, store: Store, clock: FakeClock) -> Sales:
    return Sales(peers(http), store, clock=clock, metrics=Metrics(), tracer=tracer(clock))


def buy(sales: Sales, clock: FakeClock, key: str = "k1") -> Any:
    """Return what a sale came to: `sold`, `refused`, or a problem's code."""
    (outcome,) = sales.buy([Sale(key, ITEMS)], clock.now() + 2.4)
    return told(outcome)


def told(outcome: Outcome | Problem) -> str:
    if isinstance(outcome, Problem):
        return outcome.code
    return SOLD if outcome.order else REFUSED


@pytest.mark.parametrize("of_each", [False, True])
@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        # One attempt settles it.
        ([SOLD], [], SOLD),
        ([REFUSED], [], REFUSED),
        (["in-progress"], [], "in-progress"),
        (["idempotency-mismatch"], [], "idempotency-mismatch"),
        (["invalid-request"], [], "invalid-request"),
        (["writes-unavailable"], [], "writes-unavailable"),
        # The leader is elsewhere.
        ([NOT_SENT], [SOLD], SOLD),
        ([NOT_SENT], [REFUSED], REFUSED),
        ([FOLLOW_2], [SOLD], SOLD),
        ([FOLLOW_2, SOLD], [FOLLOW_1], SOLD),  # it has been handed the lead meanwhile
        ([LEADERLESS], [SOLD], SOLD),
        (["unavailable"], [SOLD], SOLD),
        # The first attempt may have sold: the second one tells, with the same key.
        ([NO_ANSWER], [SOLD], SOLD),
        ([NO_ANSWER], [REFUSED], REFUSED),
        ([NO_ANSWER, SOLD], [FOLLOW_1], SOLD),
        ([NONSENSE, SOLD], [FOLLOW_1], SOLD),
        (["outcome-unknown", SOLD], [FOLLOW_1], SOLD),
        # Nothing happened, for sure.
        ([NOT_SENT], [NOT_SENT], "writes-unavailable"),
        ([NOT_SENT], [LEADERLESS], "writes-unavailable"),
        ([NOT_SENT, NOT_SENT], [FOLLOW_1], "writes-unavailable"),
        ([LEADERLESS], [LEADERLESS], "writes-unavailable"),
        ([FOLLOW_2, FOLLOW_2], [FOLLOW_1], "writes-unavailable"),
        (["unavailable"], ["unavailable"], "writes-unavailable"),
        (["rate-limited"], [NOT_SENT], "writes-unavailable"),
        (["foreign-cluster"], ["foreign-cluster"], "writes-unavailable"),
        (["unauthorized"], ["unauthorized"], "writes-unavailable"),
        ([NOT_SENT], ["writes-unavailable"], "writes-unavailable"),
        # One attempt that may have arrived spoils the certainty of all others.
        ([NO_ANSWER], [NO_ANSWER], "outcome-unknown"),
        ([NO_ANSWER], [NOT_SENT], "outcome-unknown"),
        ([NOT_SENT], [NO_ANSWER], "outcome-unknown"),
        ([NOT_SENT], [NONSENSE], "outcome-unknown"),
        ([NO_ANSWER], ["writes-unavailable"], "outcome-unknown"),
        ([NO_ANSWER, "writes-unavailable"], [FOLLOW_1], "outcome-unknown"),
        ([NO_ANSWER, NOT_SENT], [FOLLOW_1], "outcome-unknown"),
        ([NO_ANSWER, "in-progress"], [FOLLOW_1], "outcome-unknown"),
        ([NO_ANSWER], ["in-progress"], "outcome-unknown"),
        (["outcome-unknown"], [LEADERLESS], "outcome-unknown"),
        (["outcome-unknown"], ["writes-unavailable"], "outcome-unknown"),
        (["storage-failed"], [NOT_SENT], "outcome-unknown"),
        (["fenced"], [LEADERLESS], "outcome-unknown"),
        # What can never sell under this key is said even then.
        ([NO_ANSWER], ["idempotency-mismatch"], "idempotency-mismatch"),
        ([NO_ANSWER], ["invalid-request"], "invalid-request"),
    ],
)
def test_nothing_happened_is_said_only_when_it_is_sure(
    first: list[str], second: list[str], said: str, of_each: bool, store: Store, clock: FakeClock
) -> None:
    """Every combination of attempts at catalog-1 and catalog-2, and what the caller is told."""
    nodes = {
        "catalog-1": script(*first, of_each=of_each), "catalog-2": script(*second, of_each=of_each),
    }  # fmt: skip
    assert buy(sales_over(FakeHttp(nodes), store, clock), clock) == said


def test_each_sale_of_a_message_has_its_own_outcome(store: Store, clock: FakeClock) -> None:
    """Only what is not decided is asked again, and what was sold is stored."""

    def first(request: Request) -> Response:
        return answer([
            {"status": 201, "answer": order(1) | {"number": 1}},
            Problem("outcome-unknown", "a batch went wrong").body(),
            {"status": 409, "answer": REFUSAL},
            Problem("writes-unavailable", "its turn did not come").body(),
            Problem("idempotency-mismatch", "another basket").body(),
        ])  # fmt: skip

    def second(request: Request) -> Response:
        if request.target == "/status":
            return answer({"leader": request.to})
        keys = [one["key"] for one in json.loads(request.body)]
        assert keys == ["k2", "k4"]
        return answer([
            {"status": 201, "answer": order(2) | {"number": 2}},
            Problem("writes-unavailable", "not now").body(),
        ])  # fmt: skip

    http = FakeHttp({"catalog-1": first, "catalog-2": second})
    sales = [Sale(f"k{number}", ITEMS) for number in range(1, 6)]
    outcomes = sales_over(http, store, clock).buy(sales, clock.now() + 2.4)
    assert list(map(told, outcomes)) == [
        SOLD, SOLD, REFUSED, "writes-unavailable", "idempotency-mismatch",
    ]  # fmt: skip
    assert [store.find(f"order-{number}") is not None for number in (1, 2)] == [True, True]


@pytest.mark.parametrize("answered", [[], [{}], [None], {}, [{"status": 201}], [SOLD], [{}, {}]])
def test_an_answer_that_does_not_fit_the_message_leaves_it_unknown(
    answered: Any, store: Store, clock: FakeClock
) -> None:
    """An answer nobody understands proves neither a sale nor a refusal."""
    http = FakeHttp({"catalog-1": lambda request: answer(answered)})
    assert buy(sales_over(http, store, clock), clock) == "outcome-unknown"


def test_an_unknown_outcome_carries_the_key_that_will_tell(store: Store, clock: FakeClock) -> None:
    """Whoever gets it can ask again."""
    http = FakeHttp({"catalog-1": script(NO_ANSWER), "catalog-2": script(NO_ANSWER)})
    (unknown,) = sales_over(http, store, clock).buy([Sale("k7", ITEMS)], clock.now() + 2.4)
    assert isinstance(unknown, Problem)
    assert unknown.members["idempotency_key"] == "k7"


def test_every_attempt_is_the_same_operation(store: Store, clock: FakeClock) -> None:
    """Same key, same body: the catalog can sell it only once."""
    http = FakeHttp({"catalog-1": script(NO_ANSWER, SOLD), "catalog-2": script(FOLLOW_1)})
    buy(sales_over(http, store, clock), clock, "k7")
    operation = {"key": "k7", "kind": "sell", "body": {"items": ITEMS}}
    assert [json.loads(sent.body) for sent in http.sent] == [[operation]] * 3


def test_the_first_attempt_leaves_half_of_the_time(store: Store, clock: FakeClock) -> None:
    """A leader that hangs must not use up the time in which the other one could answer."""

    def hang(request: Request) -> Response:
        clock.advance(request.timeout_s)
        raise NoAnswer("timed out")

    http = FakeHttp({"catalog-1": hang, "catalog-2": hang})
    until = clock.now() + 2.4
    assert buy(sales_over(http, store, clock), clock) == "outcome-unknown"
    usable_s = 2.4 - MARGIN_S
    assert [sent.timeout_s for sent in http.sent] == pytest.approx([usable_s / 2, usable_s / 2])
    assert clock.now() < until


def test_no_time_left_means_that_nothing_was_sent(store: Store, clock: FakeClock) -> None:
    """A request that waited too long in its lane is refused cleanly."""
    http = FakeHttp({"catalog-1": script(SOLD)})
    (refused,) = sales_over(http, store, clock).buy([Sale("k1", ITEMS)], clock.now())
    assert (told(refused), http.sent) == ("writes-unavailable", [])


def test_the_leader_is_remembered(store: Store, clock: FakeClock) -> None:
    """After one detour every sale goes straight to it."""
    http = FakeHttp({"catalog-1": script(FOLLOW_2), "catalog-2": script(SOLD, SOLD)})
    sales = sales_over(http, store, clock)
    assert [buy(sales, clock), buy(sales, clock)] == [SOLD, SOLD]
    assert http.calls() == [
        "catalog-1 POST /operations",
        "catalog-2 POST /operations",
        "catalog-2 POST /operations",
    ]


def test_one_hint_is_followed_not_a_chain(store: Store, clock: FakeClock) -> None:
    """Two nodes that point at one another do not keep a buyer going round: the first one may have
    been handed the lead meanwhile, and is asked once more.
    """
    http = FakeHttp(
        {"catalog-1": script(FOLLOW_2, FOLLOW_2), "catalog-2": script(FOLLOW_1, FOLLOW_1)}
    )
    assert buy(sales_over(http, store, clock), clock) == "writes-unavailable"
    assert len(http.sent) == 3


def test_a_hint_to_a_stranger_is_ignored(store: Store, clock: FakeClock) -> None:
    """Only the catalogs of the config file are called."""

    def stranger(request: Request) -> Response:
        raise Problem("not-leader", "go away", leader="catalog-9")

    http = FakeHttp({"catalog-1": stranger, "catalog-2": stranger})
    assert buy(sales_over(http, store, clock), clock) == "writes-unavailable"


def test_a_leader_that_was_replaced_unawares_is_left(store: Store, clock: FakeClock) -> None:
    """Cut off from its peer it refuses writes; the other one says that it leads now, and sells."""
    http = FakeHttp(
        {"catalog-1": script("writes-unavailable"), "catalog-2": script(SOLD, leads=True)}
    )
    sales = sales_over(http, store, clock)
    assert buy(sales, clock) == SOLD
    assert sales.leader == "catalog-2"


@pytest.mark.parametrize("other", [NOT_SENT, NO_ANSWER])
def test_a_refusal_stays_certain_when_the_other_one_hangs(
    other: str, store: Store, clock: FakeClock
) -> None:
    """Only a question is sent there, never the sale: its loss leaves nothing unknown."""

    def node(request: Request) -> Response:
        assert request.target == "/status"
        assert request.timeout_s <= PROBE_S
        return act(other)

    http = FakeHttp({"catalog-1": script("writes-unavailable"), "catalog-2": node})
    assert buy(sales_over(http, store, clock), clock) == "writes-unavailable"


def test_a_sale_is_stored_before_it_is_answered(store: Store, clock: FakeClock) -> None:
    """Its order is here at once; the cursor is the follower's."""
    http = FakeHttp({"catalog-1": script(SOLD)})
    buy(sales_over(http, store, clock), clock)
    assert json.loads(store.find("order-1") or "null") == order(1)
    assert store.place == Place("shop", 0)


def test_a_refusal_stores_nothing(store: Store, clock: FakeClock) -> None:
    """Nothing was sold."""
    buy(sales_over(FakeHttp({"catalog-1": script(REFUSED)}), store, clock), clock)
    assert store.place == Place("", 0)


@pytest.mark.parametrize("error", [apsw.FullError, apsw.IOError, apsw.BusyError])
def test_a_sale_is_answered_even_when_the_own_disk_fails(
    error: type[apsw.Error], database: Database, store: Store, clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    """The ledger has it, durable on two machines; the follower brings it back."""

    def fail(sql: str) -> None:
        if sql == "COMMIT":
            raise error("the disk")

    TellingWriter(database, fail)
    http = FakeHttp({"catalog-1": script(SOLD)})
    assert buy(sales_over(http, store, clock), clock) == SOLD
    assert "sold but not in this log" in caplog.text


def test_sales_are_counted_by_outcome(store: Store, clock: FakeClock) -> None:
    """Sold, refused by the shop, refused for now."""
    http = FakeHttp(
        {"catalog-1": script(SOLD, REFUSED, "writes-unavailable"), "catalog-2": script()}
    )
    metrics = Metrics()
    sales = Sales(peers(http), store, clock=clock, metrics=metrics, tracer=tracer(clock))
    for _ in range(3):
        buy(sales, clock)
    for outcome in ("sold", "sold-out", "writes-unavailable"):
        labels = {"outcome": outcome}
        assert metrics.registry.get_sample_value("bazar_order_sales_total", labels) == 1
