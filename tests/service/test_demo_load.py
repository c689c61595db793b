"""The shoppers of a demo and the check of their receipts, at a pretend shop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from random import Random

import pytest

from common.demo.check import Check
from common.demo.client import Client, NoAnswer
from common.demo.diary import Diary
from common.demo.figures import Figures
from common.demo.load import RATE_MAX, Load
from common.demo.receipts import Receipts
from common.errors import Problem
from tests.support.demo import PretendShop, run, until
from tests.support.processes import free_ports

FAST = 200


class Shopping:
    """A load at a pretend shop, and the check of its receipts."""

    def __init__(self, port: int) -> None:
        self.shop, self.receipts, self.figures = PretendShop(), Receipts(), Figures()
        self.told: list[str] = []
        self.load = Load(
            Client(port), "token", 5, figures=self.figures, receipts=self.receipts,
            diary=Diary(self.told.append), random=Random(1),
        )  # fmt: skip
        self.list = Client(port)
        self.check = Check(self.list, "token", self.receipts)

    def count(self, name: str) -> int:
        return int(self.receipts.shown()[name])

    async def sell(self, orders: int) -> None:
        """Let shoppers in until so many orders were told, and all is decided."""
        self.load.set_rate(FAST)
        await until(lambda: self.count("sold") >= orders, f"{orders} orders")
        self.load.set_rate(0)
        await until(lambda: not self.receipts.open, "decisions")


@asynccontextmanager
async def shopping() -> AsyncIterator[Shopping]:
    (port,) = free_ports(1)
    found = Shopping(port)
    async with found.shop.open(port):
        try:
            yield found
        finally:
            await found.load.close()
            found.list.close()


def test_shoppers_come_and_go() -> None:
    """The rate's effect, and its undoing."""

    async def testing() -> None:
        async with shopping() as it:
            await it.load.learn_topics()
            it.load.set_rate(FAST)
            for call in ("GET /lookup/1", "GET /search/a%2Fb%20%26%20c", "POST /purchase/1"):
                await until(lambda call=call: call in it.shop.asked, call)  # type: ignore[misc]
            it.load.set_rate(0)
            await until(lambda: not it.load.inside, "everybody's answer")
            asked = len(it.shop.asked)
            for _ in range(5):
                await it.check.walk()
            assert len(it.shop.asked) == asked + 5, "somebody still comes"
            assert it.told == [f"{FAST} shoppers a second", "no shoppers a second"]

    run(testing())


def test_a_purchase_is_asked_for_again_until_it_is_decided() -> None:
    """Under its key: what was unknown is resolved and sold once."""

    async def testing() -> None:
        async with shopping() as it:
            it.shop.refuse_next = [
                (503, "outcome-unknown"), (503, "writes-unavailable"), (429, "rate-limited"),
            ]  # fmt: skip
            await it.sell(5)
            await it.check.walk()
            shown = it.receipts.shown()
            assert shown["sold"] == shown["found"] == len(it.shop.orders)
            assert shown["resolved"] == 1
            assert (shown["lost"], shown["doubled"], shown["others"]) == (0, 0, 0)
            assert it.figures.codes["outcome-unknown"] == 1

    run(testing())


def test_sold_out_is_an_answer() -> None:
    """It is not asked for again, and no order is missed."""

    async def testing() -> None:
        async with shopping() as it:
            it.shop.refuse_next = [(409, "sold-out")]
            await it.sell(2)
            assert it.count("sold_out") == 1
            assert it.count("lost") == 0

    run(testing())


def test_a_lost_order_is_found_out() -> None:
    """The list lacks it and the shop does not know it: counted, and named in no other way."""

    async def testing() -> None:
        async with shopping() as it:
            await it.sell(4)
            await it.check.walk()
            assert it.count("lost") == 0
            it.shop.orders.pop(1)  # after it was seen
            await it.check.walk()
            assert it.count("lost") == 1

    run(testing())


def test_a_doubled_purchase_is_found_out() -> None:
    """By a late duplicate, which becomes another order."""

    async def testing() -> None:
        async with shopping() as it:
            it.shop.sells_twice = True
            it.load.set_rate(FAST)
            await until(lambda: it.count("doubled"), "a doubled purchase")

    run(testing())


def test_a_list_that_cannot_be_had_loses_nothing() -> None:
    """No answer is no proof."""

    async def testing() -> None:
        async with shopping() as it:
            await it.sell(2)
        with pytest.raises(NoAnswer):
            await it.check.walk()
        assert (it.count("lost"), it.count("walks")) == (0, 0)

    run(testing())


def test_a_book_that_runs_low_is_restocked_once() -> None:
    """While it is under way nobody else does so."""

    async def testing() -> None:
        async with shopping() as it:
            it.shop.stock = 3
            it.load.set_rate(FAST)
            await until(lambda: it.shop.restocked and it.shop.stock == 100, "a restock")
            assert it.shop.restocked <= 5, "more than one for each book"

    run(testing())


@pytest.mark.parametrize("rate", [-1, RATE_MAX + 1])
def test_a_rate_out_of_bounds_is_refused(rate: int) -> None:
    """Nobody comes."""

    async def testing() -> None:
        async with shopping() as it:
            with pytest.raises(Problem, match="rate"):
                it.load.set_rate(rate)
            assert it.load.rate == 0

    run(testing())
