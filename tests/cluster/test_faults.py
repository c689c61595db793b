"""Each fault of the protocol at its named point: what the user sees, and what recovers it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import apsw
import pytest

from common.peer import PeerDown, Request, Response
from tests.cluster.calls import FRONTEND, OTHER, back, buy, code, left, look, same_everywhere
from tests.support.cluster import Cluster

Build = Callable[..., Cluster]
PREPARE, COMMIT = "/replication/prepare", "/replication/commit"


def kill_at(cluster: Cluster, victim: str, path: str, *, sender: str, nth: int = 1) -> list[float]:
    """Kill a node when a sender is about to send its nth call to a path; return when it
    happened.
    """
    happened: list[float] = []
    count = [0]

    def watch(by: str, request: Request) -> None:
        if by == sender and request.target.startswith(path):
            count[0] += 1
            if count[0] == nth:
                happened.append(cluster.scheduler.now)
                cluster.kill(victim)

    cluster.network.watch = watch
    return happened


def test_a_lookup_is_a_miss_then_a_hit_then_new_after_a_purchase(build: Build) -> None:
    """The README's session: never the old number after the sale."""
    cluster = build()
    assert look(cluster).header("cache-status") == "bazar; fwd=miss"
    assert look(cluster).header("cache-status") == "bazar; hit"
    assert buy(cluster, "k").status == 201
    after = look(cluster)
    assert (after.header("cache-status"), after.json()["quantity"]) == ("bazar; fwd=miss", 3)


@pytest.mark.parametrize("dead", ["catalog-1", "catalog-2"])
def test_reads_go_on_when_a_catalog_dies(build: Build, dead: str) -> None:
    """The next read answers within a second, whichever dies."""
    cluster = build()
    cluster.kill(dead)
    began = cluster.scheduler.now
    assert [left(cluster, book) for book in (1, 2)] == [4, 4]
    assert cluster.scheduler.now - began < 1.0


@pytest.mark.parametrize("dead", ["catalog-1", "catalog-2"])
def test_writes_are_refused_and_change_nothing_while_a_catalog_is_dead(
    build: Build, dead: str
) -> None:
    """503 `writes-unavailable` within two seconds; after the restart they work within five."""
    cluster = build()
    cluster.kill(dead)
    cluster.run_for(0.3)
    began = cluster.scheduler.now
    assert code(buy(cluster, "refused")) == "writes-unavailable"
    assert cluster.scheduler.now - began < 2.0
    assert left(cluster) == 4
    back(cluster, dead)
    began = cluster.scheduler.now
    assert buy(cluster, "sold").status == 201
    assert cluster.scheduler.now - began < 5.0
    assert left(cluster) == 3
    same_everywhere(cluster)


def test_with_both_catalogs_dead_nobody_can_answer(build: Build) -> None:
    """503 `unavailable` within two seconds for what is not cached."""
    cluster = build()
    cluster.kill("catalog-1")
    cluster.kill("catalog-2")
    cluster.run_for(3.0)
    began = cluster.scheduler.now
    assert code(look(cluster)) == "unavailable"
    assert cluster.scheduler.now - began < 2.0
    assert code(buy(cluster, "k")) == "writes-unavailable"


def test_leader_killed_before_prepare_sells_nothing_until_the_key_is_tried_again(
    build: Build,
) -> None:
    """Nothing had left the leader, so the key is free."""
    cluster = build()
    kill_at(cluster, "catalog-1", PREPARE, sender="catalog-1")
    assert code(buy(cluster, "k")) == "outcome-unknown"
    back(cluster, "catalog-1")
    assert left(cluster) == 4
    assert buy(cluster, "k").status == 201
    assert left(cluster) == 3
    same_everywhere(cluster)


