"""Purchases that wait at one time go in one message; nobody waits for one that is lost."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from common.auth import Signer
from common.errors import Problem
from common.peer import NoAnswer, Peer, Request, Response
from frontend.balancer import Balancer
from frontend.gateway import Group
from frontend.purchases import CARRIERS_MAX, STUCK_S, Purchases, Sold
from tests.support.frontend_fakes import SECRET, answer
from tests.support.scheduler import Scheduler, SimClock, SimTasks
from tests.support.tracing import tracer

LINES = [{"book_id": 1, "quantity": 1}]
TAKES_S = 0.01
ORDERS = ["order-1", "order-2"]


class Shop:
    """Some buyers, a frontend's purchases, two order servers that take their time."""

    def __init__(self, seed: int = 1) -> None:
        self.scheduler = Scheduler(seed)
        self.clock = SimClock(self.scheduler)
        self.tasks = SimTasks(self.scheduler, "frontend-1")
        self.act: Callable[[Request, list[Any]], Response] = self.sell
        self.messages: list[list[str]] = []
        self.told: dict[str, Sold | Problem] = {}
        balancer = Balancer(ORDERS, lock=threading.Lock())
        group = Group({name: self._peer(name) for name in ORDERS}, balancer, self.clock)
        self.purchases = Purchases(
            group,
            clock=self.clock,
            tasks=self.tasks,
            random=Random(1),
            lock=threading.Lock(),
            tracer=tracer(self.clock),
        )
        self.scheduler.spawn("ticker", "frontend-1", self._tick)

    def _tick(self) -> None:
        while True:
            self.purchases.tick()
            self.scheduler.sleep(STUCK_S)

    def _peer(self, name: str) -> Peer:
        signer = Signer("frontend-1", SECRET)
        return Peer(name, f"http://{name}", http=self, signer=signer, cluster=lambda: "")

    def send(self, request: Request) -> Response:
        sales = json.loads(request.body)
        self.messages.append([sale["key"] for sale in sales])
        return self.act(request, sales)

    def sell(self, request: Request, sales: list[Any]) -> Response:
        self.scheduler.sleep(TAKES_S)
        orders = [{"order_id": f"of {sale['key']}"} for sale in sales]
        return answer([{"status": 201, "answer": order} for order in orders])

    def buy(self, key: str) -> None:
        try:
            self.told[key] = self.purchases.sell(LINES, key)
        except Problem as problem:
            self.told[key] = problem

    def arrive(self, *keys: str) -> None:
        for key in keys:
            self.scheduler.spawn(key, key, lambda key=key: self.buy(key))  # type: ignore[misc]

    def until_told(self, count: int, limit_s: float = 10.0) -> None:
        self.scheduler.run(lambda: len(self.told) == count, limit_s)

    def sold(self) -> set[str]:
        return {key for key, said in self.told.items() if said == Sold(f"of {key}", said.body)}  # type: ignore[union-attr]


@pytest.fixture
def shop() -> Shop:
    return Shop()


def named(count: int, prefix: str = "k") -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


def test_a_lone_purchase_goes_at_once(shop: Shop) -> None:
    """It waits for nobody to come along."""
    shop.arrive("k")
    shop.until_told(1)
    assert (shop.messages, shop.scheduler.now) == ([["k"]], TAKES_S)


def test_those_who_wait_go_together(shop: Shop) -> None:
    """While a message is out, all who come wait for the next one; each gets its own order."""
    shop.arrive(*named(40))
    shop.until_told(40)
    assert shop.sold() == set(named(40))
    assert sorted(key for message in shop.messages for key in message) == sorted(named(40))
    assert len(shop.messages) <= CARRIERS_MAX + 1


def test_a_message_holds_a_batch_at_most(shop: Shop) -> None:
    """As many as a leader takes into one."""
    shop.arrive(*named(300))
    shop.until_told(300)
    assert shop.sold() == set(named(300))
    assert max(map(len, shop.messages)) == 64


def test_a_message_that_does_not_come_back_holds_up_nobody_else(shop: Shop) -> None:
    """Those behind it leave after a moment, in messages of their own."""

    def act(request: Request, sales: list[Any]) -> Response:
        if sales[0]["key"].startswith("stuck"):
            shop.scheduler.sleep(request.timeout_s)
            raise NoAnswer("asleep")
        return shop.sell(request, sales)

    shop.act = act
    for number in range(CARRIERS_MAX):
        shop.arrive(f"stuck{number}")
        shop.scheduler.run(lambda number=number: len(shop.messages) == number + 1, 1.0)  # type: ignore[misc]
    shop.arrive(*named(10))
    shop.until_told(10, limit_s=2 * STUCK_S + 2 * TAKES_S)
    assert shop.sold() == set(named(10))
    shop.until_told(10 + CARRIERS_MAX)
    assert {shop.told[f"stuck{n}"].code for n in range(CARRIERS_MAX)} == {"outcome-unknown"}  # type: ignore[union-attr]


def test_an_error_nobody_foresaw_leaves_nobody_waiting(shop: Shop) -> None:
    """Whoever was on that message is told that the outcome is not known."""

    def act(request: Request, sales: list[Any]) -> Response:
        shop.scheduler.sleep(TAKES_S)
        raise RuntimeError("a defect")

    shop.act = act
    shop.arrive(*named(20))
    shop.until_told(20)
    assert {said.code for said in shop.told.values()} == {"outcome-unknown"}  # type: ignore[union-attr]


@pytest.mark.parametrize("seed", range(30))
def test_each_purchase_is_answered_once_however_they_come(seed: int) -> None:
    """Random arrivals, refusals, losses: everybody learns what is true of his own key."""
    shop, random = Shop(seed), Random(seed)
    fates = {key: random.choice(("sold", "sold-out", "lost")) for key in named(60)}

    def act(request: Request, sales: list[Any]) -> Response:
        shop.scheduler.sleep(random.choice((0.0, TAKES_S, 2 * STUCK_S)))
        if random.random() < 0.2:
            raise NoAnswer("lost")
        return answer([_said(fates[sale["key"]], sale["key"]) for sale in sales])

    shop.act = act
    for key in fates:
        shop.scheduler.at(random.uniform(0, 0.3), lambda key=key: shop.arrive(key))  # type: ignore[misc]
    shop.until_told(60, 30)
    for key, said in shop.told.items():
        if isinstance(said, Sold):
            assert (said.order_id, fates[key]) == (f"of {key}", "sold")
        else:
            assert isinstance(said, Problem)
            assert said.code in (fates[key], "outcome-unknown")


def _said(fate: str, key: str) -> Any:
    if fate == "sold":
        return {"status": 201, "answer": {"order_id": f"of {key}"}}
    if fate == "lost":
        return Problem("outcome-unknown", "a batch went wrong", idempotency_key=key).body()
    return {"status": 409, "answer": Problem(fate, "0 left").body()}
