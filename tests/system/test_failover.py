"""Six real processes, one of them the backup server: whoever dies, the other two go on by
themselves, and whoever returns is brought up to date.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from time import monotonic
from typing import Any

import pytest

from common.auth import Signer
from common.errors import Problem
from common.peer import PeerDown
from tests.support.buyers import Buyers
from tests.support.processes import ROOT
from tests.support.real import ANSWER_S, START_S, RealShop, Stopwatch, code, seed_csv

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")

BACKUP = "backup"
CATALOGS = ("catalog-1", "catalog-2")
LEASE_S, BOOKS, STOCK = 2.0, 30, 100_000
PAUSE_S, REFUSED_S = 5.0, 2.0  # what is promised; the figure itself is printed
LEASES_END_S = 3 * LEASE_S  # generous: a catalog's, then a frontend's that hangs on it
HANDOVERS = 6
FAILOVERS = int(os.environ.get("BAZAR_FAILOVERS", "4"))
KEPT = "bazar_backup_entries"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """One shop with two frontends; every test buys a book of its own."""
    folder, seed = tmp_path_factory.mktemp("failover"), seed_csv(BOOKS, STOCK)
    with RealShop(folder, seed=seed, frontends=2, lease_s=LEASE_S, backup=True) as shop:
        yield shop


@pytest.fixture
def shop(running: RealShop) -> RealShop:
    """The shop, mended after the test before."""
    for name in running.alive():
        running.resume(name)
    running.start(*(name for name in running.names if name not in running.alive()))
    running.wait_ready()
    return running


@pytest.fixture(scope="module")
def books() -> Iterator[int]:
    """Ids of books nobody has bought yet."""
    return iter(range(1, BOOKS + 1))


def leader_of(shop: RealShop) -> str:
    """Return which catalog leads."""

    def found() -> str | None:
        roles = {name: role_of(shop, name) for name in CATALOGS}
        return next((name for name, role in roles.items() if role == "leader"), None)

    return shop.wait_until(found, 10, "a leader")


def role_of(shop: RealShop, name: str) -> str | None:
    try:
        return str(shop.status(name)["role"])
    except (PeerDown, Problem):
        return None


def other(catalog: str) -> str:
    return next(name for name in CATALOGS if name != catalog)


def kill(shop: RealShop, buyers: Buyers, name: str) -> float:
    """kill -9 in the midst of purchases; return for how long nobody could buy."""
    buyers.wait_for_sales(20)
    killed = monotonic()
    shop.kill(name)
    return buyers.pause_after(killed, PAUSE_S)


def start(shop: RealShop, buyers: Buyers, name: str) -> float:
    """Start a node again; wait until all is whole, and some is sold then; return the longest time
    in which nothing was sold.
    """
    began = monotonic()
    shop.start(name)
    shop.wait_ready()
    buyers.wait_for_sales(20)
    return buyers.longest_gap(began)


def test_a_killed_leader_is_replaced_by_itself(shop: RealShop, books: Iterator[int]) -> None:
    """Purchases go on within five seconds; nothing is lost or doubled; the dead one follows."""
    dead = leader_of(shop)
    with Buyers(shop, next(books)) as buyers:
        print(f"leader killed: {kill(shop, buyers, dead):.2f} s")
        assert leader_of(shop) == other(dead)
        start(shop, buyers, dead)
    assert shop.status(dead)["state"] == "following"
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def test_a_killed_replica_is_replaced_by_the_backup(shop: RealShop, books: Iterator[int]) -> None:
    """The leader goes on leading; when the replica is back what was kept for it is deleted."""
    leader = leader_of(shop)
    with Buyers(shop, next(books)) as buyers:
        print(f"replica killed: {kill(shop, buyers, other(leader)):.2f} s")
        assert shop.metric(KEPT, at=BACKUP) > 0
        assert shop.status(BACKUP)["why"].endswith(f"for {other(leader)}")
        start(shop, buyers, other(leader))
    assert leader_of(shop) == leader
    shop.wait_until(lambda: shop.metric(KEPT, at=BACKUP) == 0, 5, "nothing kept")
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def test_a_killed_backup_is_not_noticed(shop: RealShop, books: Iterator[int]) -> None:
    """No purchase fails, neither when it dies nor when it is back."""
    with Buyers(shop, next(books)) as buyers:
        print(f"backup killed: {kill(shop, buyers, BACKUP):.2f} s")
        buyers.wait_for_sales(50)
        start(shop, buyers, BACKUP)
    assert set(buyers.attempts) == {"sold"}
    print(buyers.check())


def asked(shop: RealShop, catalog: str, path: str) -> http.client.HTTPConnection:
    """Send a signed read to a catalog that may be asleep: when this returns it waits there."""
    signer = Signer("tester", shop.settings.cluster_secret)
    address = shop.url(catalog).removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=ANSWER_S)
    connection.request("GET", path, headers=dict(signer.headers(catalog, "GET", path, "", b"")))
    return connection


def answered(connection: http.client.HTTPConnection) -> tuple[int, Any]:
    """Return the status and the document of what was asked."""
    with closing(connection):
        response = connection.getresponse()
        return response.status, json.loads(response.read())


def test_a_leader_asleep_beyond_its_lease_wakes_without_old_reads(
    shop: RealShop, books: Iterator[int]
) -> None:
    """The other one takes over; those who asked the sleeper itself get no old stock when it wakes;
    then it follows.
    """
    asleep, book = leader_of(shop), next(books)
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(20)
        stopped = monotonic()
        shop.pause(asleep)
        print(f"leader asleep: {buyers.pause_after(stopped, 2 * PAUSE_S):.2f} s")
        buyers.wait_for_sales(20)
        most = STOCK - len(buyers.sales)
        waiting = [asked(shop, asleep, f"/books/{book}") for _ in range(8)]
        shop.resume(asleep)
        seen = [answered(connection) for connection in waiting]
        shop.wait_ready()
        buyers.wait_for_sales(20)
    for status, document in seen:
        assert document["code"] == "unavailable" if status == 503 else document["quantity"] <= most
    assert leader_of(shop) == other(asleep)
    print([status for status, _ in seen], buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def test_leaders_are_killed_one_after_the_other(shop: RealShop, books: Iterator[int]) -> None:
    """There and back (BAZAR_FAILOVERS times, 4 by default), under purchases all the while."""
    pauses, returns, epochs = [], [], [shop.status(leader_of(shop))["epoch"]]
    with Buyers(shop, next(books)) as buyers:
        for _ in range(FAILOVERS):
            dead = leader_of(shop)
            pauses.append(kill(shop, buyers, dead))
            returns.append(start(shop, buyers, dead))
            epochs.append(shop.status(leader_of(shop))["epoch"])
    for what, seconds in (("killed", pauses), ("back", returns)):
        print(
            f"{FAILOVERS} x {what}: {statistics.median(seconds):.2f} s, worst {max(seconds):.2f} s"
        )
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))
    assert epochs == sorted(set(epochs))


# --- disks ---


def refuses(shop: RealShop, catalog: str, book: int) -> None:
    """Check that a catalog may do nothing, and that no frontend sells or shows a book: a clean 503
    each time, in less than two seconds.
    """
    status = shop.status(catalog)
    assert (status["reads"], status["writes"]) == (False, False), status
    with pytest.raises(Problem, match="unavailable"):
        shop.peer(catalog).call("GET", f"/books/{book}", timeout_s=ANSWER_S)
    sells_and_shows_nothing(shop, book)


def sells_and_shows_nothing(shop: RealShop, book: int) -> None:
    for frontend in shop.frontends:
        watch = Stopwatch()
        assert code(shop.buy(book, key=f"refused-{book}", at=frontend)) == "writes-unavailable"
        assert watch.seconds < REFUSED_S
        assert code(shop.get(f"/lookup/{book}", at=frontend)) == "unavailable"


def heard_of(shop: RealShop, disk: str) -> int:
    """Return the number of the last entry that the backup knows to be on a catalog's disk."""
    with closing(sqlite3.connect(shop.data(BACKUP) / "backup.db")) as db:
        asked = "SELECT coalesce(max(seq), 0) FROM reported WHERE disk = ?"
        return int(db.execute(asked, (disk,)).fetchone()[0])