def test_leader_killed_after_the_replica_prepared_completes_the_sale(build: Build) -> None:
    """The entry is adopted and rolled forward; its keys answer `unavailable` until then."""
    cluster = build()
    assert left(cluster, 2) == 4
    cluster.network.hold_reply = lambda sender, request: (
        9.0 if request.target.startswith(PREPARE) else 0.0
    )
    buying = cluster.client("buyer", lambda: cluster.ask(FRONTEND, "POST", "/purchase/1", key="k"))
    prepared = lambda: cluster.node("catalog-2").view().prepared is not None  # noqa: E731
    cluster.run(prepared, 5)
    cluster.kill("catalog-1")
    cluster.network.hold_reply = lambda sender, request: 0.0
    cluster.run(lambda: buying.done, 10)
    assert code(look(cluster)) == "unavailable"
    assert left(cluster, 2) == 4
    back(cluster, "catalog-1")
    cluster.run_for(3.0)
    assert left(cluster) == 3
    sold = buy(cluster, "k")
    assert (sold.status, left(cluster)) == (201, 3)
    same_everywhere(cluster)


def test_leader_killed_after_its_commit_has_sold(build: Build) -> None:
    """The answer was lost, the sale was not: the same key tells it."""
    cluster = build()
    committed = lambda: cluster.node("catalog-1").end().seq == 2  # noqa: E731
    cluster.client("buyer", lambda: cluster.ask(FRONTEND, "POST", "/purchase/1", key="k"))
    cluster.run(committed, 5)
    cluster.kill("catalog-1")
    back(cluster, "catalog-1")
    cluster.run_for(3.0)
    assert left(cluster) == 3
    assert buy(cluster, "k").status == 201
    assert left(cluster) == 3
    same_everywhere(cluster)


@pytest.mark.parametrize("nth_commit", [1, 2])
def test_replica_killed_around_its_apply_catches_up(build: Build, nth_commit: int) -> None:
    """It applies what it had prepared once it hears that it was committed."""
    cluster = build()
    kill_at(cluster, "catalog-2", COMMIT, sender="catalog-1", nth=nth_commit)
    buy(cluster, "k")
    cluster.run_for(1.0)
    cluster.kill("catalog-2")
    back(cluster, "catalog-2")
    assert buy(cluster, "k").status == 201
    assert left(cluster) == 3
    same_everywhere(cluster)


def test_replica_killed_before_its_sync_leaves_the_outcome_unknown_then_decided(
    build: Build,
) -> None:
    """A PREPARE left, so the entry stands; later purchases are refused at once until it is back."""
    cluster = build()
    cluster.network.hold = lambda sender, request: (
        0.5 if request.target.startswith(PREPARE) and sender == "catalog-1" else 0.0
    )
    box: list[Response] = []
    buying = cluster.client(
        "buyer", lambda: box.append(cluster.ask(FRONTEND, "POST", "/purchase/1", key="k"))
    )
    cluster.run_for(0.1)
    cluster.kill("catalog-2")
    cluster.network.hold = lambda sender, request: 0.0
    cluster.run_for(0.5)
    assert code(buy(cluster, "later", book=2)) == "writes-unavailable"
    cluster.run(lambda: buying.done, 10)
    assert code(box[0]) == "outcome-unknown"
    assert left(cluster) == 4
    back(cluster, "catalog-2")
    cluster.run_for(1.0)
    assert left(cluster) == 3
    assert buy(cluster, "k").status == 201
    assert left(cluster) == 3
    same_everywhere(cluster)


@pytest.mark.parametrize("lost", ["catalog-1", "catalog-2"])
def test_a_catalog_with_an_empty_disk_is_refilled_and_not_the_other_way_round(
    build: Build, lost: str
) -> None:
    """An empty disk neither votes nor leads before it holds everything."""
    cluster = build()
    assert buy(cluster, "before").status == 201
    disk = cluster.node(lost).record.disk
    cluster.kill(lost)
    cluster.outage.lose_disk(lost)
    back(cluster, lost)
    assert cluster.node(lost).record.disk != disk
    assert left(cluster) == 3
    assert buy(cluster, "after").status == 201
    assert buy(cluster, "before").status == 201
    assert left(cluster) == 2
    same_everywhere(cluster)


@pytest.mark.parametrize("lost", ["catalog-1", "catalog-2"])
def test_a_catalog_with_an_older_disk_is_noticed_and_refilled(build: Build, lost: str) -> None:
    """It does not know what it had acknowledged: that is a new disk."""
    cluster = build()
    disk = cluster.node(lost).record.disk
    cluster.kill(lost)
    cluster.outage.keep_disk(lost)
    back(cluster, lost)
    assert buy(cluster, "k").status == 201
    cluster.run_for(1.0)
    cluster.kill(lost)
    cluster.outage.restore_disk(lost)
    back(cluster, lost)
    assert cluster.node(lost).record.disk != disk
    assert left(cluster) == 3
    same_everywhere(cluster)


