"""What the frontend tells the other nodes and who watches it: hook, status, health, metrics."""

import json
import re
from collections.abc import Sequence

import pytest

from common.auth import Signer
from common.service import INTERNAL_BODY_BYTES_MAX, Call
from common.wsgi import Answer
from frontend.hook import INVALIDATE
from tests.support.frontend_fakes import (
    CLUSTER,
    ORDER_ID,
    SECRET,
    World,
    by_flask,
    call,
    dead,
    refusal,
)


@pytest.fixture
def world() -> World:
    world = World()
    world.tick()
    return world


# The hook


def test_an_invalidation_is_acknowledged_with_what_it_named(world: World) -> None:
    """(seq, hash): an acknowledgement of another content counts for nothing."""
    told = {"session": world.held(), "epoch": 1, "seq": 11, "hash": "abc", "keys": ["book:1"]}
    answer = world.signed("POST", "/internal/invalidate", told)
    assert answer.get_json() == {"acknowledged": True, "seq": 11, "hash": "abc"}
    assert answer.headers["Bazar-Cluster"] == CLUSTER


def test_an_invalidation_of_another_session_is_obeyed_not_acknowledged(world: World) -> None:
    """Its grant may be on the way, or it is long gone."""
    world.get("/lookup/1")
    assert not world.invalidate(11, "book:1", session="another")
    assert world.get("/lookup/1").headers["Cache-Status"] == "bazar; fwd=miss"


@pytest.mark.parametrize(
    "change",
    [{"session": 1}, {"epoch": "1"}, {"seq": None}, {"seq": True}, {"hash": 1}, {"keys": "book:1"},
     {"keys": [1]}],
)  # fmt: skip
def test_a_malformed_invalidation_is_refused(world: World, change: dict[str, object]) -> None:
    """Refused is not acknowledged: the leader waits for the lease."""
    told = {"session": world.held(), "epoch": 1, "seq": 11, "hash": "abc", "keys": []}
    answer = world.signed("POST", "/internal/invalidate", told | change)
    assert (answer.status_code, answer.get_json()["code"]) == (400, "invalid-request")


def test_a_large_invalidation_fits(world: World) -> None:
    """An import touches many books at once."""
    assert world.invalidate(11, *[f"book:{number}" for number in range(1, 20_000)])


def asked_of_the_hook(world: World, keys: Sequence[str], secret: str = SECRET) -> Call:
    """Return a signed invalidation as the event loop gets it."""
    told = {"session": world.held(), "epoch": 1, "seq": 11, "hash": "abc", "keys": keys}
    body = json.dumps(told).encode()
    signer = Signer("catalog-1", secret)
    headers = signer.headers("frontend-1", "POST", INVALIDATE, CLUSTER, body)
    return call(INVALIDATE, "POST", body, **{name.lower(): h for name, h in headers.items()})


def test_a_brief_invalidation_is_answered_on_the_loop(world: World) -> None:
    """To the byte as by Flask, and the entry is gone when it is."""
    world.get("/lookup/1")
    asked, answers = asked_of_the_hook(world, ["book:1"]), list[Answer]()
    assert world.service.later(asked, answers.append)
    assert world.get("/lookup/1").headers["Cache-Status"] == "bazar; fwd=miss"
    flasks = by_flask(world.app, asked)
    assert (answers[0].status, answers[0].body) == (flasks.status, flasks.body)
    assert sorted(answers[0].headers) == sorted(flasks.headers)


def test_an_invalidation_out_of_order_or_size_is_left_to_its_lane(world: World) -> None:
    """There it is refused, or takes its time."""
    large = asked_of_the_hook(world, [f"book:{number}" for number in range(1, 2_000)])
    signed_by_nobody = asked_of_the_hook(world, ["book:1"], secret="x" * 40)
    for asked in (large, signed_by_nobody):
        assert not world.service.later(asked, lambda answer: pytest.fail("answered"))
    assert by_flask(world.app, large).status == 200
    assert by_flask(world.app, signed_by_nobody).status == 401


@pytest.mark.parametrize(("method", "path"), [("POST", "/internal/invalidate"), ("GET", "/status")])
def test_only_nodes_of_the_cluster_may_call(world: World, method: str, path: str) -> None:
    """Unsigned, signed with another secret, for another node: nothing happens."""
    for secret, to in ((None, ""), ("x" * 40, "frontend-1"), (SECRET, "frontend-2")):
        headers = {}
        if secret is not None:
            headers = Signer("catalog-1", secret).headers(to, method, path, CLUSTER, b"")
        answer = world.client.open(path, method=method, headers=headers)
        assert (answer.status_code, answer.get_json()["code"]) == (401, "unauthorized")


def test_a_call_of_another_cluster_is_refused(world: World) -> None:
    """Once our own is known."""
    headers = Signer("catalog-1", SECRET).headers("frontend-1", "GET", "/status", "other", b"")
    answer = world.client.get("/status", headers=headers)
    assert (answer.status_code, answer.get_json()["code"]) == (409, "foreign-cluster")


def test_calls_to_other_nodes_are_signed_and_say_the_cluster(world: World) -> None:
    """The first without a cluster, which nobody has told us yet."""
    world.get("/lookup/1")
    first, last = world.http.sent[0], world.http.sent[-1]
    assert (first.headers["Bazar-Cluster"], last.headers["Bazar-Cluster"]) == ("", CLUSTER)
    for request in (first, last):
        checker = Signer(request.to, SECRET)
        sender = checker.check(request.headers, request.method, request.target, request.body)
        assert sender == "frontend-1"


