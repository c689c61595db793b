"""Disks that are full, fail to sync, lose power, or come back older: at each named point, what the
user sees, and what recovers it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from random import Random
from typing import Any

import apsw
import pytest

from common.peer import PeerDown, Response
from tests.cluster.calls import FRONTEND, OTHER, back, buy, code, left, look, same_everywhere
from tests.support.cluster import Cluster

Build = Callable[..., Cluster]
CATALOGS = ("catalog-1", "catalog-2")
ORDERS = ("order-1", "order-2")
LOG = "catalog.db-wal"


def buying(cluster: Cluster, key: str) -> tuple[Any, list[Response]]:
    """Begin to buy a copy; return the client's job, and where its answer will be."""
    box: list[Response] = []

    def buy_one() -> None:
        with suppress(PeerDown):
            box.append(cluster.ask(FRONTEND, "POST", "/purchase/1", key=key))

    return cluster.client("buyer", buy_one), box


def prepared(cluster: Cluster) -> bool:
    """Tell whether the replica holds an entry that is not applied."""
    running = "catalog-2" in cluster.running
    return running and cluster.node("catalog-2").view().prepared is not None


def gone(cluster: Cluster, name: str) -> Callable[[], bool]:
    """Return a condition: the process has ended."""
    return lambda: name not in cluster.running


def sold_once(cluster: Cluster, key: str) -> None:
    """The key is one sale, whatever became of it so far, and both copies say so."""
    cluster.run(cluster.ready, 10)
    cluster.run_for(3.0)
    assert buy(cluster, key).status == 201
    assert buy(cluster, key).status == 201
    assert left(cluster) == 3
    same_everywhere(cluster)


# --- full ---


def spill(cluster: Cluster) -> None:
    """Let the catalogs' pages go to the WAL before the commit, as those of a large batch do."""
    for name in CATALOGS:
        cluster.node(name).db.writer.pragma("cache_size", 1)


def test_a_leader_without_room_in_the_batch_refuses_it_whole(build: Build) -> None:
    """SQLite has rolled the transaction back: nothing was sent, nothing happened, the key is
    free.
    """
    cluster = build()
    spill(cluster)
    sent: list[str] = []
    cluster.network.watch = lambda sender, request: sent.append(request.target)
    cluster.outage.fill("catalog-1")
    assert code(buy(cluster, "k")) == "writes-unavailable"
    assert not [target for target in sent if target.startswith("/replication/prepare")]
    assert left(cluster) == 4
    cluster.outage.free("catalog-1")
    sold_once(cluster, "k")


@pytest.mark.parametrize("large", [False, True])
def test_a_leader_without_room_at_its_commit_applies_the_entry_once_there_is_room(
    build: Build, large: bool
) -> None:
    """The replica has it, so it stands; the operations are not run again. (A large one fails before
    its COMMIT when it is applied; found by the simulator, seed 81 of its day.)
    """
    cluster = build()
    cluster.outage.fill("catalog-1")
    job, box = buying(cluster, "k")
    cluster.run(lambda: prepared(cluster), 5)
    if large:
        spill(cluster)
    cluster.run_for(1.0)
    assert cluster.node("catalog-1").end().seq == 1
    cluster.outage.free("catalog-1")
    cluster.run(lambda: job.done, 10)
    assert box[0].status == 201
    sold_once(cluster, "k")
    assert cluster.node("catalog-1").end().seq == 2


def test_a_leader_that_stays_full_says_unknown_and_sells_once(build: Build) -> None:
    """The buyer is told to ask again with the key; what it finds then is the one sale."""
    cluster = build()
    cluster.outage.fill("catalog-1")
    assert code(buy(cluster, "k")) == "outcome-unknown"
    assert code(buy(cluster, "other", book=2)) in ("writes-unavailable", "outcome-unknown")
    cluster.outage.free("catalog-1")
    sold_once(cluster, "k")


@pytest.mark.parametrize("large", [False, True])
def test_a_replica_without_room_stops_writes_until_there_is_room(build: Build, large: bool) -> None:
    """The entry may have left, so it stands: it is stuck, later ones are refused at once."""
    cluster = build()
    if large:
        spill(cluster)
    cluster.outage.fill("catalog-2")
    job, box = buying(cluster, "k")
    cluster.run_for(0.5)
    began = cluster.scheduler.now
    assert code(buy(cluster, "later", book=2)) == "writes-unavailable"
    assert cluster.scheduler.now - began < 0.2
    assert left(cluster) == 4
    cluster.outage.free("catalog-2")
    cluster.run(lambda: job.done, 10)
    assert box[0].status == 201
    sold_once(cluster, "k")
    assert left(cluster, 2) == 4