@pytest.mark.parametrize("disk", ["empty", "older"])
@pytest.mark.parametrize("role", ["leader", "replica"])
def test_a_catalog_on_an_empty_or_older_disk_does_not_lead(
    shop: RealShop, books: Iterator[int], role: str, disk: str
) -> None:
    """With nobody but the backup it finds out, sells nothing and shows nothing. When the other
    catalog is back it is refilled, as a new disk, and nothing is lost.
    """
    leader, book, unsold = leader_of(shop), next(books), next(books)
    changed = leader if role == "leader" else other(leader)
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(10)
        shop.keep_disk(changed)
        before = shop.status(changed)
        buyers.wait_for_sales(10)
        later = before["position"][1] + 3
        shop.wait_until(lambda: heard_of(shop, before["disk"]) > later, 5, "the backup to hear")
        shop.kill(changed, other(changed))
        shop.lose_disk(changed) if disk == "empty" else shop.restore_disk(changed)
        shop.start(changed)
        shop.wait_until(lambda: "refill" in why(shop, changed), START_S, "it to find out")
        assert shop.status(changed)["disk"] != before["disk"]
        refuses(shop, changed, unsold)
        shop.start(other(changed))
        shop.wait_ready()
        buyers.wait_for_sales(10)
    assert leader_of(shop) == other(changed)
    assert shop.stock(unsold) == STOCK
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def why(shop: RealShop, name: str) -> str:
    """Return a node's own words for what it is doing; none while it does not answer."""
    try:
        return str(shop.status(name)["why"])
    except (PeerDown, Problem):
        return ""