def test_a_replica_disk_lost_after_its_acknowledgement_does_not_count(build: Build) -> None:
    """Found by the simulator (seed 48 of its day): the entry waited for a lease, the replica that
    had acknowledged it came back on an empty disk, and the leader committed on the word of the old
    one.
    """
    cluster = build()
    assert left(cluster) == 4
    cluster.cut("catalog-1", FRONTEND, both=False)  # the sale waits for this frontend's lease
    cluster.client("buyer", lambda: cluster.ask(FRONTEND, "POST", "/purchase/1", key="k"))
    cluster.run(lambda: cluster.node("catalog-2").view().prepared is not None, 5)
    cluster.run_for(0.05)
    cluster.kill("catalog-2")
    cluster.outage.lose_disk("catalog-2")
    back(cluster, "catalog-2")
    cluster.heal()
    cluster.run_for(5.0)
    assert left(cluster) == 3
    same_everywhere(cluster)


def test_copies_that_differ_are_refused_loudly(build: Build) -> None:
    """A flipped row in the replica's file: it serves nothing, writes are refused, a person
    decides.
    """
    cluster = build()
    cluster.kill("catalog-2")
    with closing(apsw.Connection(str(cluster.folder / "catalog-2" / "catalog.db"))) as db:
        db.execute("UPDATE books SET quantity = 40 WHERE id = 1")
    cluster.start("catalog-2")
    cluster.run_for(3.0)
    assert "diverged" in cluster.node("catalog-2").readiness().why
    assert [left(cluster) for _ in range(4)] == [4, 4, 4, 4]
    assert code(buy(cluster, "k")) == "writes-unavailable"
    cluster.kill("catalog-2")
    cluster.outage.lose_disk("catalog-2")
    back(cluster, "catalog-2")
    assert buy(cluster, "k").status == 201
    same_everywhere(cluster)


def test_a_damaged_file_is_put_aside_and_refilled(build: Build) -> None:
    """Flipped bytes in the middle of pages: the integrity check finds them at the start."""
    cluster = build()
    cluster.kill("catalog-2")
    path = cluster.folder / "catalog-2" / "catalog.db"
    with closing(apsw.Connection(str(path))) as db:
        assert db.execute("SELECT count(*) FROM books").get  # closing it empties the WAL
    data = bytearray(path.read_bytes())
    for at in range(4096 * 2 + 100, len(data), 1500):
        data[at] ^= 0xFF
    path.write_bytes(data)
    back(cluster, "catalog-2")
    assert list(path.parent.glob("catalog.db.corrupt-*"))
    assert buy(cluster, "k").status == 201
    same_everywhere(cluster)


def test_both_catalogs_killed_at_once_lose_nothing(build: Build) -> None:
    """What was answered is on both disks."""
    cluster = build()
    sold = buy(cluster, "k")
    cluster.kill("catalog-1")
    cluster.kill("catalog-2")
    back(cluster, "catalog-2", "catalog-1")
    cluster.run_for(3.0)
    assert buy(cluster, "k").json() == sold.json()
    assert left(cluster) == 3


def test_each_catalog_restarted_alone_answers_reads_and_refuses_writes(build: Build) -> None:
    """Nothing can have been written without it, so its clean keys are true."""
    cluster = build()
    assert buy(cluster, "k").status == 201
    cluster.run_for(1.0)
    for alone in ("catalog-1", "catalog-2"):
        cluster.kill("catalog-1")
        cluster.kill("catalog-2")
        cluster.start(alone)
        cluster.run_for(3.0)
        assert left(cluster) == 3
        assert code(buy(cluster, f"alone-{alone}")) == "writes-unavailable"
        cluster.start("catalog-1" if alone == "catalog-2" else "catalog-2")
        cluster.run(cluster.ready, 5)


