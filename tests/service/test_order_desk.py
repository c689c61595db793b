"""What an order server tells the control room: the latest orders, and a digest of all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.order_fakes import FakeClock, FakeHttp, OrderServer, Shop, network, order


@pytest.fixture
def shop() -> Shop:
    return Shop()


@pytest.fixture
def http(shop: Shop) -> FakeHttp:
    return network(shop)


@pytest.fixture
def server(tmp_path: Path, http: FakeHttp) -> Iterator[OrderServer]:
    server = OrderServer(tmp_path, http, FakeClock())
    yield server
    server.close()


def test_the_newest_orders_come_first(server: OrderServer, shop: Shop) -> None:
    """With their numbers, page by page backwards."""
    shop.sell_many(5)
    server.tick()
    found = server.call("GET", "/newest?limit=2").get_json()
    assert found == {
        "items": [{"number": number, "order": order(number)} for number in (5, 4)], "total": 5,
    }  # fmt: skip
    older = server.call("GET", "/newest?limit=9&before=4").get_json()["items"]
    assert [one["number"] for one in older] == [3, 2, 1]


def test_they_are_there_without_any_catalog(
    server: OrderServer, shop: Shop, http: FakeHttp
) -> None:
    """As far as they have been followed."""
    shop.sell_many(3)
    server.tick()
    http.nodes.clear()
    assert server.call("GET", "/newest").get_json()["total"] == 3
    assert server.call("GET", "/audit?upto=3").get_json()["upto"] == 3


def test_the_digest_is_of_the_orders_and_of_nothing_else(
    tmp_path: Path, server: OrderServer, shop: Shop, http: FakeHttp
) -> None:
    """Two order servers agree, however the orders came: sold here, or followed."""
    server.buy("k1")
    shop.sell_many(4)
    server.tick()
    other = OrderServer(tmp_path / "other", http, FakeClock())
    other.tick()
    for upto in (0, 1, 5, 99):
        one, two = (each.call("GET", f"/audit?upto={upto}").get_json() for each in (server, other))
        assert one == two
        assert (one["orders"], one["upto"]) == (5, min(upto, 5))
    other.close()


def test_an_order_that_was_changed_is_seen_when_read_again(
    tmp_path: Path, server: OrderServer, shop: Shop
) -> None:
    """`again` believes nothing."""
    shop.sell_many(2)
    server.tick()
    before = server.call("GET", "/audit?upto=2").get_json()
    assert server.call("GET", "/audit?upto=2&again=1").get_json() == before
    server.app.extensions["bazar.follower"]._store._database.writer.execute(
        "UPDATE orders SET body = '{}' WHERE number = 1"
    )
    assert server.call("GET", "/audit?upto=2&again=1").get_json() != before


def test_what_is_asked_wrongly_is_refused(server: OrderServer) -> None:
    """400."""
    for target in ("/newest?limit=0", "/newest?before=x", "/audit?upto=-1", "/audit?x=1"):
        assert server.call("GET", target).status_code == 400, target