def test_a_backup_on_an_empty_disk_has_no_vote_until_both_catalogs_admit_it(
    shop: RealShop, books: Iterator[int]
) -> None:
    """With a leader alone it is as if it were dead. Once both are there it has a vote, and the next
    one of the three may die.
    """
    leader, book, unsold = leader_of(shop), next(books), next(books)
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(10)
        shop.kill(BACKUP, other(leader))
        shop.lose_disk(BACKUP)
        shop.start(BACKUP)
        shop.wait_until(lambda: "no vote" in why(shop, BACKUP), START_S, "a new backup")
        shop.wait_until(lambda: not shop.status(leader)["reads"], LEASES_END_S, "its lease's end")
        refuses(shop, leader, unsold)
        shop.start(other(leader))
        shop.wait_ready()
        buyers.wait_for_sales(10)
        print(f"replica killed: {kill(shop, buyers, other(leader_of(shop))):.2f} s")
        assert shop.metric(KEPT, at=BACKUP) > 0
        start(shop, buyers, other(leader_of(shop)))
    assert shop.stock(unsold) == STOCK
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def test_a_backup_on_an_older_disk_is_noticed_by_its_leader(
    shop: RealShop, books: Iterator[int]
) -> None:
    """It has forgotten what it kept, and whom it followed: the leader begins a new epoch with it,
    sales go on, and the catalog that was away gets all of it.
    """
    leader = leader_of(shop)
    with Buyers(shop, next(books)) as buyers:
        buyers.wait_for_sales(10)
        shop.keep_disk(BACKUP)
        kill(shop, buyers, other(leader))
        buyers.wait_for_sales(10)
        epoch = shop.status(leader)["epoch"]
        shop.kill(BACKUP)
        shop.restore_disk(BACKUP)
        shop.start(BACKUP)
        print(f"forgetful backup: {buyers.pause_after(monotonic(), 2 * PAUSE_S):.2f} s")
        assert shop.status(leader)["epoch"] > epoch
        start(shop, buyers, other(leader))
    assert leader_of(shop) == leader
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


# --- two of three ---


@pytest.mark.parametrize(
    "gone",
    [("leader", "replica"), ("leader", "backup"), ("replica", "backup")],
    ids=" and ".join,
)
def test_with_two_of_three_killed_all_waits_until_one_returns(
    shop: RealShop, books: Iterator[int], gone: tuple[str, str]
) -> None:
    """Purchases are refused at once, and looks when the leases have ended. With one of the two all
    goes on, with both it is whole.
    """
    leader, book, unsold = leader_of(shop), next(books), next(books)
    names = {"leader": leader, "replica": other(leader), "backup": BACKUP}
    first, second = (names[role] for role in gone)
    with Buyers(shop, book) as buyers:
        buyers.wait_for_sales(10)
        for frontend in shop.frontends:
            shop.hit(f"/lookup/{unsold}", at=frontend)
        killed = monotonic()
        shop.kill(first, second)
        shop.wait_until(lambda: not shows(shop, unsold), LEASES_END_S, "the leases' end")
        print(f"{gone} killed, last look: {monotonic() - killed:.2f} s", end=", ")
        sells_and_shows_nothing(shop, unsold)
        began = monotonic()
        shop.start(second)
        print(f"{gone[1]} back: {buyers.pause_after(began, START_S):.2f} s")
        start(shop, buyers, first)
    assert shop.stock(unsold) == STOCK
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))


def shows(shop: RealShop, book: int) -> bool:
    """Tell whether some frontend still shows a book."""
    return any(shop.get(f"/lookup/{book}", at=frontend).ok for frontend in shop.frontends)


# --- planned ---


def hand_over(shop: RealShop) -> None:
    """Run what `make handover` runs."""
    command = [sys.executable, "-m", "catalog.operate", "handover", "--config", str(shop.config)]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT
    )
    assert done.returncode == 0, f"{done.stderr}\n{shop.logs()}"