def test_a_leader_restarted_inside_a_lease_waits_for_it(build: Build) -> None:
    """A frontend may still answer from its cache under a lease the dead process granted."""
    cluster = build()
    assert left(cluster) == 4
    cluster.cut(FRONTEND, "catalog-1")
    cluster.kill("catalog-1")
    back(cluster, "catalog-1")
    began = cluster.scheduler.now
    sold = cluster.client(
        "buyer", lambda: cluster.peer("catalog-1").call(
            "POST", "/operations", timeout_s=5,
            document={
                "key": "k", "kind": "sell", "body": {"items": [{"book_id": 1, "quantity": 1}]},
            },
        )
    )  # fmt: skip
    while not sold.done:
        before = cluster.node("catalog-1").end().seq
        hit = look(cluster).header("cache-status") == "bazar; hit"
        assert not (hit and before == 2), "the sale was visible while a lease from before it lived"
        cluster.run_for(0.1)
    assert cluster.scheduler.now - began > 1.0


def test_a_paused_frontend_delays_a_purchase_by_at_most_the_lease_and_wakes_without_the_old_value(
    build: Build,
) -> None:
    """SIGSTOP across a purchase: after waking it fetches anew."""
    cluster = build(frontends=2)
    assert left(cluster) == left(cluster) == 4
    cluster.stop_for(FRONTEND, 6.0)
    began = cluster.scheduler.now
    assert buy(cluster, "k", frontend=OTHER).status == 201
    assert cluster.scheduler.now - began <= 2.0 * 1.01 + 0.2 + 0.1
    cluster.run_for(6.5 - (cluster.scheduler.now - began))
    assert left(cluster) == 3


def test_a_fill_overtaken_by_a_purchase_is_not_kept(build: Build) -> None:
    """The reply of the slow fetch is delayed by two seconds; the read allows itself less, the cache
    nothing.
    """
    cluster = build()
    slow = lambda sender, request: 0.3 if request.target == "/books/1" else 0.0  # noqa: E731
    cluster.network.hold_reply = slow
    box: list[Response] = []
    reading = cluster.client(
        "reader", lambda: box.append(cluster.ask(FRONTEND, "GET", "/lookup/1"))
    )
    cluster.run_for(0.05)
    assert buy(cluster, "k").status == 201
    cluster.run(lambda: reading.done, 5)
    cluster.network.hold_reply = lambda sender, request: 0.0
    assert box[0].json()["quantity"] == 4  # it overlapped the sale, so either is right
    assert left(cluster) == 3


def test_an_invalidation_that_was_lost_is_sent_again(build: Build) -> None:
    """So the sale waits for its second try, and not for the lease."""
    cluster = build()
    assert left(cluster) == 4
    lost: list[str] = []

    def once(sender: str, request: Request) -> float:
        if request.target != "/internal/invalidate" or lost:
            return 0.0
        lost.append(request.target)
        return 30.0

    cluster.network.hold = once
    began = cluster.scheduler.now
    assert buy(cluster, "k").status == 201
    assert lost
    assert cluster.scheduler.now - began < 1.5
    assert left(cluster) == 3


def test_a_lost_invalidation_is_sent_again_before_the_sale_is_answered(build: Build) -> None:
    """The leader's way to the frontend is cut, one way only: the frontend's renewals arrive, but
    are not granted, so the sale waits for the lease and no longer.
    """
    cluster = build()
    assert left(cluster) == 4
    cluster.cut("catalog-1", FRONTEND, both=False)
    began = cluster.scheduler.now
    sold = cluster.do(lambda: cluster.ask(FRONTEND, "POST", "/purchase/1", key="k"))
    assert sold.status == 201
    assert 0.5 < cluster.scheduler.now - began <= 2.0 * 1.01 + 0.2 + 0.1
    assert left(cluster) == 3


def test_replica_cut_off_from_the_leader_never_answers_old(build: Build) -> None:
    """Without the replica nothing commits, so what it says stays true."""
    cluster = build()
    cluster.cut("catalog-1", "catalog-2")
    cluster.run_for(3.0)
    assert code(buy(cluster, "k")) == "writes-unavailable"
    assert [left(cluster) for _ in range(4)] == [4, 4, 4, 4]
    cluster.heal()
    cluster.run_for(2.0)
    assert buy(cluster, "k").status == 201
    assert [left(cluster) for _ in range(4)] == [3, 3, 3, 3]
    same_everywhere(cluster)


