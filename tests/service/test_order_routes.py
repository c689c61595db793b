"""The order server as its callers see it: signed calls, problems, lists, health."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from common.errors import MEDIA_TYPE, Problem
from common.fields import LIMIT_DEFAULT
from common.peer import NoAnswer, Request, Response
from common.service import Service, StartRefused
from tests.support.order_fakes import (
    CLUSTER_ID,
    FakeClock,
    FakeHttp,
    OrderServer,
    Shop,
    answer,
    network,
    order,
)

REFUSAL = {"status": 409, "code": "sold-out", "title": "Not enough copies left", "detail": "0 left"}


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def http(shop: Shop) -> FakeHttp:
    return network(shop)


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def server(tmp_path: Path, http: FakeHttp, clock: FakeClock) -> Iterator[OrderServer]:
    server = OrderServer(tmp_path, http, clock)
    yield server
    server.close()


def says(problem: Problem) -> Callable[[Request], Response]:
    def node(request: Request) -> Response:
        raise problem

    return node


def mute(request: Request) -> Response:
    raise NoAnswer("timed out")


# --- selling ---


def test_a_sale_is_answered_with_the_public_order(server: OrderServer) -> None:
    """201, the document without its ledger number."""
    sold = server.buy()
    assert (sold.status, sold.json) == (201, order(1))


def test_the_sales_of_a_message_are_answered_in_their_order(
    server: OrderServer, http: FakeHttp
) -> None:
    """Each with what it would be told alone; they go to the leader in one message, too."""
    sales = [{"key": f"k{number}", "items": [{"book_id": 1}]} for number in (1, 2, 1)]
    told = server.call("POST", "/sales", sales).json
    assert told == [{"status": 201, "answer": order(number)} for number in (1, 2, 1)]
    assert http.calls() == ["catalog-1 POST /operations"]


def test_the_same_key_again_is_the_same_order(server: OrderServer, shop: Shop) -> None:
    """Whichever attempt is answered, it happened once."""
    assert server.buy("k1") == server.buy("k1")
    assert len(shop.orders) == 1


def test_a_recorded_refusal_keeps_its_status_and_document(
    server: OrderServer, http: FakeHttp
) -> None:
    """The leader's word is passed on as it is."""
    http.nodes["catalog-1"] = lambda request: answer([{"status": 409, "answer": REFUSAL}])
    refused = server.buy()
    assert (refused.status, refused.json) == (409, REFUSAL)


def test_a_sale_that_cannot_be_written_is_refused_cleanly(
    server: OrderServer, http: FakeHttp
) -> None:
    """503: nothing happened."""
    http.nodes.clear()
    refused = server.buy()
    assert (refused.status, refused.json["code"]) == (503, "writes-unavailable")


def test_a_sale_without_an_answer_tells_the_key(server: OrderServer, http: FakeHttp) -> None:
    """503 `outcome-unknown`: the same key will tell."""
    http.nodes["catalog-1"] = http.nodes["catalog-2"] = mute
    unknown = server.buy("k9")
    assert (unknown.status, unknown.json["code"]) == (503, "outcome-unknown")
    assert unknown.json["idempotency_key"] == "k9"


@pytest.mark.parametrize(
    "body",
    [
        b"", b"[]", b"{", b"{}", b"[1]", b"[{}]", b'{"key":"k","items":[{"book_id":1}]}',
        b'[{"key":"k","items":[]}]', b'[{"key":"k","items":[{"book_id":1}],"price":0}]',
        b'[{"key":"k","items":[{"book_id":0}]}]', b'[{"items":[{"book_id":1}]}]',
        b'[{"key":"k","items":[{"book_id":1,"quantity":0}]}]',
        b'[{"key":"k","items":[{"book_id":1},{"book_id":1}]}]',
        b'[{"key":"k","items":[{"book_id":1}],"items":[]}]',
        b"[" + b",".join([b'{"key":"k","items":[{"book_id":1}]}'] * 65) + b"]",
    ],
)  # fmt: skip
def test_a_malformed_sale_never_reaches_the_leader(
    body: bytes, server: OrderServer, http: FakeHttp
) -> None:
    """400, and nothing was sent."""
    refused = server.call("POST", "/sales", body=body)
    assert (refused.status_code, refused.json["code"]) == (400, "invalid-request")
    assert http.sent == []


