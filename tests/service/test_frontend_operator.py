"""The operator's calls: the token, the way to the leader, the cluster."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from common.peer import Request, Response
from tests.support.frontend_fakes import (
    ORDER_ID,
    TOKEN,
    InlineTasks,
    Reply,
    World,
    answer,
    broken,
    dead,
    in_turn,
    refusal,
)

BOOK = {"title": "T", "authors": ["A"], "topics": ["Art"], "price_cents": 1, "quantity": 2}
CALLS: list[tuple[str, str, Any]] = [
    ("POST", "/books", BOOK),
    ("PATCH", "/books/1", {"price_cents": 5}),
    ("POST", "/books/1/restock", {"quantity": 5}),
    ("GET", "/orders", None),
    ("GET", "/cluster", None),
]
WRITES = CALLS[:3]


@pytest.fixture
def world() -> World:
    return World()


def operations(world: World) -> list[tuple[str, Any]]:
    """Return (node, operation) of each call."""
    calls = [request for request in world.http.sent if request.target.startswith("/operations")]
    return [(call.to, json.loads(call.body)) for call in calls]


# The token


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
@pytest.mark.parametrize(
    "given",
    [None, "", TOKEN, "Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x",
     f"Bearer {TOKEN[:-1]}", "Bearer \u00e9"],
)  # fmt: skip
def test_without_the_token_nothing_is_done(
    world: World, method: str, path: str, body: Any, given: str | None
) -> None:
    """401 with WWW-Authenticate, and nobody is asked."""
    headers = {} if given is None else {"Authorization": given}
    response = world.client.open(path, method=method, json=body, headers=headers)
    assert (response.status_code, response.get_json()["code"]) == (401, "unauthorized")
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert world.http.sent == []


@pytest.mark.parametrize(("method", "path", "body"), CALLS)
def test_with_the_token_it_is_done(world: World, method: str, path: str, body: Any) -> None:
    """The scheme's case does not matter."""
    headers = {"Authorization": f"bearer {TOKEN}"}
    response = world.client.open(path, method=method, json=body, headers=headers)
    assert response.status_code in (200, 201)
    assert response.headers["Cache-Control"] == "no-store"


def test_the_token_is_asked_for_before_anything_is_looked_at(world: World) -> None:
    """A stranger learns nothing about what would be valid."""
    assert world.client.patch("/books/zero", data="{").status_code == 401


# Writes


def test_what_the_leader_is_asked(world: World) -> None:
    """Key, kind, and the checked body with its defaults."""
    for method, path, body in WRITES:
        world.operator(method, path, json=body, headers={"Idempotency-Key": "k"})
    assert [operation for _, operation in operations(world)] == [
        {"key": "k", "kind": "add", "body": BOOK | {"sku": None}},
        {"key": "k", "kind": "edit", "body": {"book_id": 1, "price_cents": 5}},
        {"key": "k", "kind": "restock", "body": {"book_id": 1, "quantity": 5, "reason": None}},
    ]


def test_a_new_book_says_where_it_is(world: World) -> None:
    """201 and Location; the others are 200."""
    added = world.operator("POST", "/books", json=BOOK)
    assert (added.status_code, added.headers["Location"]) == (201, "/lookup/7")
    edited = world.operator("PATCH", "/books/1", json={"title": "U"})
    assert edited.status_code == 200
    assert "Location" not in edited.headers


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_every_write_returns_its_key(world: World, method: str, path: str, body: Any) -> None:
    """Answers and errors alike."""
    given = {"Idempotency-Key": "k"}
    for reply in (None, refusal("idempotency-mismatch"), dead, broken):
        if reply is not None:
            world.http.nodes["catalog-1"] = world.http.nodes["catalog-2"] = reply
        response = world.operator(method, path, json=body, headers=given)
        assert response.headers["Idempotency-Key"] == "k"
    assert len(world.operator(method, path, json=body).headers["Idempotency-Key"]) == 32


