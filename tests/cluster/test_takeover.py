"""With the backup server: whoever dies, the other two go on, and whoever returns is brought up to
date. Each fault of PROTOCOL's list at its named point.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from typing import Any

import pytest

from catalog.replication import FOLLOWING
from catalog.sessions import HEARTBEAT_S
from catalog.transport import LEASE_TIMEOUT_S
from common.errors import Problem
from common.peer import PeerDown, Request, Response
from tests.cluster.calls import (
    FRONTEND,
    ONE,
    OTHER,
    TWO,
    bought,
    buy,
    code,
    leader_of,
    left,
    look,
    order,
    same_everywhere,
    sold_within,
    whole_again,
)  # fmt: skip
from tests.support.cluster import Cluster
from tests.support.scheduler import SimClock

Build = Callable[..., Cluster]
BACKUP = "backup"
PREPARE, COMMIT, FOLLOW = "/replication/prepare", "/replication/commit", "/replication/follow"
STATE, ENTRIES, PROMISE = "/replication/state", "/replication/entries", "/replication/promise"


@pytest.fixture
def six(build: Build) -> Cluster:
    """A shop with a backup server and two frontends, led by the first catalog."""
    return build(backup=True, frontends=2)


def epoch_of(cluster: Cluster) -> int:
    return int(cluster.node(leader_of(cluster)).epoch)


def witness(cluster: Cluster) -> Any:
    """Return the backup server's state (for looking only)."""
    return cluster.running[BACKUP].service.flask.extensions["bazar.witness"]


def kept(cluster: Cluster) -> int:
    """Return how many entries the backup server holds."""
    return int(witness(cluster).kept.entries)


def restock(cluster: Cluster, key: str) -> Response:
    """Receive one copy, as an operator."""
    target, copies = "/books/1/restock", {"quantity": 1}
    ask = cluster.ask
    return cluster.do(lambda: ask(FRONTEND, "POST", target, copies, key=key, operator=True))


def kill_at(cluster: Cluster, victim: str, path: str, to: str, after_s: float = 0.0) -> list[float]:
    """Kill a node when the next message of a kind is on its way to another one; return when."""
    happened: list[float] = []

    def watch(sender: str, request: Request) -> None:
        if not happened and request.to == to and request.target.startswith(path):
            happened.append(cluster.scheduler.now)
            scheduler = cluster.scheduler
            scheduler.at(scheduler.now + after_s, lambda: cluster.kill(victim))

    cluster.network.watch = watch
    return happened


# --- one of three dies ---


def test_a_dead_leader_is_replaced_and_nothing_is_lost(six: Cluster) -> None:
    """Purchases work again within five seconds, without a person."""
    assert buy(six, "before").status == 201
    six.kill(ONE)
    assert sold_within(six, "after", 5.0) == 2
    assert (leader_of(six), epoch_of(six)) == (TWO, 2)
    assert buy(six, "before").status == 201  # its key is known: the same order, not another one
    assert left(six) == 2
    whole_again(six, ONE)
    assert leader_of(six) == TWO
    assert sold_within(six, "last", 1.0) == 1


def test_a_dead_replica_is_replaced_by_the_backup(six: Cluster) -> None:
    """A pause under two and a half seconds; when it is back, what was kept for it is deleted."""
    six.kill(TWO)
    assert sold_within(six, "one", 2.5) == 3
    assert sold_within(six, "two", 0.2) == 2
    assert kept(six) >= 2
    whole_again(six, TWO)
    assert kept(six) == 0
    assert leader_of(six) == ONE


def test_a_dead_backup_changes_nothing(six: Cluster) -> None:
    """Until it is back the strict rule holds: without a second catalog no writes."""
    six.kill(BACKUP)
    assert sold_within(six, "one", 0.2) == 3
    six.kill(TWO)
    six.run_for(3.0)
    assert code(buy(six, "two")) == "writes-unavailable"
    whole_again(six, BACKUP, TWO)
    assert sold_within(six, "two", 1.0) == 2


