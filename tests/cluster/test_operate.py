"""What an operator orders: a planned change of leader, with a backup server and without, and a
promotion when one of a pair is lost for good.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest

from common.errors import Problem
from common.peer import PeerDown, Request
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
    sold_within,
    whole_again,
)  # fmt: skip
from tests.support.cluster import Cluster

Build = Callable[..., Cluster]
COMMIT, FOLLOW, LEAD = "/replication/commit", "/replication/follow", "/replication/lead"
PROMISE, PREPARED = "/replication/promise", "/replication/prepared"
HANDOVER, PROMOTION = "/replication/handover", "/replication/promotion"


@pytest.fixture(params=[False, True], ids=["five", "six"])
def shop(build: Build, request: pytest.FixtureRequest) -> Cluster:
    """A shop with two frontends, without and with a backup server, led by the first catalog."""
    return build(backup=request.param, frontends=2)


@pytest.fixture
def five(build: Build) -> Cluster:
    """A shop without a backup server."""
    return build(frontends=2)


# --- planned ---


@pytest.mark.parametrize("slow", ["", FOLLOW, COMMIT])
def test_the_lead_is_handed_over_without_a_failed_request(shop: Cluster, slow: str) -> None:
    """To and fro, while others buy, restock and read; nobody waits as long as a lease. Also where
    the next leader hears late that it leads, or what is committed.
    """
    shop.network.hold_reply = lambda sender, request: 0.1 * (request.target == slow)
    shop.network.hold = lambda sender, request: 0.01 * (request.target == slow)
    answers: list[tuple[float, int]] = []
    over: list[bool] = []

    def client(number: int) -> None:
        while not over:
            began = shop.scheduler.now
            frontend, key = (FRONTEND, OTHER)[number % 2], f"{number}-{began}"
            if number < 3:
                target, copies = f"/books/{1 + number % 2}/restock", {"quantity": 1}
                answer = shop.ask(frontend, "POST", target, copies, key=key, operator=True)
            elif number < 6:
                answer = shop.ask(frontend, "POST", "/purchase/1", key=key)
            else:
                answer = shop.ask(frontend, "GET", "/lookup/1")
            answers.append((shop.scheduler.now - began, answer.status))
            shop.scheduler.sleep(0.01)

    jobs = [shop.client(f"client-{n}", lambda n=n: client(n)) for n in range(8)]  # type: ignore[misc]
    for expected in (TWO, ONE, TWO):
        shop.run_for(0.5)
        assert order(shop, leader_of(shop), HANDOVER) == {"leader": expected}
        shop.run(shop.ready, 2)
        assert leader_of(shop) == expected
    shop.run_for(0.5)
    over.append(True)
    shop.run(lambda: all(job.done for job in jobs), 10)
    assert {status for _, status in answers} <= {200, 201, 409}
    assert max(seconds for seconds, _ in answers) < 1.5
    whole_again(shop)


@pytest.mark.parametrize("path", [LEAD, PROMISE, FOLLOW])
@pytest.mark.parametrize("victim", [ONE, TWO])
@pytest.mark.parametrize("after_s", [0.0, 0.0015])
def test_whoever_dies_during_a_handover_one_of_them_leads(
    shop: Cluster, path: str, victim: str, after_s: float
) -> None:
    """Before or just after each message; nothing is lost, and a restart makes it whole."""
    assert buy(shop, "before").status == 201
    sender = ONE if path == LEAD else TWO
    seen: list[str] = []

    def watch(by: str, request: Request) -> None:
        if by == sender and request.target.startswith(path) and not seen:
            seen.append(request.target)
            shop.scheduler.at(shop.scheduler.now + after_s, lambda: shop.kill(victim))

    shop.network.watch = watch
    order(shop, ONE, HANDOVER, timeout_s=2)
    assert seen
    shop.run_for(0.1)
    whole_again(shop, victim)
    assert sold_within(shop, "after", 6.0) == 2
    assert buy(shop, "before").status == 201
    assert left(shop) == 2


@pytest.mark.parametrize("path", [LEAD, PROMISE])
def test_a_next_leader_that_dies_holds_the_shop_up_no_longer_than_its_election_may_take(
    shop: Cluster, path: str
) -> None:
    """However patient the operator is."""
    seen: list[str] = []

    def watch(by: str, request: Request) -> None:
        if by in (ONE, TWO) and request.target.startswith(path) and not seen:
            seen.append(request.target)
            shop.scheduler.at(shop.scheduler.now + 0.0015, lambda: shop.kill(TWO))

    def hand_over() -> None:
        with suppress(Problem, PeerDown):
            shop.peer(ONE, "operator").call("POST", HANDOVER, document={}, timeout_s=30.0)

    shop.network.watch = watch
    shop.client("operator", hand_over)
    shop.run(lambda: bool(seen))
    shop.run_for(0.5)
    shop.start(TWO)
    bought(shop, "after", 5.0)
    whole_again(shop)
    assert left(shop) == 3


@pytest.mark.parametrize("path", [LEAD, PROMISE, FOLLOW])
@pytest.mark.parametrize("reply", [False, True], ids=["lost", "answer lost"])
def test_a_message_of_a_handover_is_lost(shop: Cluster, path: str, reply: bool) -> None:
    """One of them leads, by itself."""
    network, seen = shop.network, []  # type: ignore[var-annotated]

    def once(sender: str, request: Request) -> float:
        if sender in (ONE, TWO) and request.target.startswith(path) and not seen:
            seen.append(request.target)
            return 30.0
        return 0.0

    if reply:
        network.hold_reply = once
    else:
        network.hold = once
    order(shop, ONE, HANDOVER, timeout_s=2)
    assert seen
    assert sold_within(shop, "after", 6.0) == 3
    shop.run(shop.ready, 15)
    whole_again(shop)


def test_a_leader_that_hands_over_without_a_backup_sells_nothing_more(five: Cluster) -> None:
    """Neither lets the other's entries in: what was promised to the next leader holds, and one
    that had asked for the lead before gets it no more.
    """
    network = five.network
    network.hold = lambda sender, request: 6.0 * request.target.startswith(FOLLOW)
    assert isinstance(order(five, ONE, HANDOVER, timeout_s=1), Problem)
    network.hold = lambda sender, request: 0.0
    assert sold_within(five, "after", 6.0) == 3  # the old leader went on, in another epoch
    leader, epoch = leader_of(five), five.node(leader_of(five)).epoch
    five.run_for(8.0)  # the message of the first attempt has arrived by now
    assert (leader_of(five), five.node(leader).epoch) == (leader, epoch)
    whole_again(five)


def test_a_promise_never_sinks(five: Cluster) -> None:
    """The old leader has taken the next epoch but one, with the promise of the one that was asked
    to lead, which hears only then that it may go on.
    """
    network, digests = five.network, []  # type: ignore[var-annotated]

    def late(sender: str, request: Request) -> float:
        if sender == TWO and request.target == "/replication/digest" and not digests:
            digests.append(request.target)
            return 2.0
        return 0.0

    network.hold_reply = late
    assert isinstance(order(five, ONE, HANDOVER, timeout_s=1), Problem)
    five.run(lambda: five.node(ONE).epoch == 3, 5)
    promised = five.node(TWO).record.promise
    five.run_for(3.0)
    assert digests
    assert (five.node(ONE).leads, five.node(TWO).record.promise) == (True, promised)
    assert sold_within(five, "after", 1.0) == 3
    whole_again(five)


def test_no_session_begins_while_a_leader_hands_over(shop: Cluster) -> None:
    """Else its cache might answer beside what the next leader sells."""
    shop.network.hold = lambda sender, request: 0.3 * (request.target == LEAD)
    peer, asked = shop.peer(ONE), []  # type: ignore[var-annotated]

    def handing_over() -> None:
        asked.append(peer.call("POST", HANDOVER, document={}, timeout_s=5).json())

    shop.client("operator", handing_over)
    shop.run(lambda: shop.node(ONE).yielding_to == TWO, 1)
    shop.run(lambda: not shop.node(ONE).sessions.alive(shop.node(ONE).clock.now()), 3)
    begun = order(shop, ONE, "/sessions", document={"name": FRONTEND}, sender=FRONTEND)
    assert isinstance(begun, Problem)
    shop.run(lambda: bool(asked), 5)
    assert asked == [{"leader": TWO}]
    whole_again(shop)


def test_no_cache_answers_for_a_leader_that_hands_over(five: Cluster) -> None:
    """A frontend that cannot be asked to surrender is waited for."""
    look(five)
    five.stop_for(FRONTEND, 3.0)
    began = five.scheduler.now
    assert order(five, ONE, HANDOVER) == {"leader": TWO}
    assert five.scheduler.now - began > 1.0
    five.run(five.ready, 2)
    assert five.do(lambda: five.ask(OTHER, "POST", "/purchase/1", key="k")).status == 201
    five.run_until_all_are_awake()
    assert left(five) == 3


def test_only_a_leader_with_a_replica_in_sync_hands_over(shop: Cluster) -> None:
    """Anybody else says why not."""
    for name, dead, code_ in ((TWO, (), "not-leader"), (ONE, (TWO,), "unavailable")):
        shop.kill(*dead) if dead else None
        shop.run_for(0.3)
        refused = order(shop, name, HANDOVER, timeout_s=2)
        assert isinstance(refused, Problem)
        assert refused.code == code_


# --- forced ---


def gone(cluster: Cluster) -> None:
    """Kill the first catalog and lose its disk."""
    cluster.kill(ONE)
    cluster.outage.lose_disk(ONE)
    cluster.run_for(0.5)


def test_a_promoted_catalog_goes_on_with_an_empty_second(five: Cluster) -> None:
    """Nothing that was answered is lost, and it leads the one that is refilled from it."""
    assert buy(five, "before").status == 201
    gone(five)
    promoted = order(five, TWO, PROMOTION)
    assert (promoted["leader"], list(promoted["members"])) == (TWO, [TWO])
    assert left(five) == 3
    assert code(buy(five, "alone")) == "writes-unavailable"  # one copy is not two
    whole_again(five, ONE)
    assert leader_of(five) == TWO
    assert bought(five, "before", 1.0).status == 201
    assert sold_within(five, "after", 5.0) == 2


def test_what_is_prepared_at_a_promoted_catalog_stands(five: Cluster) -> None:
    """The dead leader may have answered it; nobody reads it before that one's leases have ended."""
    five.network.hold = lambda sender, request: 9.0 * request.target.startswith(COMMIT)
    order_id = buy(five, "k").json()["order_id"]
    five.kill(ONE)
    five.outage.lose_disk(ONE)
    five.network.hold = lambda sender, request: 0.0
    assert five.node(TWO).view().prepared is not None
    began = five.scheduler.now
    order(five, TWO, PROMOTION)
    assert five.scheduler.now - began > five.lease_s
    assert five.node(TWO).view().prepared is None
    whole_again(five, ONE)
    assert bought(five, "k", 1.0).json()["order_id"] == order_id
    assert left(five) == 3


