"""kill -9 of real processes: what goes on, what is refused, what is there when they are back."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from random import Random
from secrets import randbits
from uuid import uuid4

import pytest
import requests

from tests.support.real import RealShop, Stopwatch, at_once, code, seed_csv
from tests.support.traffic import Traffic

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

CATALOGS = ("catalog-1", "catalog-2")
ORDERS = ("order-1", "order-2")
READ_S, REFUSED_S, BACK_S = 1.0, 2.0, 5.0  # what the README promises
ROUNDS = int(os.environ.get("BAZAR_ROUNDS", "20"))
BUYERS = 12


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """One shop with two frontends; every test finds it whole and leaves it as it likes."""
    with RealShop(
        tmp_path_factory.mktemp("kill"), seed=seed_csv(books=40, stock=100), frontends=2, lease_s=1
    ) as shop:
        yield shop


@pytest.fixture
def shop(running: RealShop) -> RealShop:
    """The shop, mended after the test before."""
    running.start(*(name for name in running.names if name not in running.alive()))
    running.wait_ready()
    return running


@pytest.mark.parametrize("victim", CATALOGS)
def test_the_next_reads_answer_within_a_second_when_a_catalog_is_killed(
    shop: RealShop, victim: str
) -> None:
    """Cached or not, each of them, from the first on."""
    shop.hit("/lookup/1")
    shop.kill(victim)
    for path in ("/lookup/2", "/lookup/1", "/lookup/3", "/search/Sea?limit=7", "/topics", "/books"):
        for frontend in shop.frontends:
            watch = Stopwatch()
            assert shop.get(path, at=frontend).status_code == 200
            assert watch.seconds < READ_S, path


@pytest.mark.parametrize("victim", CATALOGS)
def test_purchases_are_refused_and_change_nothing_while_a_catalog_is_dead(
    shop: RealShop, victim: str
) -> None:
    """503 `writes-unavailable` within two seconds; what was refused is never sold; then all is well
    within five seconds of the restart.
    """
    before, sold = shop.stock(4), len(shop.listing("order-1"))
    shop.kill(victim)
    for _ in range(3):
        for ask in (shop.buy(4), shop.restock(4, 1), shop.price(4, 1)):
            assert (ask.status_code, code(ask)) == (503, "writes-unavailable")
            assert ask.elapsed.total_seconds() < REFUSED_S
            assert int(ask.headers["Retry-After"]) > 0
    assert shop.stock(4) == before
    shop.start(victim)
    watch = Stopwatch()
    bought = shop.decided(partial(shop.buy, 4, key=str(uuid4())), BACK_S)
    assert bought.status_code == 201
    assert watch.seconds < BACK_S
    shop.wait_ready()
    assert shop.look(4)["price_cents"] == 500
    assert shop.stock(4) == before - 1
    assert len(shop.check_copies()) == sold + 1


@pytest.mark.parametrize("victim", [*CATALOGS, *ORDERS])
def test_purchases_under_way_when_a_node_dies_answer_or_say_unknown_and_are_decided_later(
    shop: RealShop, victim: str
) -> None:
    """The same key tells which it was; "nothing changed" was true; nothing is sold twice."""
    book, sold_before = 5 + [*CATALOGS, *ORDERS].index(victim), len(shop.listing("order-1"))
    before = shop.stock(book)
    answered, killed = threading.Semaphore(0), threading.Event()

    def buy_until_killed() -> dict[str, requests.Response]:
        """Return key -> first answer, up to one that came after the kill."""
        answers: dict[str, requests.Response] = {}
        while not killed.is_set() and len(answers) < 15:
            key = str(uuid4())
            answers[key] = shop.buy(book, quantity=1, key=key)
            answered.release()
        return answers

    def kill() -> dict[str, requests.Response]:
        for _ in range(2 * BUYERS):
            assert answered.acquire(timeout=10)
        shop.kill(victim)
        killed.set()
        return {}

    first: dict[str, requests.Response] = {}
    for answers in at_once([kill, *[buy_until_killed] * BUYERS]):
        first |= answers
    told = {key: answer.status_code if answer.ok else code(answer) for key, answer in first.items()}
    print(victim, Counter(told.values()))
    assert set(told.values()) <= {201, "writes-unavailable", "outcome-unknown", "sold-out"}
    shop.start(victim)
    shop.wait_ready()
    final = {
        key: shop.decided(partial(shop.buy, book, key=key), BACK_S)
        for key in first
        if told[key] != "writes-unavailable"
    }
    assert all(final[key].content == first[key].content for key in first if told[key] == 201)
    sold = {answer.json()["order_id"] for answer in final.values() if answer.ok}
    assert len(sold) == sum(answer.ok for answer in final.values())
    assert shop.stock(book) == before - len(sold)
    orders = {order["order_id"] for order in shop.check_copies()}
    assert sold <= orders
    assert len(orders) == sold_before + len(sold)


def test_with_both_catalogs_dead_everybody_is_told_so_within_two_seconds(shop: RealShop) -> None:
    """503 `unavailable` for reads (cached ones once the lease is over), `writes-unavailable` for
    purchases; started again in the other order the shop is as it was.
    """
    before = shop.stock(10)
    shop.hit("/lookup/11")
    shop.kill(*CATALOGS)
    for path in ("/lookup/12", "/search/nothing", "/books", "/topics", "/lookup/999999"):
        answer = shop.get(path)
        assert (answer.status_code, code(answer)) == (503, "unavailable")
        assert answer.elapsed.total_seconds() < REFUSED_S
    bought = shop.buy(10)
    assert (bought.status_code, code(bought)) == (503, "writes-unavailable")
    assert bought.elapsed.total_seconds() < REFUSED_S
    shop.wait_until(
        lambda: shop.get("/lookup/11").status_code == 503, shop.lease_s + 1, "the lease's end"
    )
    ready = shop.get("/readyz")
    assert (ready.status_code, ready.json()["reads"], ready.json()["writes"]) == (503, False, False)
    shop.start(*reversed(CATALOGS))
    shop.wait_ready()
    assert shop.stock(10) == before


@pytest.mark.parametrize("alone", CATALOGS)
def test_a_catalog_restarted_alone_answers_reads_and_refuses_writes(
    shop: RealShop, alone: str
) -> None:
    """Nothing can have been written without it."""
    assert shop.buy(13).ok
    before = shop.look(13)
    shop.kill(*CATALOGS)
    shop.start(alone)
    shop.wait_until(lambda: shop.get("/lookup/13").status_code == 200, BACK_S, "a read")
    assert shop.look(13) == before
    assert code(shop.buy(13)) == "writes-unavailable"
    assert shop.look(13) == before


@pytest.mark.parametrize("victim", CATALOGS)
def test_a_catalog_that_lost_its_folder_refills_itself(shop: RealShop, victim: str) -> None:
    """Leader or replica: it copies everything from the other one, never the other way round."""
    assert shop.buy(14).ok
    before = shop.look(14)
    shop.kill(victim)
    shutil.rmtree(shop.data(victim))
    shop.start(victim)
    shop.wait_ready()
    assert shop.look(14) == before
    assert shop.buy(14).status_code == 201
    shop.check_copies()


@pytest.mark.parametrize("disk", ["kept", "lost"])
@pytest.mark.parametrize("victim", ORDERS)
def test_purchases_go_on_when_an_order_server_is_killed_and_it_catches_up(
    shop: RealShop, victim: str, disk: str
) -> None:
    """Each is sold by the other one; restarted, even with an empty folder, it has every order."""
    shop.kill(victim)
    if disk == "lost":
        shutil.rmtree(shop.data(victim))
    sold = [shop.buy(15) for _ in range(4)]
    assert [answer.status_code for answer in sold] == [201] * 4
    assert all(answer.elapsed.total_seconds() < READ_S for answer in sold)
    for answer in sold:
        assert shop.get(answer.headers["Location"]).json() == answer.json()
    shop.start(victim)
    shop.wait_ready()
    ids = [order["order_id"] for order in shop.listing(victim)]
    assert [answer.json()["order_id"] for answer in sold] == ids[-4:]
    shop.check_copies()


def test_with_both_order_servers_dead_books_are_still_shown(shop: RealShop) -> None:
    """Purchases are refused, orders `unavailable`, and never "no such order"."""
    sold = shop.buy(16)
    shop.kill(*ORDERS)
    assert shop.stock(16) == shop.stock(16, at="frontend-2")
    refused = shop.buy(16)
    assert (refused.status_code, code(refused)) == (503, "writes-unavailable")
    found = shop.get(sold.headers["Location"])
    assert (found.status_code, code(found)) == (503, "unavailable")
    shop.start(*ORDERS)
    shop.wait_ready()
    assert shop.get(sold.headers["Location"]).json() == sold.json()


def test_a_killed_frontend_delays_a_purchase_by_its_lease_at_most(shop: RealShop) -> None:
    """Nobody can tell it to forget the book; it comes back with an empty cache."""
    before = shop.look(17)["quantity"]
    shop.hit("/lookup/17", at="frontend-1")
    shop.kill("frontend-1")
    sold = shop.buy(17, at="frontend-2")
    assert sold.status_code == 201
    assert sold.elapsed.total_seconds() < shop.lease_s * 1.01 + 0.2 + 0.5
    shop.start("frontend-1")
    shop.wait_ready()
    fetched = shop.get("/lookup/17", at="frontend-1")
    assert fetched.headers["Cache-Status"] == "bazar; fwd=miss"
    assert fetched.json()["quantity"] == before - 1


def test_all_nodes_killed_at_once_lose_nothing(shop: RealShop) -> None:
    """A power cut: every order that was answered is there afterwards, under its key."""
    book, keys = 18, [str(uuid4()) for _ in range(BUYERS)]
    before = shop.stock(book)
    answered = threading.Semaphore(0)

    def buy(key: str) -> requests.Response | None:
        try:
            return shop.buy(book, key=key)
        except requests.RequestException:
            return None
        finally:
            answered.release()

    def cut() -> None:
        assert answered.acquire(timeout=10)
        shop.kill(*shop.names)

    calls: list[Callable[[], requests.Response | None]] = [partial(buy, key) for key in keys]
    _, *first = at_once([cut, *calls])
    assert any(answer is not None and answer.ok for answer in first)
    shop.start(*shop.names)
    shop.wait_ready()
    final = [shop.decided(partial(shop.buy, book, key=key), BACK_S) for key in keys]
    for early, late in zip(first, final, strict=True):
        if early is not None and early.ok:
            assert early.content == late.content
    assert {answer.status_code for answer in final} == {201}
    assert shop.stock(book) == before - BUYERS
    ids = {answer.json()["order_id"] for answer in final}
    assert ids <= {order["order_id"] for order in shop.check_copies()}


def test_a_clean_end_hands_back_its_lease(shop: RealShop) -> None:
    """SIGTERM of a frontend: exit code 0, and no write waits for it; then all others end, too."""

    def sessions() -> float:
        return shop.metric("bazar_catalog_sessions", at="catalog-1")

    shop.wait_until(lambda: sessions() == 2, 5, "only the sessions of the two that run")
    assert shop.terminate("frontend-1") == 0
    assert sessions() == 1
    assert shop.buy(19, at="frontend-2").status_code == 201
    assert [shop.terminate(name) for name in shop.alive()] == [0] * 5, shop.logs()


def test_no_sale_is_lost_or_doubled_whichever_nodes_are_killed(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    """Rounds of kill -9 under purchases, restocks and price changes (BAZAR_ROUNDS of them)."""
    seed = int(os.environ.get("BAZAR_SEED") or randbits(32))
    print(f"BAZAR_SEED={seed} BAZAR_ROUNDS={ROUNDS}")
    random = Random(seed)
    folder = tmp_path_factory.mktemp("rounds")
    with RealShop(folder, seed=seed_csv(5, stock=30), frontends=2, lease_s=0.5) as shop:
        with Traffic(shop, seed, clients=5) as traffic:
            for number in range(ROUNDS):
                victims = random.sample(shop.names, random.choice((1, 1, 1, 2)))
                watch = Stopwatch()
                _kill_and_restart(shop, traffic, victims, noticed=random.random() < 0.5)
                print(f"round {number}: {' '.join(victims)}: {watch.seconds:.1f} s")
        shop.wait_ready()
        print(dict(traffic.answers))
        traffic.check()


def _kill_and_restart(shop: RealShop, traffic: Traffic, victims: list[str], noticed: bool) -> None:
    """One round: some writes, the kill, the restart, and some writes more."""
    before = traffic.decided()
    shop.wait_until(lambda: traffic.decided() >= before + 10, 30, "ten writes before the kill")
    shop.kill(*victims)
    if noticed:
        asked = traffic.answers.total()
        shop.wait_until(lambda: traffic.answers.total() >= asked + 10, 30, "ten answers meanwhile")
    before = traffic.decided()
    shop.start(*victims)
    traffic.tell_news()
    shop.wait_until(lambda: traffic.decided() >= before + 10, 30, "ten writes after the restart")