@pytest.mark.parametrize("dead", [(ONE, TWO), (ONE, BACKUP), (TWO, BACKUP)])
@pytest.mark.parametrize("pause_s", [0.1, 5.0])
def test_with_two_of_three_dead_writes_are_refused_and_reads_end(
    six: Cluster, dead: tuple[str, str], pause_s: float
) -> None:
    """With their leases; when one of them is back the shop goes on, with both it is whole."""
    assert look(six).status == 200
    six.kill(dead[0])
    six.run_for(pause_s)
    six.kill(dead[1])
    six.run_for(2.5)
    assert code(buy(six, "refused")) in ("writes-unavailable", "outcome-unknown")
    assert look(six).status == 503
    six.start(dead[1])
    bought(six, "refused", 8.0)
    whole_again(six, dead[0])
    assert left(six) == 3


def test_leaders_change_back_and_forth(six: Cluster) -> None:
    """Epochs rise strictly, every key is one sale."""
    epochs = [epoch_of(six)]
    for number in range(4):
        dead = leader_of(six)
        six.kill(dead)
        assert sold_within(six, f"sale-{number}", 5.0) == 3 - number
        whole_again(six, dead)
        epochs.append(epoch_of(six))
    assert epochs == sorted(set(epochs))
    assert [buy(six, f"sale-{number}").status for number in range(4)] == [201] * 4
    assert left(six) == 0


# --- at the named points ---


@pytest.mark.parametrize("after_s", [0.0, 0.0005, 0.002, 0.004, 0.01])
def test_a_leader_that_dies_around_its_prepare_leaves_one_sale_or_none(
    six: Cluster, after_s: float
) -> None:
    """The replica rolls forward what it has prepared, for the leader may have answered it."""
    happened = kill_at(six, ONE, PREPARE, TWO, after_s)
    first = buy(six, "k")
    assert happened
    six.network.watch = lambda sender, request: None
    again = bought(six, "k", 5.0)
    if first.status == 201:
        assert first.body == again.body
    assert left(six) == 3
    whole_again(six, ONE)
    assert left(six) == 3


@pytest.mark.parametrize("after_s", [0.0, 0.001, 0.003, 0.01])
def test_a_leader_that_dies_while_the_backup_keeps_is_replaced_by_the_one_that_returns(
    six: Cluster, after_s: float
) -> None:
    """It was not there for these sales: the backup has them."""
    six.kill(TWO)
    assert sold_within(six, "one", 3.0) == 3
    kill_at(six, ONE, PREPARE, BACKUP, after_s)
    first = buy(six, "two")
    six.network.watch = lambda sender, request: None
    six.start(TWO)
    assert sold_within(six, "two", 9.0) == 2
    assert leader_of(six) == TWO
    whole_again(six, ONE)
    if first.status == 201:
        assert bought(six, "two", 1.0).body == first.body
    assert left(six) == 2


@pytest.mark.parametrize("victim", [ONE, TWO, BACKUP])
@pytest.mark.parametrize("to", [TWO, BACKUP])
@pytest.mark.parametrize("after_s", [0.0, 0.0015])
def test_whoever_dies_while_a_replica_is_counted_again(
    six: Cluster, victim: str, to: str, after_s: float
) -> None:
    """In the middle of the change of epoch."""
    six.kill(TWO)
    assert sold_within(six, "one", 3.0) == 3
    happened = kill_at(six, victim, FOLLOW, to, after_s)
    six.start(TWO)
    six.run_for(3.0)
    assert happened
    six.network.watch = lambda sender, request: None
    assert sold_within(six, "two", 9.0) == 2
    whole_again(six, victim)
    assert left(six) == 2


@pytest.mark.parametrize("victim", [TWO, BACKUP])
@pytest.mark.parametrize("path", [FOLLOW, "/replication/promise", PREPARE])
def test_whoever_dies_during_a_takeover(six: Cluster, victim: str, path: str) -> None:
    """The leader dies, and a second node in the middle of its replacement."""
    happened = kill_at(six, victim, path, BACKUP)
    six.kill(ONE)
    first = buy(six, "k")
    six.run_for(4.0)
    assert happened or path == PREPARE
    six.network.watch = lambda sender, request: None
    six.start(victim)
    assert sold_within(six, "k", 9.0) == 3, first
    whole_again(six, ONE)
    assert left(six) == 3


# --- sleepers and cuts ---