def test_a_replica_without_room_to_apply_catches_up(build: Build) -> None:
    """It holds the entry durably, so the sale stands; its keys stay dirty there until it has
    room.
    """
    cluster = build()
    _, box = buying(cluster, "k")
    cluster.run(lambda: prepared(cluster), 5)
    cluster.outage.fill("catalog-2")
    cluster.run_for(1.0)
    assert box[0].status == 201
    assert [left(cluster) for _ in range(4)] == [3, 3, 3, 3]
    assert prepared(cluster)
    cluster.outage.free("catalog-2")
    sold_once(cluster, "k")


def listed(cluster: Cluster, order: str) -> int:
    """Return how many orders an order server lists."""
    call = cluster.peer(order).call
    return len(cluster.do(lambda: call("GET", "/orders", timeout_s=2)).json()["items"])


@pytest.mark.parametrize("name", [*CATALOGS, *ORDERS])
def test_a_checkpoint_without_room_does_not_undo_the_commit_before_it(
    build: Build, name: str
) -> None:
    """The error comes with the COMMIT, and the transaction is in the file all the same."""
    cluster = build(tight=True)
    role = name.split("-")[0]
    for number in range(8):
        cluster.outage.fill(name, f"{role}{'s' if role == 'order' else ''}.db", nth=1)
        assert buy(cluster, f"k{number}", number % 2 + 1).status == 201
        cluster.run_for(0.5)
        cluster.outage.mend()
        cluster.run_for(0.5)
    assert [left(cluster, book) for book in (1, 2)] == [0, 0]
    assert [listed(cluster, order) for order in ORDERS] == [8, 8]
    same_everywhere(cluster)


def test_order_servers_without_room_still_sell_and_catch_up(build: Build) -> None:
    """The ledger has the order; a server that cannot follow says `unavailable`, never 404."""
    cluster = build()
    for name in ORDERS:
        cluster.outage.fill(name)
    sold = buy(cluster, "k")
    assert sold.status == 201
    target = sold.header("location")
    assert code(cluster.do(lambda: cluster.ask(FRONTEND, "GET", target))) == "unavailable"
    for name in ORDERS:
        cluster.outage.free(name)
    cluster.run_for(1.0)
    told = cluster.do(lambda: cluster.ask(FRONTEND, "GET", target))
    assert told.json() == sold.json()


@pytest.mark.parametrize("name", [*CATALOGS, *ORDERS])
def test_a_node_that_starts_without_room_starts_once_there_is_some(build: Build, name: str) -> None:
    """An empty disk that is full: the process ends, and is started again until it can."""
    cluster = build()
    cluster.kill(name)
    cluster.outage.lose_disk(name)
    cluster.outage.fill(name)
    cluster.start(name)
    cluster.run_for(3.0)
    assert name not in cluster.running
    cluster.outage.free(name)
    cluster.run(lambda: name in cluster.running, 5)
    sold_once(cluster, "k")


# --- a sync that fails ---


@pytest.mark.parametrize("name", CATALOGS)
def test_a_catalog_whose_sync_fails_ends_and_comes_back_verified(build: Build, name: str) -> None:
    """At the leader's commit, at the replica's prepare: the process ends, the sale stands or falls
    for both.
    """
    cluster = build()
    cluster.outage.break_sync(name, LOG)
    buying(cluster, "k")
    cluster.run(gone(cluster, name), 5)
    sold_once(cluster, "k")


@pytest.mark.parametrize("name", CATALOGS)
def test_a_promise_whose_sync_fails_is_not_given(build: Build, name: str) -> None:
    """The next epoch begins only once both have it durably; the process ends first."""
    cluster = build()
    cluster.kill("catalog-1")
    cluster.outage.break_sync(name, "node.db-wal")
    cluster.start("catalog-1")
    cluster.run(gone(cluster, name), 5)
    sold_once(cluster, "k")


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_server_whose_sync_fails_ends_and_catches_up(build: Build, name: str) -> None:
    """Its log, which is synced at checkpoints only, is a copy of the ledger: no sale is lost, the
    process starts anew.
    """
    cluster = build(tight=True)
    cluster.outage.break_sync(name, "orders.db-wal")
    sold = [buy(cluster, f"k{number}", 1 + number % 2) for number in range(8)]
    assert {answer.status for answer in sold} == {201}
    cluster.run(gone(cluster, name), 5)
    cluster.run(lambda: name in cluster.running, 5)
    cluster.run_for(2.0)
    for answer in sold:
        location = answer.header("location")
        told = cluster.do(lambda: cluster.peer(name).call("GET", location, timeout_s=1))  # noqa: B023
        assert told.json() == answer.json()


# --- power ---