@pytest.mark.parametrize("key", [None, "", "ü", "k" * 256])
def test_a_sale_needs_a_key(key: str | None, server: OrderServer, http: FakeHttp) -> None:
    """Without one a repeated call would sell twice."""
    refused = server.call("POST", "/sales", [{"key": key, "items": [{"book_id": 1}]}])
    assert (refused.status_code, http.sent) == (400, [])


def test_the_leader_gets_the_basket_with_its_defaults(server: OrderServer, http: FakeHttp) -> None:
    """One canonical body per basket, or the same key would not match itself."""
    server.call("POST", "/sales", [{"key": "k1", "items": [{"book_id": 1}]}])
    (operation,) = json.loads(http.sent[0].body)
    assert operation["body"] == {"items": [{"book_id": 1, "quantity": 1}]}


# --- one order ---


def test_an_order_sold_here_needs_no_catalog(server: OrderServer, http: FakeHttp) -> None:
    """It is in the own log."""
    server.buy()
    http.nodes.clear()
    found = server.call("GET", "/orders/order-1", cluster=CLUSTER_ID)
    assert (found.status_code, found.content_type) == (200, "application/json")
    assert found.json == order(1)


def test_an_order_sold_elsewhere_is_found_at_once(server: OrderServer, shop: Shop) -> None:
    """Before "no such order" is said the ledger is read to its end."""
    shop.sell_many(3)
    assert server.call("GET", "/orders/order-3").json == order(3)


def test_an_order_is_the_same_bytes_however_it_came(
    tmp_path: Path, http: FakeHttp, clock: FakeClock
) -> None:
    """Sold here or followed: both order servers answer alike."""
    seller, follower = (OrderServer(tmp_path / name, http, clock) for name in ("one", "two"))
    sold = seller.buy()
    bodies = [server.call("GET", "/orders/order-1").data for server in (seller, follower)]
    assert [json.loads(body) for body in bodies] == [sold.json, sold.json]
    assert bodies[0] == bodies[1]
    seller.close()
    follower.close()


def test_no_such_order_is_said_only_after_catching_up(server: OrderServer, http: FakeHttp) -> None:
    """404, and the ledger was asked."""
    missing = server.call("GET", "/orders/order-1")
    assert (missing.status_code, missing.json["code"]) == (404, "not-found")
    assert http.calls() == ["catalog-1 GET /ledger"]


def test_an_order_nobody_can_look_for_is_unavailable_not_missing(
    server: OrderServer, http: FakeHttp
) -> None:
    """A 404 would be a lie when the ledger cannot be read."""
    http.nodes.clear()
    unsure = server.call("GET", "/orders/order-1")
    assert (unsure.status_code, unsure.json["code"]) == (503, "unavailable")


@pytest.mark.parametrize("path", ["%C3%BC", "%FF", "a%00b", "%ED%A0%80", "x" * 101])
def test_what_cannot_be_an_order_id_is_no_order(
    path: str, server: OrderServer, http: FakeHttp
) -> None:
    """404 at once, never an error."""
    missing = server.call("GET", f"/orders/{path}")
    assert (missing.status_code, http.sent) == (404, [])


def test_an_order_has_no_parameters(server: OrderServer) -> None:
    """Unknown parameters are refused, as everywhere."""
    assert server.call("GET", "/orders/order-1?x=1").status_code == 400


# --- the list ---