def test_a_leader_that_sleeps_through_its_replacement_answers_nothing_old(six: Cluster) -> None:
    """SIGSTOP beyond the lease, takeover, SIGCONT: nothing stale, nothing written, rejoined."""
    six.stop_for(ONE, 6.0)
    began = six.scheduler.now
    assert sold_within(six, "k", 5.0) == 3
    six.run_for(max(0.0, began + 6.0 - six.scheduler.now))
    seen = [left(six, frontend=frontend) for frontend in (FRONTEND, OTHER) * 10]
    assert seen == [3] * 20
    whole_again(six)
    assert leader_of(six) == TWO
    assert left(six) == 3


@pytest.mark.parametrize("early_s", [0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04])
def test_a_deposed_leader_follows_though_an_entry_of_its_own_was_on_its_way(
    six: Cluster, early_s: float
) -> None:
    """It writes nothing for the next leader before its own transaction is out of the way."""
    asleep: list[float] = []

    def watch(sender: str, request: Request) -> None:
        if sender == ONE and request.target.startswith(PREPARE) and not asleep:
            asleep.append(six.scheduler.now)
            six.cut(ONE, TWO)
            six.stop_for(ONE, 3.0)
        elif sender == TWO and request.target == STATE and asleep < [six.scheduler.now - 2.5]:
            # It wakes just before it is asked again: that is soon after it has heard that it does
            # not lead any more, and before its writer has.
            asleep[:] = [inf]
            six.stop_for(ONE, LEASE_TIMEOUT_S + HEARTBEAT_S - early_s)

    def sell() -> None:  # nobody asks for it again elsewhere
        items = [{"book_id": 1, "quantity": 1}]
        document = {"key": "on its way", "kind": "sell", "body": {"items": items}}
        with suppress(PeerDown, Problem):
            six.peer(ONE, "order-1").call("POST", "/operations", document=document, timeout_s=9)

    six.network.watch = watch
    six.client("seller", sell)
    six.run(lambda: bool(asleep))
    six.run_for(3.0)
    assert leader_of(six) == TWO
    six.heal()
    six.run(lambda: six.node(ONE).status == FOLLOWING and six.node(TWO).peer_following, 5)
    assert left(six) == 4
    assert sold_within(six, "next", 5) == 3
    same_everywhere(six)


CUTS = {
    "L|R": ([ONE], [TWO]),
    "L|W": ([ONE], [BACKUP]),
    "R|W": ([TWO], [BACKUP]),
    "L|RW": ([ONE], [TWO, BACKUP]),
    "R|LW": ([TWO], [ONE, BACKUP]),
    "LF|RW": ([ONE, FRONTEND], [TWO, BACKUP]),
    "L|all": ([ONE], [TWO, BACKUP, "order-1", "order-2", FRONTEND, OTHER]),
    "W|LR": ([BACKUP], [ONE, TWO]),
}


@pytest.mark.parametrize("both", [True, False])
@pytest.mark.parametrize("name", CUTS)
def test_at_most_one_side_of_a_cut_commits(six: Cluster, name: str, both: bool) -> None:
    """Each side is asked for all it has; what was sold was sold once, and healed all are equal."""
    for one in CUTS[name][0]:
        for other in CUTS[name][1]:
            six.cut(one, other, both=both)
    answers = []
    for number in range(20):
        frontend = (FRONTEND, OTHER)[number % 2]
        answers.append(
            six.do(
                lambda f=frontend, n=number: six.ask(
                    f, "POST", "/purchase/1", key=f"{n}", timeout_s=4
                )
            )
        )
        six.run_for(0.3)
    whole_again(six)
    final = [buy(six, f"{number}") for number in range(20)]
    for before, after in zip(answers, final, strict=True):
        if before.status in (201, 409):
            assert before.body == after.body
    sold = [answer for answer in final if answer.status == 201]
    assert len(sold) == 4
    assert left(six) == 0


def test_a_replica_that_is_cut_off_is_replaced_as_soon_as_a_dead_one(six: Cluster) -> None:
    """The leader does not wait for what it has sent there to time out."""
    for name in (ONE, BACKUP):
        six.cut(TWO, name)
    assert sold_within(six, "one", 2.5) == 3
    whole_again(six)


# --- disks ---