def test_a_recorded_refusal_is_a_problem(world: World) -> None:
    """With the status that was recorded."""
    problem = {"code": "not-found", "detail": "no book 1", "status": 404}
    world.first.over["/operations"] = lambda request: answer({"status": 404, "answer": problem})
    response = world.operator("PATCH", "/books/1", json={"price_cents": 5})
    assert response.status_code == 404
    assert response.content_type == "application/problem+json"
    assert response.get_json() == problem


def test_a_hint_is_followed_and_remembered(world: World) -> None:
    """`not-leader` means that nothing happened there."""
    world.first.leader = world.second.leader = "catalog-2"
    for _ in range(2):
        assert world.operator("POST", "/books", json=BOOK).status_code == 201
    assert [name for name, _ in operations(world)] == ["catalog-1", "catalog-2", "catalog-2"]


def test_without_a_hint_the_other_one_is_asked(world: World) -> None:
    """A node may not know who leads."""
    world.first.over["/operations"] = refusal("not-leader", leader=None)
    world.second.leader = "catalog-2"
    assert world.operator("POST", "/books", json=BOOK).status_code == 201


@pytest.mark.parametrize("leader", [7, ["catalog-2"], "catalog-9", {}])
def test_a_hint_that_is_none_is_ignored(world: World, leader: object) -> None:
    """It says that nothing happened there, and no more."""
    world.first.over["/operations"] = refusal("not-leader", leader=leader)
    world.second.leader = "catalog-2"
    assert world.operator("POST", "/books", json=BOOK).status_code == 201


@pytest.mark.parametrize("how", [dead, broken])
def test_another_leader_is_found_when_the_old_one_is_gone(world: World, how: Reply) -> None:
    """With the same key, so that it happens once."""
    world.http.nodes["catalog-1"] = how
    world.second.leader = "catalog-2"
    assert world.operator("POST", "/books", json=BOOK).status_code == 201
    keys = {operation["key"] for _, operation in operations(world)}
    assert len(keys) == 1


def test_a_lost_attempt_is_asked_about_again(world: World) -> None:
    """The other node names the same leader; its table knows what became of the key."""
    done: dict[str, Any] = {}

    def leads(request: Request) -> Response:
        key = json.loads(request.body)["key"]
        if done.setdefault(key, 0) == 0:
            done[key] = 1
            return broken(request)
        return answer({"status": 200, "answer": {"id": 1}})

    world.first.over["/operations"] = leads
    assert world.operator("PATCH", "/books/1", json={"price_cents": 5}).status_code == 200
    asked = [name for name, _ in operations(world)]
    assert asked == ["catalog-1", "catalog-2", "catalog-1"]


hint_1 = refusal("not-leader", leader="catalog-1")
hint_2 = refusal("not-leader", leader="catalog-2")
no_hint = refusal("not-leader", leader=None)
refused, unknown = refusal("writes-unavailable", "no replica"), refusal("outcome-unknown")
TOLD: list[tuple[Reply, Reply, str]] = [
    (dead, dead, "writes-unavailable"),
    (refused, hint_1, "writes-unavailable"),
    (dead, hint_1, "writes-unavailable"),
    (hint_2, hint_1, "writes-unavailable"),
    (no_hint, no_hint, "writes-unavailable"),
    (no_hint, dead, "writes-unavailable"),
    (refusal("rate-limited"), hint_1, "rate-limited"),
    (refusal("in-progress"), hint_1, "in-progress"),
    (refusal("in-progress"), dead, "in-progress"),
    (refusal("idempotency-mismatch"), hint_1, "idempotency-mismatch"),
    (broken, hint_1, "outcome-unknown"),
    (broken, dead, "outcome-unknown"),
    (unknown, hint_1, "outcome-unknown"),
    (in_turn(broken, refused), hint_1, "outcome-unknown"),
    (in_turn(broken, dead), hint_1, "outcome-unknown"),
    (in_turn(broken, refusal("in-progress")), hint_1, "outcome-unknown"),
    (lambda request: answer(["not", "ours"]), hint_1, "outcome-unknown"),
    (lambda request: answer({"status": "200", "answer": {}}), dead, "outcome-unknown"),
    (refusal("unavailable"), hint_1, "outcome-unknown"),
]