@pytest.mark.parametrize("dead", ["order-1", "order-2"])
def test_purchases_go_on_when_an_order_server_dies_and_it_catches_up(
    build: Build, dead: str
) -> None:
    """The other one sells; the dead one follows the ledger when it is back."""
    cluster = build()
    cluster.kill(dead)
    orders = [buy(cluster, f"k{number}", number % 2 + 1) for number in range(3)]
    assert [order.status for order in orders] == [201, 201, 201]
    cluster.outage.lose_disk(dead)
    cluster.start(dead)
    cluster.run_for(1.0)
    for order in orders:
        told = cluster.do(
            lambda order=order: cluster.peer(dead).call(
                "GET", order.header("location"), timeout_s=1
            )
        )
        assert told.json() == order.json()


@pytest.mark.parametrize("path", ["/operations", "answered"])
def test_an_order_server_killed_before_or_after_the_sale_sells_once(
    build: Build, path: str
) -> None:
    """The frontend tries the other order server with the same key."""
    cluster = build()
    for dead in ("order-1", "order-2"):
        if path == "/operations":
            kill_at(cluster, dead, path, sender=dead)
        else:
            cluster.network.hold_reply = lambda sender, request, dead=dead: (
                3.0 if request.target == path and sender == dead else 0.0
            )
        sold = buy(cluster, f"k-{dead}")
        assert sold.status == 201
        cluster.network.watch = lambda sender, request: None
        if dead not in cluster.running:
            cluster.start(dead)
        assert buy(cluster, f"k-{dead}").json() == sold.json()
    assert left(cluster) == 2


def test_one_copy_two_hundred_buyers_one_sale(build: Build) -> None:
    """Both order servers at once: one 201, the others are told that it is sold out."""
    cluster = build(frontends=2)
    for copy in range(3):
        assert buy(cluster, f"first-{copy}").status == 201
    answers: list[Response] = []

    def buyer(number: int) -> None:
        frontend = cluster.names["frontend"][number % 2]
        answers.append(cluster.ask(frontend, "POST", "/purchase/1", key=f"buyer-{number}"))

    jobs = [cluster.client("buyer", lambda number=number: buyer(number)) for number in range(200)]
    cluster.run(lambda: all(job.done for job in jobs), 30)
    assert sorted(code(answer) if answer.status > 201 else "201" for answer in answers) == [
        "201", *["sold-out"] * 199,
    ]  # fmt: skip
    assert left(cluster) == 0


def test_purchases_that_travel_together_hear_each_its_own_answer(build: Build) -> None:
    """Thirty at one frontend at once, of two books, some for more than is left."""
    cluster = build()
    answers: dict[int, Response] = {}

    def buyer(number: int) -> None:
        document = {"quantity": 9 if number % 5 == 4 else 1}
        target = f"/purchase/{1 + number % 2}"
        answers[number] = cluster.ask(FRONTEND, "POST", target, document, key=f"k-{number}")

    jobs = [cluster.client("buyer", lambda number=number: buyer(number)) for number in range(30)]
    cluster.run(lambda: all(job.done for job in jobs), 30)
    for number, answer in answers.items():
        told = answer.json()
        book = told["items"][0]["book_id"] if answer.status == 201 else told["book_id"]
        assert book == 1 + number % 2
        assert answer.status == 409 if number % 5 == 4 else answer.status in (201, 409)
    sold = [answer.json()["order_id"] for answer in answers.values() if answer.status == 201]
    assert len(set(sold)) == len(sold) == 8
    assert [left(cluster, book) for book in (1, 2)] == [0, 0]


def test_the_same_key_at_both_order_servers_at_once_is_one_sale(build: Build) -> None:
    """The same answer twice; another body under that key is refused with 422."""
    cluster = build()
    answers: list[Any] = []

    def sell(order: str) -> None:
        document = [{"key": "k", "items": [{"book_id": 1, "quantity": 1}]}]
        answer = cluster.peer(order).call("POST", "/sales", timeout_s=4, document=document)
        answers.append(answer.json())

    jobs = [
        cluster.client(order, lambda order=order: sell(order)) for order in ("order-1", "order-2")
    ]
    cluster.run(lambda: all(job.done for job in jobs), 10)
    assert answers[0] == answers[1]
    assert left(cluster) == 3
    assert code(buy(cluster, "k", book=2)) == "idempotency-mismatch"