@pytest.mark.parametrize("name", [ONE, TWO, BACKUP])
def test_an_empty_disk_is_noticed_and_filled_and_does_not_vote(six: Cluster, name: str) -> None:
    """It never leads, and the shop goes on meanwhile."""
    assert buy(six, "before").status == 201
    six.kill(name)
    six.outage.lose_disk(name)
    six.start(name)
    assert sold_within(six, "after", 6.0) == 2
    whole_again(six)
    other = {ONE: TWO, TWO: ONE, BACKUP: ONE}[name]
    six.kill(other)  # now it is needed
    assert sold_within(six, "then", 6.0) == 1
    whole_again(six, other)


def test_a_backup_is_admitted_while_an_entry_waits_for_a_lease(six: Cluster) -> None:
    """What the second has prepared goes on in the next epoch."""
    assert left(six) == 4
    six.cut(ONE, FRONTEND)
    six.kill(BACKUP)
    six.outage.lose_disk(BACKUP)
    job = six.client("client", lambda: six.ask(OTHER, "POST", "/purchase/1", key="k", timeout_s=4))
    six.run_for(0.1)
    assert six.node(TWO).view().prepared is not None
    six.start(BACKUP)
    six.run(lambda: job.done, 5)
    six.heal()
    six.run(six.ready, 5)
    assert sold_within(six, "k", 1.0) == 3


@pytest.mark.parametrize("name", [ONE, TWO])
def test_an_older_disk_is_noticed_and_refilled(six: Cluster, name: str) -> None:
    """Also where its owner led."""
    six.kill(name)
    six.outage.keep_disk(name)
    sold_within(six, "meanwhile", 6.0)
    whole_again(six, name)
    assert sold_within(six, "then", 6.0) == 2
    six.kill(name)
    six.outage.restore_disk(name)
    six.start(name)
    assert sold_within(six, "after", 6.0) == 1
    whole_again(six)
    assert [buy(six, key).status for key in ("meanwhile", "then", "after")] == [201] * 3


# --- leases ---


@pytest.mark.parametrize("lease_s", [2.0, 6.0])
@pytest.mark.parametrize("side", [[ONE], [ONE, FRONTEND], [ONE, FRONTEND, "order-1"]])
@pytest.mark.parametrize("pause_s", [0.005, 0.05])
def test_the_side_that_is_cut_off_answers_nothing_old(
    build: Build, side: list[str], pause_s: float, lease_s: float
) -> None:
    """Its leader's read lease, and the caches' that hang on it, end before the other side sells;
    also where they are longer than it takes to notice.
    """
    six = build(backup=True, frontends=2, lease_s=lease_s)
    assert left(six) == 4
    cut_off(six, side)
    watch = Watch(six, pause_s)
    jobs = [six.client("buyer", watch.buy), six.client("reader", watch.read)]
    six.run(lambda: all(job.done for job in jobs), 30)
    assert not watch.stale
    whole_again(six)
    assert left(six) == 3


def cut_off(cluster: Cluster, side: list[str]) -> None:
    """Cut a side off, but for the first frontend, which goes on hearing the old leader."""
    others = [name for role in cluster.names.values() for name in role if name not in side]
    for one in side:
        for other in others:
            if {one, other} != {ONE, FRONTEND}:
                cluster.cut(one, other)


@dataclass
class Watch:
    """One buys at the second frontend until it is sold; one reads at the first all the while, and
    notes what it is told that was old when it asked.
    """

    cluster: Cluster
    pause_s: float
    sold_at: float = inf
    stale: list[Response] = field(default_factory=list)

    @property
    def now(self) -> float:
        return self.cluster.scheduler.now

    def buy(self) -> None:
        while self.sold_at == inf:
            with suppress(PeerDown):
                ask = self.cluster.ask
                if ask(OTHER, "POST", "/purchase/1", key="k", timeout_s=3).status == 201:
                    self.sold_at = self.now
            self.cluster.scheduler.sleep(0.02)

    def read(self) -> None:
        while self.now < self.sold_at + 3.0:
            asked_at = self.now
            with suppress(PeerDown):
                seen = self.cluster.ask(FRONTEND, "GET", "/lookup/1", timeout_s=3)
                if asked_at > self.sold_at and seen.status == 200 and seen.json()["quantity"] == 4:
                    self.stale.append(seen)
            self.cluster.scheduler.sleep(self.pause_s)