@pytest.mark.parametrize(("first", "second", "code"), TOLD)
def test_what_the_attempts_amount_to(first: Reply, second: Reply, code: str) -> None:
    """Each row: what one catalog says, what the other says, what the operator is told."""
    world = World()
    world.first.over["/operations"], world.second.over["/operations"] = first, second
    response = world.operator("PATCH", "/books/1", json={"price_cents": 5})
    assert response.get_json()["code"] == code
    assert len(operations(world)) <= 4


def test_a_leaders_refusal_ends_the_search(world: World) -> None:
    """Who else could do it?"""
    world.first.over["/operations"] = refused
    assert "no replica" in world.operator("POST", "/books", json=BOOK).get_json()["detail"]
    assert [name for name, _ in operations(world)] == ["catalog-1"]


def test_a_write_is_answered_within_5_s(world: World) -> None:
    """Silent nodes or not."""
    world.first.over["/operations"] = world.second.over["/operations"] = world.silent()
    began = world.clock.now()
    response = world.operator("POST", "/books", json=BOOK)
    assert response.get_json()["code"] == "outcome-unknown"
    assert world.clock.now() - began <= 5.0


def test_the_last_attempt_gets_what_is_left(world: World) -> None:
    """A hint that came late leaves less than an attempt's time."""

    def slow_hint(request: Request) -> Response:
        world.clock.advance(0.5)
        return hint_1(request)

    world.first.over["/operations"], world.second.over["/operations"] = world.silent(), slow_hint
    began = world.clock.now()
    world.operator("POST", "/books", json=BOOK)
    assert [name for name, _ in operations(world)] == ["catalog-1", "catalog-2", "catalog-1"]
    assert world.clock.now() - began == pytest.approx(5.0)


# All orders, the cluster


def test_the_orders_are_the_order_servers_to_list(world: World) -> None:
    """Limit and cursor are passed on; another server answers when one is dead."""
    response = world.operator("GET", "/orders?limit=3&after=abc")
    assert response.get_json()["asked"] == "/orders?limit=3&after=abc"
    world.http.nodes["order-1"] = dead
    for _ in range(2):
        assert world.operator("GET", "/orders").status_code == 200
    assert ORDER_ID not in response.text


def test_the_cluster_shows_every_node(world: World) -> None:
    """In the order of the settings; a node that does not answer is down, and why."""
    world.tick()
    world.http.nodes["catalog-2"] = dead
    world.http.nodes["order-2"] = lambda request: answer("not a status")
    found = world.operator("GET", "/cluster").get_json()
    assert (found["seen_by"], found["leader"]) == ("frontend-1", "catalog-1")
    nodes = {node["node"]: node for node in found["nodes"]}
    assert list(nodes) == ["frontend-1", "catalog-1", "catalog-2", "order-1", "order-2"]
    assert [node["up"] for node in nodes.values()] == [True, True, False, True, False]
    assert nodes["frontend-1"]["state"] == "caching"
    assert nodes["catalog-2"]["state"] == "down"
    assert "refused" in nodes["catalog-2"]["why"]
    assert nodes["order-1"]["service"] == "order"
    members = {"node", "service", "up", "role", "epoch", "position", "lag", "lease", "state"}
    assert all(members <= set(node) for node in nodes.values())


class DeafTasks(InlineTasks):
    """Takes what is spawned and never runs it."""

    def spawn(self, name: str, run: Callable[[], None]) -> None:
        pass


def test_the_cluster_is_asked_all_at_once() -> None:
    """Nodes that never answer hold nobody up for longer than a second, however many they are."""
    world = World(tasks=DeafTasks)
    began = world.clock.now()
    found = world.operator("GET", "/cluster").get_json()
    assert world.clock.now() - began == pytest.approx(1.0)
    down = {node["node"]: node["why"] for node in found["nodes"] if not node["up"]}
    assert set(down) == {"catalog-1", "catalog-2", "order-1", "order-2"}
    assert set(down.values()) == {"no answer in time"}