def test_the_list_is_in_the_order_of_the_sales_page_by_page(
    server: OrderServer, shop: Shop
) -> None:
    """`next` leads through all of it and ends with null."""
    shop.sell_many(5)
    seen, target = [], "/orders?limit=2"
    while target:
        listed = server.call("GET", target).json
        assert listed["total"] == 5
        seen += listed["items"]
        target = f"/orders?limit=2&after={listed['next']}" if listed["next"] else ""
    assert seen == [order(number) for number in range(1, 6)]


def test_the_list_holds_every_sale_completed_before_it(server: OrderServer, shop: Shop) -> None:
    """It catches up first, whatever the follower did."""
    server.tick()
    shop.sell()
    assert server.call("GET", "/orders").json == {"items": [order(1)], "total": 1, "next": None}


def test_an_empty_shop_has_an_empty_list(server: OrderServer) -> None:
    """No sale yet is no error."""
    assert server.call("GET", "/orders").json == {"items": [], "total": 0, "next": None}


def test_the_list_is_unavailable_when_it_cannot_catch_up(
    server: OrderServer, http: FakeHttp
) -> None:
    """An old list would break the promise."""
    server.buy()
    http.nodes.clear()
    assert server.call("GET", "/orders").json["code"] == "unavailable"


def test_a_page_has_fifty_orders_by_default(server: OrderServer, shop: Shop) -> None:
    """The public default."""
    shop.sell_many(LIMIT_DEFAULT + 1)
    listed = server.call("GET", "/orders").json
    assert len(listed["items"]) == LIMIT_DEFAULT
    assert listed["next"] is not None


@pytest.mark.parametrize(
    "query",
    [
        "limit=0", "limit=201", "limit=x", "limit=1&limit=2", "page=2",
        "after=x", "after=b3RoZXI6c2hvcDox",
    ],
)  # fmt: skip
def test_a_bad_page_is_refused(query: str, server: OrderServer) -> None:
    """400: limits, foreign cursors, unknown and double parameters."""
    assert server.call("GET", f"/orders?{query}").status_code == 400


def test_a_page_that_ends_with_the_list_is_the_last(server: OrderServer, shop: Shop) -> None:
    """No empty page is offered."""
    shop.sell_many(2)
    cursor = server.call("GET", "/orders?limit=1").json["next"]
    last = server.call("GET", f"/orders?limit=1&after={cursor}").json
    assert (last["items"], last["next"]) == ([order(2)], None)


# --- who may call, health, status ---


def test_an_unsigned_call_is_refused(server: OrderServer) -> None:
    """Only the health pages are open."""
    client = server.app.test_client()
    for method, path in (
        ("POST", "/sales"),
        ("GET", "/orders"),
        ("GET", "/orders/a"),
        ("GET", "/status"),
    ):
        assert client.open(path, method=method).status_code == 401
    for path in ("/livez", "/readyz", "/metrics"):
        assert client.get(path).status_code == 200


def test_a_call_of_another_cluster_is_refused(server: OrderServer) -> None:
    """As soon as the server knows its own."""
    assert server.call("GET", "/orders", cluster="other").status_code == 200
    refused = server.call("GET", "/orders", cluster="other")
    assert (refused.status_code, refused.json["code"]) == (409, "foreign-cluster")


def test_every_answer_names_the_cluster(server: OrderServer) -> None:
    """So that a frontend notices a stranger."""
    server.buy()
    assert server.call("GET", "/status").headers["Bazar-Cluster"] == CLUSTER_ID


def test_ready_for_reads_at_once_and_for_writes_when_a_catalog_answers(
    server: OrderServer, http: FakeHttp, clock: FakeClock
) -> None:
    """The own log can be read without any catalog."""
    client = server.app.test_client()
    assert client.get("/readyz").json["writes"] is False
    server.tick()
    assert client.get("/readyz").json == {"reads": True, "writes": True, "why": ""}
    http.nodes.clear()
    clock.advance(10)
    ready = client.get("/readyz")
    assert (ready.status_code, ready.json["reads"], ready.json["writes"]) == (200, True, False)