@pytest.mark.parametrize("sells", [False, True], ids=["equal", "with a sale of its own"])
def test_a_leader_that_returns_after_a_promotion_follows(five: Cluster, sells: bool) -> None:
    """It is refilled when it holds something of its own; its promises bind nobody any more."""
    assert buy(five, "before").status == 201
    if sells:
        five.network.hold = lambda sender, request: 9.0 * request.target.startswith(COMMIT)
        assert buy(five, "last").status == 201
    five.kill(ONE)
    five.network.hold = lambda sender, request: 0.0
    assert "epoch" in order(five, TWO, PROMOTION)
    whole_again(five, ONE)
    assert leader_of(five) == TWO
    assert sold_within(five, "after", 5.0) == (1 if sells else 2)


def test_a_catalog_that_dies_during_its_promotion_is_promoted_again(five: Cluster) -> None:
    """What was promised is not taken back, and binds nobody else."""
    buy(five, "before")
    five.kill(ONE)
    peer = five.peer(TWO)

    def asking() -> None:
        with suppress(PeerDown):
            peer.call("POST", PROMOTION, document={}, timeout_s=5)

    five.client("operator", asking)
    five.run_for(1.0)
    five.kill(TWO)
    five.start(TWO)
    five.run(lambda: five.node(TWO).status == "alone", 5)
    assert "epoch" in order(five, TWO, PROMOTION)
    whole_again(five, ONE)
    assert leader_of(five) == TWO