@pytest.mark.parametrize("names", [("catalog-1",), ("catalog-2",), CATALOGS], ids="-".join)
def test_power_lost_after_the_prepare_loses_nothing(build: Build, names: tuple[str, ...]) -> None:
    """The entry is durable at the replica: it is rolled forward."""
    cluster = build()
    cluster.network.hold_reply = lambda sender, request: (
        9.0 if request.target.startswith("/replication/prepare") else 0.0
    )
    buying(cluster, "k")
    cluster.run(lambda: prepared(cluster), 5)
    cluster.outage.power(*names)
    cluster.network.hold_reply = lambda sender, request: 0.0
    back(cluster, *names)
    cluster.run_for(3.0)
    assert left(cluster) == 3
    sold_once(cluster, "k")


@pytest.mark.parametrize("name", CATALOGS)
@pytest.mark.parametrize("seed", range(6))
def test_power_lost_at_the_sync_of_a_catalog_is_one_sale_or_none(
    build: Build, name: str, seed: int
) -> None:
    """Before the replica has it durably, before the leader has committed: some sectors of the WAL's
    tail arrive, some do not.
    """
    cluster = build(seed=seed)
    cluster.outage.crash_at(name, "sync", LOG, power=True)
    buying(cluster, "k")
    cluster.run(gone(cluster, name), 5)
    back(cluster, name)
    sold_once(cluster, "k")


@pytest.mark.parametrize("names", [("catalog-1",), ("catalog-2",), CATALOGS], ids="-".join)
def test_power_lost_after_the_answer_loses_nothing(build: Build, names: tuple[str, ...]) -> None:
    """What was answered is synced at both."""
    cluster = build()
    assert buy(cluster, "k").status == 201
    cluster.outage.power(*names)
    back(cluster, *names)
    cluster.run_for(3.0)
    assert left(cluster) == 3
    sold_once(cluster, "k")


@pytest.mark.parametrize("seed", range(6))
def test_power_lost_in_the_whole_house_loses_nothing_that_was_answered(
    build: Build, seed: int
) -> None:
    """All five at once, between an answered sale and one under way."""
    cluster = build(seed=seed)
    sold = buy(cluster, "answered", book=2)
    assert sold.status == 201
    buying(cluster, "k")
    cluster.run_for(0.002 * seed)
    house = list(cluster.running)
    cluster.outage.power(*house)
    back(cluster, *house)
    cluster.run_for(3.0)
    assert left(cluster, 2) == 3
    assert buy(cluster, "answered", book=2).json() == sold.json()
    sold_once(cluster, "k")


@pytest.mark.parametrize("name", CATALOGS)
@pytest.mark.parametrize("nth", range(1, 7))
def test_power_lost_in_the_middle_of_a_checkpoint_loses_nothing(
    build: Build, name: str, nth: int
) -> None:
    """Pages of the database are torn; the WAL, synced before, still has them whole."""
    cluster = build(seed=nth, tight=True)
    assert buy(cluster, "answered", book=2).status == 201
    cluster.outage.crash_at(name, "write", "catalog.db", nth, power=True)
    buying(cluster, "k")
    cluster.run(gone(cluster, name), 5)
    back(cluster, name)
    cluster.run_for(3.0)
    assert not list((cluster.folder / name).glob("*.corrupt-*"))
    assert left(cluster, 2) == 3
    sold_once(cluster, "k")


def test_a_promise_outlives_a_power_loss(build: Build) -> None:
    """The power goes when the promise has been answered and the epoch has not begun."""
    cluster = build()
    cluster.kill("catalog-1")
    before = cluster.node("catalog-2").record.promise.epoch
    cluster.start("catalog-1")
    cluster.network.hold = lambda sender, request: (
        9.0 if request.target == "/replication/follow" else 0.0
    )
    cluster.run(lambda: cluster.node("catalog-2").record.promise.epoch > before, 5)
    promised = cluster.node("catalog-2").record.promise
    cluster.outage.power(*CATALOGS)
    cluster.start("catalog-2")
    assert cluster.node("catalog-2").record.promise == promised
    cluster.network.hold = lambda sender, request: 0.0
    back(cluster, "catalog-1")
    sold_once(cluster, "k")


# --- damage ---