def test_a_log_of_another_history_is_out_of_service(server: OrderServer, shop: Shop) -> None:
    """Not ready, `unavailable` even for its own orders, and it says why."""
    server.buy()
    server.tick()
    shop.orders.clear()
    server.tick()
    ready = server.app.test_client().get("/readyz")
    assert (ready.status_code, ready.json["reads"]) == (503, False)
    assert "lost sales" in ready.json["why"]
    assert server.call("GET", "/orders/order-1").json["code"] == "unavailable"
    assert server.call("GET", "/orders").json["code"] == "unavailable"
    assert server.call("GET", "/status").json["state"] == "refusing"


def test_the_status_tells_how_far_it_followed(server: OrderServer, shop: Shop) -> None:
    """Position and epoch are those of the ledger that is all here."""
    assert server.call("GET", "/status").json["state"] == "starting"
    shop.sell()
    server.tick()
    assert server.call("GET", "/status").json == {
        "node": "order-1", "role": "order", "epoch": 3, "position": [3, 17], "lag": 0,
        "lease": None, "state": "following", "leader": "catalog-1", "why": "",
    }  # fmt: skip


def test_the_metrics_tell_sales_and_lag(server: OrderServer) -> None:
    """What an operator watches."""
    server.buy()
    server.tick()
    text = server.app.test_client().get("/metrics").text
    assert 'bazar_order_sales_total{outcome="sold"} 1.0' in text
    assert "bazar_order_followed_rows_total 1.0" in text
    assert "bazar_order_lag_rows 0.0" in text


def test_two_servers_fit_into_one_process(tmp_path: Path, http: FakeHttp, clock: FakeClock) -> None:
    """Nothing is global; what one sells the other one shows."""
    one, two = (OrderServer(tmp_path / name, http, clock) for name in ("one", "two"))
    one.buy("k1")
    two.buy("k2")
    assert one.call("GET", "/orders").data == two.call("GET", "/orders").data
    one.close()
    two.close()


def test_a_server_restarted_after_a_sale_still_has_it(
    tmp_path: Path, http: FakeHttp, clock: FakeClock
) -> None:
    """The order is in the file before it is spoken of."""
    first = OrderServer(tmp_path, http, clock)
    first.buy()
    http.nodes.clear()  # the old objects are dropped, not closed: a crash
    second = OrderServer(tmp_path, http, clock)
    assert second.call("GET", "/orders/order-1").json == order(1)
    second.close()
    first.close()


def test_each_kind_of_call_has_its_lane(server: OrderServer) -> None:
    """Sales that wait for the leader starve neither reads nor health."""
    service: Service = server.app.extensions["bazar"]
    lanes = {
        ("POST", "/sales"): "sales",
        ("GET", "/orders"): "reads",
        ("GET", "/orders/order-1"): "reads",
        ("GET", "/status"): "health",
        ("GET", "/readyz"): "health",
    }
    for call, lane in lanes.items():
        assert service.lane_of(*call) == lane
        assert lane in service.lanes
    assert (service.lanes["sales"].workers, service.lanes["sales"].waiting_max) == (64, 512)


def test_building_an_app_calls_nobody(server: OrderServer, http: FakeHttp) -> None:
    """Nothing happens until a request comes or a loop is run."""
    assert http.sent == []
    assert list(server.app.extensions["bazar"].loops) == ["follower"]


def test_a_disk_that_cannot_be_used_is_told_at_the_start(
    tmp_path: Path, http: FakeHttp, clock: FakeClock
) -> None:
    """One sentence instead of a traceback."""
    (tmp_path / "orders.db").mkdir()
    with pytest.raises(StartRefused, match=r"orders\.db"):
        OrderServer(tmp_path, http, clock)


def test_an_unknown_path_is_a_problem(server: OrderServer) -> None:
    """As everywhere."""
    missing = server.call("GET", "/nowhere")
    assert (missing.status_code, missing.content_type) == (404, MEDIA_TYPE)
    assert server.call("DELETE", "/orders").status_code == 405