def test_a_leader_that_restarts_beside_the_backup_waits_for_its_own_leases(six: Cluster) -> None:
    """It has forgotten them, so it waits for the longest."""
    six.kill(TWO)
    sold_within(six, "one", 3.0)
    assert [left(six, frontend=frontend) for frontend in (FRONTEND, OTHER)] == [3, 3]
    for frontend in (FRONTEND, OTHER):
        six.cut(ONE, frontend)
    six.kill(ONE)
    six.start(ONE)
    order = six.peer("order-1")
    sale = {"key": "two", "items": [{"book_id": 1, "quantity": 1}]}
    seen: list[int] = []
    sold: list[bool] = []

    def buyer() -> None:
        while not sold:
            told = order.call("POST", "/sales", document=[sale], timeout_s=3).json()
            sold.extend(True for one in told if one.get("status") == 201)
            six.scheduler.sleep(0.02)

    job = six.client("buyer", buyer)
    six.run(lambda: job.done, 10)
    for frontend in (FRONTEND, OTHER):
        answer = look(six, frontend=frontend)
        seen += [answer.json()["quantity"]] if answer.status == 200 else []
    assert 3 not in seen
    six.heal()
    whole_again(six, TWO)
    assert left(six) == 2


def test_a_restarted_leader_shows_what_its_second_no_longer_shows_as_it_was(six: Cluster) -> None:
    """It had committed the last entry; its second had only prepared it, and its vote is lost, so an
    epoch begins with the backup. The second takes that entry out no earlier than it gets what took
    its place: its right to read has not ended.
    """
    network = six.network
    network.hold = lambda sender, request: 9.0 * request.target.startswith(COMMIT)
    assert buy(six, "one").status == 201
    six.kill(ONE)
    network.hold = lambda sender, request: 9.0 * (request.to == TWO and PROMISE in request.target)
    six.start(ONE)
    six.run(lambda: six.node(ONE).leads, 10)
    assert six.node(ONE).second == BACKUP
    network.hold = lambda sender, request: 0.0
    network.hold_reply = lambda sender, request: 0.3 * request.target.startswith(ENTRIES)
    seen: dict[str, list[int]] = {ONE: [], TWO: []}

    def reader(name: str) -> None:
        while six.scheduler.now < until:
            with suppress(PeerDown, Problem):
                answer = six.peer(name).call("GET", "/books/1", timeout_s=1)
                seen[name].append(answer.json()["quantity"])
            six.scheduler.sleep(0.01)

    until = six.scheduler.now + 3.0
    jobs = [six.client(f"reader of {name}", lambda name=name: reader(name)) for name in seen]  # type: ignore[misc]
    six.run(lambda: all(job.done for job in jobs), 10)
    assert set(seen[ONE]) == set(seen[TWO]) == {3}
    network.hold_reply = lambda sender, request: 0.0
    whole_again(six)


def test_a_restarted_leader_tells_its_second_what_it_committed_when_nobody_else_votes(
    six: Cluster,
) -> None:
    """The backup has lost its disk, so the second is the only one to go on with, and it has the
    leader's last entry only prepared.
    """
    six.kill(BACKUP)
    six.outage.lose_disk(BACKUP)
    six.network.hold = lambda sender, request: 9.0 * request.target.startswith(COMMIT)
    assert buy(six, "one").status == 201
    six.kill(ONE)
    six.network.hold = lambda sender, request: 0.0
    six.start(BACKUP, ONE)
    six.run(six.ready, 10)
    whole_again(six)
    assert left(six) == 3


# --- who may lead ---


def test_a_leader_that_dies_at_its_prepare_and_restarts_beside_the_backup(six: Cluster) -> None:
    """What only the backup has was never answered; asked for again it is done, and once."""
    for after_s in (0.0, 0.001, 0.002, 0.003):
        six.kill(TWO)
        sold_within(six, f"first-{after_s}", 3.0)
        kill_at(six, ONE, PREPARE, BACKUP, after_s)
        first = restock(six, f"r-{after_s}")
        six.network.watch = lambda sender, request: None
        six.start(ONE)
        six.run_for(5.0)
        before = left(six)
        again = restock(six, f"r-{after_s}")
        assert again.status == 200
        if first.status == 200:
            assert first.body == again.body
            assert before == left(six)
        whole_again(six, TWO)
        assert left(six) == 4