def test_an_order_servers_word_on_the_cluster_is_not_taken() -> None:
    """The catalogs found the cluster."""
    world = World()
    for _ in range(2):
        assert world.get(f"/orders/{ORDER_ID}").status_code == 200
    assert {request.headers["Bazar-Cluster"] for request in world.http.sent} == {""}


# Health


def ready(world: World) -> tuple[int, dict[str, object]]:
    answer = world.get("/readyz")
    return answer.status_code, answer.get_json()


def test_ready_for_reads_and_writes(world: World) -> None:
    """A catalog reads, and one of them writes."""
    assert ready(world) == (200, {"reads": True, "writes": True, "why": ""})


def test_ready_for_reads_alone(world: World) -> None:
    """The leader is gone: why is what each catalog says."""
    world.http.nodes["catalog-1"] = dead
    status, found = ready(world)
    assert (status, found["reads"], found["writes"]) == (200, True, False)
    assert "catalog-1: " in str(found["why"])
    assert "catalog-2: catalog-2's why" in str(found["why"])


def test_not_ready(world: World) -> None:
    """Nobody can answer reads."""
    world.first.ready = False
    world.http.nodes["catalog-2"] = world.silent()
    began = world.clock.now()
    status, found = ready(world)
    assert (status, found["reads"], found["writes"]) == (503, False, False)
    assert world.clock.now() - began <= 0.4


def test_a_strange_answer_is_not_ready(world: World) -> None:
    """Something else listens at the catalog's address."""
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = refusal("unauthorized")
    assert ready(world)[0] == 503


def test_alive_asks_nobody() -> None:
    """A frontend without catalogs need not be restarted."""
    world = World()
    assert world.get("/livez").status_code == 200
    assert world.http.sent == []


# Metrics


def metric(world: World, line: str) -> float:
    found = re.search(rf"^{re.escape(line)} (\S+)$", world.metrics(), re.MULTILINE)
    assert found, f"no {line} in\n{world.metrics()}"
    return float(found[1])


def test_requests_are_counted_by_route_and_status(world: World) -> None:
    """By route, not by path: there are as many paths as books."""
    world.get("/lookup/1")
    world.get("/lookup/2")
    world.get("/lookup/99")
    world.get("/nowhere")
    world.client.open("/topics", method="BREW")
    route = 'route="/lookup/<book>"'
    assert metric(world, f'bazar_requests_total{{method="GET",{route},status="200"}}') == 2
    assert metric(world, f'bazar_requests_total{{method="GET",{route},status="404"}}') == 1
    assert metric(world, 'bazar_requests_total{method="GET",route="none",status="404"}') == 1
    assert metric(world, 'bazar_requests_total{method="other",route="none",status="405"}') == 1
    assert metric(world, f"bazar_request_seconds_count{{{route}}}") == 3


def test_the_time_of_a_request_is_measured(world: World) -> None:
    """A silent catalog costs 400 ms, and that shows."""
    world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = world.silent()
    world.get("/topics")
    took = metric(world, 'bazar_request_seconds_sum{route="/topics"}')
    assert 0.4 <= took <= 0.9


def test_the_cache_is_counted(world: World) -> None:
    """Look-ups, fills kept and refused, invalidations, size."""
    for _ in range(4):
        world.get("/lookup/1")
    assert metric(world, 'bazar_cache_lookups_total{result="hit"}') == 3
    assert metric(world, 'bazar_cache_lookups_total{result="miss"}') == 1
    assert metric(world, "bazar_cache_hit_ratio") == 0.75
    assert metric(world, "bazar_cache_entries") == 1
    assert metric(world, "bazar_cache_session_alive") == 1
    world.invalidate(11, "book:1")
    world.get("/lookup/1")
    assert metric(world, 'bazar_cache_fills_refused_total{why="below-floor"}') == 1
    assert metric(world, "bazar_cache_fills_total") == 1
    assert metric(world, "bazar_cache_invalidations_total") == 1
    assert metric(world, "bazar_cache_invalidated_total") == 1
    assert metric(world, "bazar_cache_evictions_total") == 0


def test_two_frontends_fit_into_one_process() -> None:
    """Nothing is shared: neither cache nor metrics."""
    one, other = World(), World()
    one.tick()
    one.get("/lookup/1")
    assert metric(one, "bazar_cache_fills_total") == 1
    assert metric(other, "bazar_cache_fills_total") == 0


# The service


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [
        ("POST", "/internal/invalidate", "hook"),
        ("GET", "/lookup/1", "reads"),
        ("HEAD", "/search/a", "reads"),
        ("GET", "/books", "reads"),
        ("GET", "/orders/abc", "reads"),
        ("GET", "/nowhere", "reads"),
        ("POST", "/purchase/1", "purchases"),
        ("POST", "/orders", "purchases"),
        ("POST", "/books", "operator"),
        ("PATCH", "/books/1", "operator"),
        ("POST", "/books/1/restock", "operator"),
        ("GET", "/orders", "operator"),
        ("GET", "/ops", "operator"),
        ("GET", "/ops/data/overview", "operator"),
        ("POST", "/ops/do/flush", "operator"),
        ("GET", "/cluster", "operator"),
        ("GET", "/readyz", "health"),
        ("GET", "/metrics", "health"),
        ("GET", "/status", "health"),
    ],
)
def test_each_kind_of_request_has_its_lane(world: World, method: str, path: str, lane: str) -> None:
    """An invalidation never waits behind requests that wait for a write."""
    assert world.service.lane_of(method, path) == lane


def test_two_hundred_buyers_fit_into_their_lane(world: World) -> None:
    """And an import's invalidation into its own."""
    lanes = world.service.lanes
    assert lanes["purchases"].workers + lanes["purchases"].waiting_max >= 200
    assert lanes["hook"].body_bytes_max == INTERNAL_BODY_BYTES_MAX
