"""Six real processes, each in a network namespace of its own, one of them the backup server:
whichever links are cut, one side sells and the other one neither sells nor shows anything old.

The clients, and an auditor who reads at both catalogs all the while, are never cut off.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import product
from time import monotonic

import pytest

from common.errors import Problem
from tests.chaos import the_only_run
from tests.support.auditor import Auditor
from tests.support.buyers import Buyers
from tests.support.chaos_network import Network, needs_namespaces
from tests.support.chaos_shop import AUDITOR, BACKUP, CATALOGS, FRONTENDS, ORDERS, SIX, ChaosShop
from tests.support.real import ANSWER_S, code, seed_csv

pytestmark = needs_namespaces

LEASE_S, BOOKS, STOCK = 2.0, 30, 100_000
SALES = 10  # that many more, and sales go on
PAUSE_S = 5.0  # what is promised; the figure itself is printed
HEARD_S = 2.0  # after a heartbeat and a timeout or two both sides know where they stand
SILENCE_S = 2.5  # whoever is silent for so long is suspected, and its leases are over


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ChaosShop, Auditor]]:
    """One shop on a network of its own, and its auditor; every test buys books of its own."""
    folder, seed = tmp_path_factory.mktemp("cuts"), seed_csv(BOOKS, STOCK)
    with ExitStack() as stack:
        stack.enter_context(the_only_run())
        network = stack.enter_context(Network([*SIX, AUDITOR]))
        network.join(AUDITOR)  # before any thread begins: the clients live there, too
        shop = ChaosShop(folder, network, seed=seed, lease_s=LEASE_S, backup=True)
        auditor = stack.enter_context(shop.auditor())
        yield stack.enter_context(shop), auditor


@pytest.fixture
def shop(running: tuple[ChaosShop, Auditor]) -> Iterator[ChaosShop]:
    """The shop, whole again after the test before; the auditor has seen nothing wrong by the end of
    this one.
    """
    shop, auditor = running
    shop.network.heal_all()
    shop.wait_ready()
    before = len(auditor.violations)
    yield shop
    assert not auditor.violations[before:]
    assert shop.alive() == list(shop.processes)


@pytest.fixture(scope="module")
def books() -> Iterator[int]:
    """Ids of books nobody has bought yet."""
    return iter(range(1, BOOKS + 1))


def cut(shop: ChaosShop, leader: str, sides: str) -> float:
    """Cut two sides off from one another ("L|RW"), or the first from the ears of the second
    ("L>R"); return since when.

    L is the leader, R its replica, W the backup; F and G the frontends, O both order servers.
    """
    nodes = {
        "L": (leader,), "R": (other(leader),), "W": (BACKUP,), "O": ORDERS,
        "F": FRONTENDS[:1], "G": FRONTENDS[1:],
    }  # fmt: skip
    one, two = (
        [name for letter in side for name in nodes[letter]] for side in re.split("[|>]", sides)
    )
    for sender, receiver in product(one, two):
        shop.network.cut(sender, receiver)
        if "|" in sides:
            shop.network.cut(receiver, sender)
    return monotonic()


def other(catalog: str) -> str:
    return next(name for name in CATALOGS if name != catalog)


def leaders(shop: ChaosShop) -> list[str]:
    """Return the catalogs that lead and may write."""
    return [name for name in CATALOGS if (it := shop.status(name))["writes"] and it["reads"]]


def only_leader(shop: ChaosShop) -> str:
    return shop.wait_until(
        lambda: found[0] if len(found := leaders(shop)) == 1 else None, HEARD_S, "one leader"
    )


def position(shop: ChaosShop, catalog: str) -> list[int]:
    """Return [epoch, seq] of the last entry that a catalog has applied."""
    found: list[int] = shop.status(catalog)["position"]
    return found


def assert_left_out(shop: ChaosShop, catalog: str, book: int) -> None:
    """Check that a catalog says it may do nothing, and does nothing for who asks it itself."""
    status = shop.status(catalog)
    assert (status["reads"], status["writes"]) == (False, False), status
    sale = {"key": f"{catalog}-{book}", "kind": "sell"}
    sale |= {"body": {"items": [{"book_id": book, "quantity": 1}]}}
    peer = shop.peer(catalog)
    asks = {
        "unavailable": partial(peer.call, "GET", f"/books/{book}"),
        "not-leader writes-unavailable": partial(peer.call, "POST", "/operations", document=sale),
    }
    for codes, ask in asks.items():
        with pytest.raises(Problem) as refused:
            ask(timeout_s=ANSWER_S)
        assert refused.value.code in codes.split()


def pause_of(newcomers: Buyers, since: float) -> float:
    """Return for how long those who come after a cut cannot buy.

    (Whoever was asking when it began may have to wait for as long as a purchase may take.)
    """
    with newcomers:
        return newcomers.pause_after(since, PAUSE_S)


@pytest.mark.parametrize(
    ("sides", "may_lead"),
    [("L|R", "LR"), ("L>R", "LR"), ("R>L", "LR"), ("L|RW", "R"), ("R|LW", "L")],
)
def test_one_side_of_a_cut_between_the_catalogs_sells(
    sides: str, may_lead: str, shop: ChaosShop, books: Iterator[int]
) -> None:
    """Within five seconds, in the next epoch; by then the other one has no right to read any more.
    Healed, it follows.
    """
    leader, book, newcomers = only_leader(shop), next(books), Buyers(shop, next(books))
    epoch = shop.status(leader)["epoch"]
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(SALES)
        since = cut(shop, leader, sides)
        print(f"{sides}: {pause_of(newcomers, since):.2f} s")
        (left_out,) = (name for name in CATALOGS if not shop.status(name)["reads"])
        assert_left_out(shop, left_out, book)
        assert other(left_out) in [leader if one == "L" else other(leader) for one in may_lead]
        before = {name: position(shop, name) for name in CATALOGS}
        buyers.wait_for_sales(SALES)
        after = {name: position(shop, name) for name in CATALOGS}
        assert_left_out(shop, left_out, book)
        assert before[left_out] == after[left_out]
        assert before[other(left_out)] < after[other(left_out)]
        assert only_leader(shop) == other(left_out)
        assert shop.status(other(left_out))["epoch"] > epoch
        shop.network.heal_all()
        shop.wait_ready()
        buyers.wait_for_sales(SALES)
    assert shop.status(left_out)["state"] == "following"
    print(newcomers.check(), buyers.check(), dict(buyers.attempts), dict(buyers.looks))


@pytest.mark.parametrize("sides", ["L|W", "R|W", "W|LR"])
def test_a_cut_between_a_catalog_and_the_backup_is_not_noticed(
    sides: str, shop: ChaosShop, books: Iterator[int]
) -> None:
    """No purchase fails, nobody takes an epoch, and both catalogs go on."""
    leader = only_leader(shop)
    epoch = shop.status(leader)["epoch"]
    with Buyers(shop, next(books)) as buyers:
        buyers.wait_for_sales(SALES)
        since = cut(shop, leader, sides)
        before = {name: position(shop, name) for name in CATALOGS}
        shop.wait_until(lambda: monotonic() > since + SILENCE_S, PAUSE_S, "time to be suspected")
        buyers.wait_for_sales(SALES)
        assert all(position(shop, name) > before[name] for name in CATALOGS)
        assert all(shop.status(name)["reads"] for name in CATALOGS)
        shop.network.heal_all()
        shop.wait_ready()
        buyers.wait_for_sales(SALES)
    status = shop.status(only_leader(shop))
    assert (status["node"], status["epoch"]) == (leader, epoch)
    assert set(buyers.attempts) == {"sold"}
    print(sides, buyers.check(), dict(buyers.attempts), dict(buyers.looks))


@pytest.mark.parametrize("sides", ["F|L", "FG|L", "F|R"])
def test_frontends_cut_off_from_a_catalog_go_on_with_the_other(
    sides: str, shop: ChaosShop, books: Iterator[int]
) -> None:
    """They sell, a lease later at the latest, and show nothing old; nobody takes an epoch."""
    leader, book, newcomers = only_leader(shop), next(books), Buyers(shop, next(books))
    epoch = shop.status(leader)["epoch"]
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(SALES)
        since = cut(shop, leader, sides)
        print(f"{sides}: {pause_of(newcomers, since):.2f} s")
        buyers.wait_for_sales(SALES)
        for frontend in FRONTENDS:
            shop.wait_until(partial(readable, shop, book, frontend), PAUSE_S, "a book to see")
        shop.network.heal_all()
        shop.wait_ready()
        buyers.wait_for_sales(SALES)
    assert (only_leader(shop), shop.status(leader)["epoch"]) == (leader, epoch)
    print(newcomers.check(), buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def readable(shop: ChaosShop, book: int, frontend: str) -> bool:
    return shop.get(f"/lookup/{book}", at=frontend).ok


def test_a_frontend_beside_an_isolated_leader_sells_nothing_and_shows_nothing_old(
    shop: ChaosShop, books: Iterator[int]
) -> None:
    """The other frontend sells on the majority's side; what was asked for here is sold once, when
    all is healed, under its key.
    """
    leader, book, wanted = only_leader(shop), next(books), next(books)
    lonely, well = FRONTENDS
    newcomers = Buyers(shop, next(books), frontends=[well])
    assert shop.stock(wanted, at=lonely) == STOCK
    buy = partial(shop.buy, wanted, key=f"wanted-{wanted}", at=lonely)
    with Buyers(shop, book, frontends=[well]) as buyers:
        buyers.wait_for_sales(SALES)
        since = cut(shop, leader, "LF|RWOG")
        print(f"LF|RWOG: {pause_of(newcomers, since):.2f} s")
        refused, seen = buy(), shop.get(f"/lookup/{wanted}", at=lonely)
        assert code(seen) == "unavailable"
        assert code(refused) in ("writes-unavailable", "outcome-unknown")
        assert_left_out(shop, leader, book)
        assert only_leader(shop) == other(leader)
        buyers.wait_for_sales(SALES)
        shop.network.heal_all()
        shop.wait_ready()
        assert shop.decided(buy, PAUSE_S).status_code == 201
        buyers.wait_for_sales(SALES)
    assert {shop.stock(wanted, at=frontend) for frontend in FRONTENDS} == {STOCK - 1}
    print(newcomers.check(), buyers.check(), dict(buyers.attempts), dict(buyers.looks))