def test_a_leader_with_an_older_disk_gives_it_up_though_the_other_catalog_would_vote(
    six: Cluster,
) -> None:
    """That one was away; the backup knows better, and has what was sold meanwhile."""
    six.kill(ONE)
    six.outage.keep_disk(ONE)
    whole_again(six, ONE)
    if leader_of(six) != ONE:
        order(six, leader_of(six), "/replication/handover")
        six.run(six.ready, 5)
    six.kill(TWO)
    orders = [bought(six, key, 3.0).body for key in ("one", "two")]
    six.run_for(0.5)
    six.kill(ONE)
    six.outage.restore_disk(ONE)
    six.start(ONE, TWO)
    six.run(six.ready, 15)
    assert [bought(six, key, 1.0).body for key in ("one", "two")] == orders
    assert left(six) == 2
    same_everywhere(six)


def test_a_replica_whose_prepared_entry_was_dropped_is_counted_again(six: Cluster) -> None:
    """Both catalogs die with an entry prepared at one only; the other one leads without it."""
    network = six.network
    network.hold_reply = lambda sender, request: 9.0 * request.target.startswith(PREPARE)
    kill_at(six, ONE, PREPARE, TWO, 0.02)
    six.client("client", lambda: six.ask(FRONTEND, "POST", "/purchase/1", key="k", timeout_s=1))
    six.run(lambda: ONE not in six.running, 1)
    six.run_for(0.01)
    assert six.node(TWO).view().prepared is not None
    for name in (TWO, "order-1", "order-2"):  # the sale is not tried again
        six.kill(name)
    network.watch, network.hold_reply = lambda sender, request: None, lambda sender, request: 0.0
    six.start(ONE)
    six.run(lambda: six.node(ONE).leads, 5)
    six.run_for(0.5)
    assert left(six) == 4
    six.start(TWO)
    six.run(six.ready, 10)
    six.start("order-1", "order-2")
    assert sold_within(six, "k", 2.0) == 3
    same_everywhere(six)


def test_a_catalog_that_has_lost_entries_is_not_voted_for(six: Cluster) -> None:
    """Alone with the backup it would lead without what it has acknowledged."""
    six.kill(TWO)
    six.outage.keep_disk(TWO)
    whole_again(six, TWO)
    sold_within(six, "one", 1.0)
    sold_within(six, "two", 1.0)
    six.run_for(1.0)  # it has told the backup how far it is
    six.kill(TWO)
    six.kill(ONE)
    six.outage.restore_disk(TWO)
    six.start(TWO)
    six.run_for(8.0)
    assert code(buy(six, "three")) == "writes-unavailable"
    assert look(six).status == 503
    whole_again(six, ONE)
    assert left(six) == 2
    assert sold_within(six, "three", 1.0) == 1


def test_a_catalog_without_what_was_sold_beside_the_backup_does_not_lead_alone(
    six: Cluster,
) -> None:
    """Nor do two that do not know: the first is dead, the backup away, the other one incomplete."""
    six.kill(TWO)
    sold_within(six, "one", 3.0)
    six.kill(ONE)
    six.kill(BACKUP)
    six.start(TWO)
    six.run_for(6.0)
    assert code(buy(six, "two")) == "writes-unavailable"
    six.start(BACKUP)
    assert sold_within(six, "two", 8.0) == 2
    whole_again(six, ONE)


def test_a_backup_is_added_to_a_running_shop_and_taken_away_again(build: Build) -> None:
    """By a restart with other settings; every copy goes along."""
    cluster = build(frontends=2)
    sold_within(cluster, "before", 1.0)
    restart_with(cluster, [BACKUP])
    sold_within(cluster, "with", 5.0)
    cluster.run_for(1.0)
    cluster.kill(leader_of(cluster))
    sold_within(cluster, "after", 5.0)
    restart_with(cluster, [])
    sold_within(cluster, "without", 8.0)
    same_everywhere(cluster)
    cluster.kill(ONE if leader_of(cluster) == TWO else TWO)
    cluster.run_for(3.0)
    assert code(buy(cluster, "refused")) == "writes-unavailable"
    assert [buy(cluster, key).status for key in ("before", "with", "after")] == [201] * 3