def test_a_late_duplicate_of_a_refusal_is_refused_again_after_a_restock(build: Build) -> None:
    """ "Sold out" was said for this key, so it stays said."""
    cluster = build()
    for copy in range(4):
        assert buy(cluster, f"k{copy}").status == 201
    assert code(buy(cluster, "late")) == "sold-out"
    restocked = cluster.do(
        lambda: cluster.ask(FRONTEND, "POST", "/books/1/restock", {"quantity": 5}, operator=True)
    )
    assert restocked.json()["quantity"] == 5
    assert code(buy(cluster, "late")) == "sold-out"
    assert left(cluster) == 5


def test_a_repeated_restock_adds_once(build: Build) -> None:
    """Restocks take keys, too."""
    cluster = build()
    for _ in range(3):
        answer = cluster.do(
            lambda: cluster.ask(
                FRONTEND, "POST", "/books/1/restock", {"quantity": 5}, key="r", operator=True
            )
        )
        assert answer.json()["quantity"] == 9
    assert left(cluster) == 9


def test_a_frontend_killed_during_fills_delays_writes_by_its_lease_only(build: Build) -> None:
    """Its session ends by itself; the new process starts with an empty cache."""
    cluster = build(frontends=2)
    assert left(cluster) == 4
    cluster.kill(FRONTEND)
    began = cluster.scheduler.now
    assert buy(cluster, "k", frontend=OTHER).status == 201
    assert cluster.scheduler.now - began <= 2.0 * 1.01 + 0.2 + 0.1
    cluster.start(FRONTEND)
    cluster.run_for(0.5)
    assert left(cluster) == 3


def test_a_wall_clock_jump_changes_nothing(build: Build) -> None:
    """Leases count on a clock that does not jump."""
    cluster = build()
    assert left(cluster) == 4
    cluster.clocks["catalog-1"].wall_offset_s = -86_400.0
    cluster.clocks[FRONTEND].wall_offset_s = 86_400.0
    assert buy(cluster, "k").status == 201
    assert left(cluster) == 3


def test_a_clock_slower_than_the_bound_is_caught_by_these_tests(build: Build) -> None:
    """A control: beyond the bound the promise does not hold, and the simulator can see it."""
    cluster = build(frontends=2)
    cluster.clocks[FRONTEND].rate = 0.5
    assert left(cluster) == left(cluster) == 4
    cluster.cut(FRONTEND, "catalog-1")
    sold = cluster.client("buyer", lambda: cluster.ask(OTHER, "POST", "/purchase/1", key="k"))
    cluster.run(lambda: sold.done, 10)
    assert look(cluster, frontend=FRONTEND).json()["quantity"] == 4


def test_calls_to_a_dead_frontend_fail_as_a_refused_connection(build: Build) -> None:
    """The pretend network behaves like a real one."""
    cluster = build()
    cluster.kill(FRONTEND)
    with pytest.raises(AssertionError, match="refused the connection") as failure:
        look(cluster)
    assert isinstance(failure.value.__cause__, PeerDown)


@pytest.mark.parametrize("path", ["/operations", "/sales"])
@pytest.mark.parametrize("write", ["purchase", "restock"])
def test_a_message_that_arrives_again_after_its_refusal_does_nothing(
    build: Build, path: str, write: str
) -> None:
    """Nothing was to come of it; the same key in a message of its own is another matter."""
    cluster = build()
    sent: list[tuple[str, Request]] = []
    cluster.network.watch = lambda sender, request: (
        sent.append((sender, request)) if request.target.startswith(path) else None
    )

    def ask() -> Response:
        if write == "purchase":
            return buy(cluster, "k")
        target, copies = "/books/1/restock", {"quantity": 1}
        ask = cluster.ask
        return cluster.do(lambda: ask(FRONTEND, "POST", target, copies, key="k", operator=True))

    cluster.kill("catalog-2")
    cluster.run_for(0.3)
    assert code(ask()) == "writes-unavailable"
    back(cluster, "catalog-2")
    for sender, request in sent:
        cluster.do(lambda s=sender, r=request: cluster.network.send(s, r))
    assert left(cluster) == 4
    assert ask().status in (200, 201)
    assert left(cluster) == (3 if write == "purchase" else 5)