def test_the_lead_is_handed_over_under_purchases_without_a_failed_request(
    shop: RealShop, books: Iterator[int]
) -> None:
    """There and back three times: every attempt sells, every look sees the book, nobody waits as
    long as a lease.
    """
    leaders = [leader_of(shop)]
    epochs = [shop.status(leaders[0])["epoch"]]
    with Buyers(shop, next(books)) as buyers:
        for _ in range(HANDOVERS):
            buyers.wait_for_sales(20)
            hand_over(shop)
            leaders.append(leader_of(shop))
            epochs.append(shop.status(leaders[-1])["epoch"])
        buyers.wait_for_sales(20)
    waits = [sale.told - sale.asked for sale in buyers.sales]
    print(f"{HANDOVERS} hand-overs: {statistics.median(waits):.3f} s, worst {max(waits):.2f} s")
    print(buyers.check(), dict(buyers.attempts), dict(buyers.looks))
    assert (set(buyers.attempts), set(buyers.looks)) == ({"sold"}, {200})
    assert all(one != two for one, two in pairwise(leaders))
    assert epochs == sorted(set(epochs))
    assert max(waits) < LEASE_S


def test_a_hand_over_waits_for_a_frontend_that_sleeps(shop: RealShop, books: Iterator[int]) -> None:
    """Its lease ends before the next leader sells, so it wakes without the old stock."""
    leader, book = leader_of(shop), next(books)
    shop.hit(f"/lookup/{book}", at="frontend-2")
    shop.pause("frontend-2")
    answer = shop.ask(f"/lookup/{book}", at="frontend-2")
    hand_over(shop)
    assert shop.buy(book).status_code == 201
    shop.resume("frontend-2")
    assert answer()["quantity"] == STOCK - 1
    assert leader_of(shop) == other(leader)


# --- `make status` ---


def status(shop: RealShop, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m common.status` as it is run with its output in a file."""
    command = [sys.executable, "-m", "common.status", "--config", str(shop.config), *arguments]
    environ = os.environ | {"COLUMNS": "140"}
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, cwd=ROOT, env=environ
    )


def test_the_status_of_a_whole_shop_and_of_one_that_waits(shop: RealShop) -> None:
    """A row for each node and a line that says it; the exit code is 0, or 1."""
    whole = status(shop)
    assert (whole.returncode, whole.stderr) == (0, "")
    header, *rows = whole.stdout.splitlines()
    assert header.split()[:4] == ["node", "role", "state", "epoch"]
    assert [row.split()[0] for row in rows[: len(shop.names)]] == shop.names
    assert rows[-1] == "reads and writes work"
    follower = other(leader_of(shop))
    shop.kill(follower, BACKUP)
    shop.wait_until(lambda: status(shop).returncode == 1, 10, "a status of 1")
    told = json.loads(status(shop, "--json").stdout)
    assert (told["writes"], [node["node"] for node in told["nodes"] if not node["up"]]) == (
        False, [follower, BACKUP],
    )  # fmt: skip
    assert told["summary"].endswith(f"wait: {follower} and {BACKUP} are away")
    shop.wait_until(lambda: not readable(shop), 10, "the end of the leader's lease")


def readable(shop: RealShop) -> bool:
    """Tell whether some node says that it may answer reads, by `make status` and by `/readyz`."""
    told = json.loads(status(shop, "--json").stdout)
    ready = [shop.get("/readyz", at=at).json()["reads"] for at in ("frontend-1", leader_of(shop))]
    leases = [
        node["lease"] for node in told["nodes"] if node["service"] == "catalog" and node["up"]
    ]
    assert len(leases) == 1
    return bool(told["reads"] or any(ready) or leases[0])


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_tells_run_and_status_of_the_backup_server(shop: RealShop) -> None:
    """WITH_BACKUP=1 puts its address into the environment, which goes over the config file."""
    folder = str(Path(sys.executable).parent)
    command = ["make", f"BIN={folder}", "-o", ".venv/.runtime", f"CONFIG={shop.config}", "status"]
    environ = {key: value for key, value in os.environ.items() if not key.startswith("MAKE")}

    def lines(*options: str) -> list[str]:
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, timeout=30, check=False,
            cwd=ROOT, env=environ | {"COLUMNS": "140"},
        )  # fmt: skip
        return [line for line in done.stdout.splitlines() if line.startswith("backup ")]

    assert [line.split()[2] for line in lines()] == ["watching"]
    assert [line.split()[2] for line in lines("WITH_BACKUP=1")] == ["down"]  # at that address
    makefile = (ROOT / "Makefile").read_text("utf-8")
    assert "run status: export BACKUP := backup=http://127.0.0.1:8301\n" in makefile