def restart_with(cluster: Cluster, backups: list[str]) -> None:
    """Restart every node with this backup server, or none, in the settings."""
    for name in list(cluster.running):
        cluster.kill(name)
    cluster.names["backup"] = backups
    for name in backups:
        cluster.clocks[name] = SimClock(cluster.scheduler)
    cluster.start()
    cluster.run(cluster.ready, 20)


def test_a_catalog_whose_two_fellow_voters_lost_their_disks_leads_again_without_a_backup(
    six: Cluster,
) -> None:
    """Nobody may vote for it; a person takes the backup out of the settings, and all is there."""
    sold_within(six, "before", 1.0)
    for name in (BACKUP, ONE):
        six.kill(name)
        six.outage.lose_disk(name)
    six.start(BACKUP, ONE)
    six.run_for(8.0)
    assert code(buy(six, "refused")) == "writes-unavailable"
    restart_with(six, [])
    sold_within(six, "without", 5.0)
    restart_with(six, [BACKUP])
    six.kill(leader_of(six))
    assert sold_within(six, "with", 5.0) == 1


# --- what is prepared ---


def prepared_only(cluster: Cluster) -> None:
    """Sell one copy under "k" so that the leader has committed it and its second has only prepared
    it: nothing tells the second.
    """
    network = cluster.network
    network.hold = lambda sender, request: 9.0 * request.target.startswith(COMMIT)
    assert buy(cluster, "k").status == 201
    cluster.run_for(0.01)
    prepared = cluster.node(TWO).view().prepared
    assert prepared is not None
    assert prepared == cluster.node(ONE).end()


def test_a_second_keeps_what_it_has_prepared_though_its_leader_votes_for_it(six: Cluster) -> None:
    """The leader may have answered it."""
    prepared_only(six)
    six.kill(ONE)
    six.run(lambda: six.node(TWO).status == "alone", 5)
    six.network.hold = lambda sender, request: (
        9.0 * (sender == ONE and "/promise" in request.target)
    )
    since_down: list[str] = []

    def watch(sender: str, request: Request) -> None:
        if sender != TWO or ONE in six.running:
            return
        if request.to == ONE:
            since_down.clear()
        elif request.target == "/replication/state":
            since_down.append(request.target)
            if len(since_down) == 2:  # found down, and asked for its vote next
                six.start(ONE)
                six.node(ONE).checked = True

    six.network.watch = watch
    six.run(lambda: six.node(TWO).leads, 5)
    six.network.watch = lambda sender, request: None
    six.network.hold = lambda sender, request: 0.0
    six.run(six.ready, 15)
    assert bought(six, "k", 1.0).status == 201
    assert left(six) == 3
    same_everywhere(six)


def test_what_is_prepared_is_enough_where_the_backup_began_after_it(six: Cluster) -> None:
    """The second died before it heard of the commit, the leader went on with the backup and died:
    two of three are there, and so is everything.
    """
    prepared_only(six)
    order = buy(six, "k").body
    six.kill(TWO)
    six.network.hold = lambda sender, request: 0.0
    six.run(lambda: six.node(ONE).second == BACKUP, 5)
    sold_within(six, "one", 3.0)
    six.kill(ONE)
    six.start(TWO)
    assert bought(six, "k", 9.0).body == order
    assert bought(six, "two", 5.0).status == 201
    assert left(six) == 1
    whole_again(six, ONE)


def test_what_is_prepared_is_enough_where_nothing_came_after_it(six: Cluster) -> None:
    """As before, with nothing sold beside the backup."""
    prepared_only(six)
    order = buy(six, "k").body
    six.kill(TWO)
    six.network.hold = lambda sender, request: 0.0
    six.run(lambda: six.node(ONE).second == BACKUP, 5)
    six.kill(ONE)
    six.start(TWO)
    assert bought(six, "k", 9.0).body == order
    whole_again(six, ONE)
    assert left(six) == 3