def spoil(path: Any, random: Random, pages: int) -> None:
    """Give some pages of a database the first half of another page: torn writes."""
    size = 4096
    data = bytearray(path.read_bytes())
    count = len(data) // size
    for page in random.sample(range(1, count), min(pages, count - 1)):
        other = random.randrange(1, count)
        data[page * size : page * size + size // 2] = data[other * size : other * size + size // 2]
    path.write_bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_torn_pages_of_a_replica_are_noticed_before_it_answers(build: Build, seed: int) -> None:
    """By the integrity check (then it refills itself) or by the digest (then it refuses); what is
    read stays true.
    """
    cluster = build()
    assert buy(cluster, "before").status == 201
    cluster.run_for(1.0)
    cluster.kill("catalog-2")
    path = cluster.folder / "catalog-2" / "catalog.db"
    connection = apsw.Connection(str(path))
    assert connection.execute("SELECT count(*) FROM books").get
    connection.close()  # empties the WAL into the file
    spoil(path, Random(seed), pages=3)
    cluster.start("catalog-2")
    cluster.run_for(3.0)
    assert {left(cluster) for _ in range(4)} == {3}
    aside = list(path.parent.glob("catalog.db.corrupt-*"))
    if aside:
        cluster.run(cluster.ready, 5)
        assert buy(cluster, "after").status == 201
        same_everywhere(cluster)
    else:
        assert "diverged" in cluster.node("catalog-2").readiness().why


# --- older disks ---


def older(cluster: Cluster, name: str) -> Callable[[], None]:
    """Put a copy of a disk aside; return how to put it in place."""
    cluster.kill(name)
    cluster.outage.keep_disk(name)
    back(cluster, name)

    def restore() -> None:
        cluster.kill(name)
        cluster.outage.restore_disk(name)

    return restore


@pytest.mark.parametrize("name", ORDERS)
def test_an_order_server_with_an_older_disk_catches_up(build: Build, name: str) -> None:
    """Its cursor is older, so it follows the ledger from there."""
    cluster = build()
    assert buy(cluster, "first").status == 201
    restore = older(cluster, name)
    sold = buy(cluster, "second")
    restore()
    cluster.start(name)
    location = sold.header("location")
    told = cluster.do(lambda: cluster.peer(name).call("GET", location, timeout_s=1))
    assert told.json() == sold.json()


def test_an_older_replica_disk_put_back_after_its_acknowledgement_does_not_count(
    build: Build,
) -> None:
    """The entry waits for a lease; the replica that had acknowledged it comes back without it, on
    the same disk as far as anybody can see.
    """
    cluster = build()
    restore = older(cluster, "catalog-2")
    assert left(cluster) == 4
    cluster.cut("catalog-1", FRONTEND, both=False)  # the sale waits for this frontend's lease
    buying(cluster, "k")
    cluster.run(lambda: prepared(cluster), 5)
    cluster.run_for(0.05)
    restore()
    back(cluster, "catalog-2")
    cluster.heal()
    cluster.run_for(5.0)
    assert [left(cluster) for _ in range(4)] == [3, 3, 3, 3]
    same_everywhere(cluster)


@pytest.mark.parametrize("name", CATALOGS)
def test_a_disk_from_an_older_epoch_rejoins(build: Build, name: str) -> None:
    """No entry is missing on it, only that an epoch began."""
    cluster = build()
    restore = older(cluster, name)
    cluster.kill("catalog-1")
    back(cluster, "catalog-1")
    restore()
    back(cluster, name)
    sold_once(cluster, "k")


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("name", CATALOGS)
def test_what_follows_a_failed_sync_does_not_build_on_what_the_disk_never_got(
    build: Build, name: str, seed: int
) -> None:
    """The next process reads the cache, goes on, is killed; then the cache is dropped."""
    cluster = build(seed=seed)
    cluster.outage.break_sync(name, LOG)
    buying(cluster, "k")
    cluster.run_for(4.0)
    assert buy(cluster, "k").status == 201
    assert buy(cluster, "after").status == 201
    cluster.run_for(0.5)  # the replica hears that it is committed
    for catalog in CATALOGS:
        cluster.kill(catalog)
    cluster.run_for(3.0)
    cluster.start(name)
    cluster.run_for(1.0)
    assert left(cluster) == 2
    cluster.start(*CATALOGS)
    cluster.run(cluster.ready, 10)
    same_everywhere(cluster)


# --- clocks, and the end of a process ---


def test_a_cache_stops_in_time_when_both_clocks_are_at_the_bound(build: Build) -> None:
    """The holder's clock is slow, the grantor's is fast: the lease still ends at the holder
    first.
    """
    cluster = build(frontends=2)
    for frontend in (FRONTEND, OTHER):
        cluster.clocks[frontend].rate = 0.9905
    for catalog in CATALOGS:
        cluster.clocks[catalog].rate = 1.0095
    cluster.run_for(3.0)
    assert left(cluster) == 4
    cluster.cut(FRONTEND, "catalog-1")
    cluster.client("buyer", lambda: cluster.ask(OTHER, "POST", "/purchase/1", key="k"))
    cluster.run(lambda: cluster.node("catalog-1").end().seq == 2, 10)
    seen = look(cluster)
    assert seen.json().get("quantity") in (None, 3), seen


def test_a_killed_node_has_no_file_open(build: Build) -> None:
    """The simulator's kill -9 leaves nothing behind that could still write."""
    cluster = build()
    for name in list(cluster.running):
        cluster.kill(name)
    assert [c.filename for c in apsw.connections() if str(cluster.folder) in c.filename] == []