def test_a_catalog_whose_peer_returns_meanwhile_is_not_promoted(five: Cluster) -> None:
    """The peer goes on leading, in another epoch."""
    five.kill(ONE)
    five.scheduler.at(five.scheduler.now + 0.5, lambda: five.start(ONE))
    refused = order(five, TWO, PROMOTION)
    assert isinstance(refused, Problem)
    assert "has come back" in refused.detail
    whole_again(five)
    assert leader_of(five) == ONE
    assert sold_within(five, "after", 5.0) == 3


def test_a_copy_that_is_no_member_can_be_promoted(five: Cluster) -> None:
    """The member is lost while the other one is refilled: what came after the copy is lost, too,
    and that is what a person accepts.
    """
    assert buy(five, "copied").status == 201
    five.kill(TWO)
    five.outage.lose_disk(TWO)
    five.network.hold = lambda sender, request: 30.0 * request.target.startswith(FOLLOW)
    five.start(TWO)
    five.run(lambda: five.node(TWO).record.record is not None, 5)
    gone(five)
    five.network.hold = lambda sender, request: 0.0
    five.start(ONE)
    five.run(lambda: five.node(TWO).status == "refusing", 5)
    assert look(five).status == 503
    assert "epoch" in order(five, TWO, PROMOTION)
    five.run(five.ready, 15)
    assert left(five) == 3
    assert sold_within(five, "after", 5.0) == 2
    whole_again(five)


def test_copies_that_differ_are_settled_by_promoting_one(five: Cluster) -> None:
    """The other one is refilled."""
    assert buy(five, "before").status == 201
    five.kill(TWO)
    five.outage.keep_disk(TWO)
    five.start(TWO)
    five.run(five.ready, 5)
    assert buy(five, "lost").status == 201
    five.kill(ONE)
    five.kill(TWO)
    five.outage.restore_disk(TWO)
    five.start(TWO)
    five.run(lambda: five.node(TWO).status == "alone", 5)
    assert "epoch" in order(five, TWO, PROMOTION)  # on an older disk: a person says so
    whole_again(five, ONE)
    assert leader_of(five) == TWO
    assert left(five) == 3


def test_who_may_not_be_promoted_says_why(shop: Cluster) -> None:
    """A leader, one whose leader answers, one with a backup server."""
    wanted = {
        ONE: "two of three" if shop.backup else "leads already",
        TWO: "two of three" if shop.backup else "answers (leading)",
    }
    for name, why in wanted.items():
        refused = order(shop, name, PROMOTION)
        assert isinstance(refused, Problem)
        assert why in refused.detail
    assert sold_within(shop, "k", 1.0) == 3
