"""The leader's write path with everything around it pretended: what is awaited, what is dropped,
what is said.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from catalog.queue import BATCH_OPERATIONS_MAX
from catalog.replication import FOLLOWING
from common.peer import NoAnswer, NotSent, Request, Response
from common.service import service_of
from tests.support.catalog_fakes import FRONTEND, ONE, TWO, Answered, Catalogs, book, sale

PREPARE, COMMIT = "/replication/prepare", "/replication/commit"


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Catalogs]:
    """Two catalogs, open, with one book of five copies."""
    catalogs = Catalogs(tmp_path)
    catalogs.open()
    catalogs.operate("first book", "add", book(quantity=5))
    catalogs.run_for(0.1)
    yield catalogs
    catalogs.close()


def fail(
    shop: Catalogs, path: str, *errors: Exception | None, times: int | None = None
) -> Callable[[], None]:
    """Let calls to the replica fail one after the other; return what ends that."""
    left = list(errors) if times is None else list(errors) * times

    def act(request: Request) -> Response | None:
        if request.to == TWO and request.target.startswith(path) and left:
            error = left.pop(0)
            if error is not None:
                raise error
        return None

    shop.line.before.append(act)
    return left.clear


class Sent:
    """An operation on its way, sent by a client that waits."""

    def __init__(
        self, shop: Catalogs, key: str, quantity: int = 1, timeout_s: float = 20.0
    ) -> None:
        self.answers: list[Answered] = []
        document = {"key": key, "kind": "sell", "body": sale((1, quantity))}

        def send() -> None:
            self.answers.append(shop.call("POST", "/operations", document, timeout_s=timeout_s))

        shop.scheduler.spawn(key, "client", send)

    @property
    def said(self) -> str | None:
        """Return `sold`, the code of a problem, or None while it waits."""
        if not self.answers:
            return None
        answered = self.answers[0]
        return "sold" if answered.status == 200 else answered.code


def registered(shop: Catalogs) -> str:
    return str(shop.call("POST", "/sessions", {"name": FRONTEND}, sender=FRONTEND).json["session"])


def renewed(shop: Catalogs, session: str) -> Answered:
    return shop.call("POST", f"/sessions/{session}/renew", {}, sender=FRONTEND)


def left(shop: Catalogs, node: str = ONE) -> int:
    return int(shop.get("/books/1", to=node).json["quantity"])


def seqs(shop: Catalogs) -> tuple[int, int]:
    return shop.node(ONE).end().seq, shop.node(TWO).end().seq


# --- the order of things ---


def test_a_write_is_prepared_at_the_replica_before_it_is_visible_anywhere(shop: Catalogs) -> None:
    """Prepare, then commit, then answer: seen from the replica in the middle of it."""
    seen: list[object] = []

    def look(request: Request) -> None:
        if request.target.startswith(COMMIT):
            seen.append(("commit", left(shop), shop.get("/books/1", to=TWO).code))
        if request.target.startswith(PREPARE):
            seen.append(("prepare", left(shop), left(shop, TWO)))

    shop.line.before.append(look)
    sent = Sent(shop, "k")
    shop.run_for(0.1)
    assert sent.said == "sold"
    assert seen == [("prepare", 5, 5), ("commit", 4, "dirty")]
    assert left(shop, TWO) == 4


def test_a_write_is_not_visible_while_the_replica_has_not_answered(shop: Catalogs) -> None:
    """Neither at the leader nor at the replica, nor answered."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), times=100)
    sent = Sent(shop, "k")
    shop.run_for(1.0)
    assert (sent.said, left(shop), left(shop, TWO)) == (None, 5, 5)
    mended()
    shop.run_for(0.2)
    assert (sent.said, left(shop), left(shop, TWO)) == ("sold", 4, 4)


def test_operations_that_wait_are_one_entry(shop: Catalogs) -> None:
    """Group commit: all of them are answered, in one seq."""
    answers = shop.operate_at_once([(f"k{number}", "sell", sale((1, 1))) for number in range(8)])
    statuses = sorted(answer.json["status"] for answer in answers)
    assert statuses == [201] * 5 + [409] * 3
    assert shop.node().end().seq < 3 + 8
    assert left(shop) == 0


def test_buyers_at_the_same_time_get_no_more_than_there_is(shop: Catalogs) -> None:
    """Two hundred buyers of five copies; the ledger has five rows without a gap."""
    answers = shop.operate_at_once(
        [(f"k{number}", "sell", sale((1, 1))) for number in range(200)], timeout_s=30.0
    )
    assert sum(answer.json["status"] == 201 for answer in answers) == 5
    ledger = shop.get("/ledger").json
    assert (ledger["end"], [row["number"] for row in ledger["rows"]]) == (5, [1, 2, 3, 4, 5])
    assert BATCH_OPERATIONS_MAX < 200


def test_the_same_key_at_the_same_time_happens_once(shop: Catalogs) -> None:
    """Both get the one answer."""
    first, second = shop.operate_at_once([("k", "sell", sale((1, 2)))] * 2)
    assert first.body == second.body
    assert left(shop) == 3


# --- a replica that cannot be reached ---


def test_a_refused_connection_drops_the_write_unsent(shop: Catalogs) -> None:
    """Nothing was sent, so nothing was done, and it says so; the next one takes its place."""
    fail(shop, PREPARE, NotSent("refused"))
    refused, seq = shop.operate("k", "sell", sale((1, 1))), shop.node().end().seq
    assert (refused.code, left(shop)) == ("writes-unavailable", 5)
    assert shop.operate("k", "sell", sale((1, 1))).json["status"] == 201
    shop.run_for(0.1)
    assert seqs(shop) == (seq + 1, seq + 1)


@pytest.mark.parametrize("first", [NoAnswer("lost")])
def test_a_write_that_may_have_left_is_never_dropped(shop: Catalogs, first: Exception) -> None:
    """Even if every later attempt is refused at connect: it waits until the replica is back."""
    mended = fail(shop, PREPARE, first, *[NotSent("refused")] * 100)
    sent = Sent(shop, "k")
    shop.run_for(3.0)
    assert sent.said is None
    mended()
    shop.run_for(0.2)
    assert (sent.said, left(shop)) == ("sold", 4)


def test_a_write_that_is_under_way_anew_is_not_dropped_for_an_attempt_before(
    shop: Catalogs,
) -> None:
    """One that is refused at connect late says nothing of the next one, which began meanwhile."""
    slow = iter([(0.3, NotSent("refused")), (0.6, None)])

    def wait(request: Request) -> None:
        pause_s, error = next(slow, (0.0, None)) if PREPARE in request.target else (0.0, None)
        shop.scheduler.sleep(pause_s)
        if error is not None:
            raise error

    shop.line.before.append(wait)
    sent = Sent(shop, "k")
    shop.run_for(0.1)
    shop.node().let_join()
    shop.run_for(0.4)
    assert sent.said is None
    shop.run_for(0.5)
    assert (sent.said, left(shop), left(shop, TWO)) == ("sold", 4, 4)


def test_a_replica_that_prepared_and_whose_answer_was_lost_gets_it_again(shop: Catalogs) -> None:
    """It acknowledges the repeat; the entry is there once."""
    lost: list[Request] = []

    def lose_reply(request: Request) -> Response | None:
        if request.target.startswith(PREPARE) and not lost:
            lost.append(request)
            shop.line.apps[TWO].test_client().open(
                request.target, method="POST", data=request.body, headers=dict(request.headers)
            )
            raise NoAnswer("the reply was lost")
        return None

    shop.line.before.append(lose_reply)
    sent = Sent(shop, "k")
    shop.run_for(0.5)
    assert (sent.said, left(shop), left(shop, TWO)) == ("sold", 4, 4)


def test_while_a_write_is_stuck_new_ones_are_refused_at_once(shop: Catalogs) -> None:
    """They would only wait; the stuck one itself waits on, and its key is not new."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), *[NotSent("refused")] * 1000)
    stuck = Sent(shop, "stuck")
    shop.run_for(0.3)
    new, again = Sent(shop, "new"), Sent(shop, "stuck")
    other_body = Sent(shop, "stuck", quantity=2)
    shop.run_for(0.01)
    assert (new.said, again.said, stuck.said) == ("writes-unavailable", None, None)
    assert other_body.said == "idempotency-mismatch"
    mended()
    shop.run_for(0.3)
    assert (again.said, stuck.said, left(shop)) == ("sold", "sold", 4)


def test_what_was_queued_is_refused_when_a_write_gets_stuck(shop: Catalogs) -> None:
    """It is withdrawn first, so it is never done."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), times=1000)
    stuck = Sent(shop, "stuck")
    shop.run_for(0.5)
    queued = Sent(shop, "queued")
    shop.run_for(0.5)
    assert (stuck.said, queued.said) == (None, None)
    shop.run_for(0.8)
    assert (stuck.said, queued.said) == (None, "writes-unavailable")
    mended()
    shop.run_for(0.5)
    assert (stuck.said, left(shop)) == ("sold", 4)


def test_who_waits_no_longer_for_a_stuck_write_is_told_that_it_is_unknown(shop: Catalogs) -> None:
    """Asked again with the key it is known in the end."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), times=1000)
    assert shop.operate("k", "sell", sale((1, 1)), timeout_s=1.0).code == "outcome-unknown"
    mended()
    shop.run_for(0.3)
    assert shop.operate("k", "sell", sale((1, 1))).json["status"] == 201
    assert left(shop) == 4


def test_who_waits_no_longer_in_the_queue_is_told_that_nothing_happened(shop: Catalogs) -> None:
    """Its operation is withdrawn before the answer."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), times=1000)
    Sent(shop, "stuck")
    shop.run_for(0.2)
    impatient = Sent(shop, "impatient", timeout_s=0.5)
    shop.run_for(0.6)
    assert impatient.said == "writes-unavailable"
    mended()
    shop.run_for(0.5)
    assert left(shop) == 4


def test_an_answer_that_makes_no_sense_is_no_acknowledgement(shop: Catalogs) -> None:
    """Something else may listen at that address; the write waits and goes on when it can."""
    nonsense = [b"<html>", b"{}", b'{"position":[9,9,"x"]}', b"[]", b""]

    def act(request: Request) -> Response | None:
        if request.target.startswith(PREPARE) and nonsense:
            return Response(200, {}, nonsense.pop())
        return None

    shop.line.before.append(act)
    sent = Sent(shop, "k")
    shop.run_for(1.0)
    assert (sent.said, left(shop)) == ("sold", 4)


# --- caches ---


def test_a_write_waits_for_every_session(shop: Catalogs) -> None:
    """Told and acknowledged, it goes on at once."""
    session = registered(shop)
    assert shop.operate("k", "sell", sale((1, 1))).json["status"] == 201
    (message,) = shop.frontend.told
    end = shop.node().end()
    assert message == {
        "session": session,
        "epoch": 1,
        "seq": end.seq,
        "hash": end.hash,
        "keys": ["book:1", "ledger"],
    }


NOT_ACKNOWLEDGED: list[Callable[[Request], Response]] = [
    lambda request: Response(200, {}, b'{"acknowledged":false,"seq":3,"hash":""}'),
    lambda request: Response(
        410, {}, json.dumps({"code": "unknown-session", "detail": "x"}).encode()
    ),
    lambda request: Response(
        200,
        {},
        json.dumps(
            {"acknowledged": True, "seq": json.loads(request.body)["seq"], "hash": "0"}
        ).encode(),
    ),
    lambda request: Response(
        200,
        {},
        json.dumps(
            {"acknowledged": True, "seq": 1, "hash": json.loads(request.body)["hash"]}
        ).encode(),
    ),
    lambda request: Response(200, {}, b"{}"),
    lambda request: Response(200, {}, b"<html>"),
]


@pytest.mark.parametrize("answer", NOT_ACKNOWLEDGED, ids=range(len(NOT_ACKNOWLEDGED)))
def test_a_session_that_does_not_acknowledge_is_waited_for_until_its_end(
    shop: Catalogs, answer: Callable[[Request], Response]
) -> None:
    """Whatever it says instead; new writes are not refused, for only a lease is awaited."""
    registered(shop)
    shop.frontend.answer = answer
    sent = Sent(shop, "k")
    shop.run_for(1.95)
    assert (sent.said, left(shop)) == (None, 5)
    queued = Sent(shop, "queued")
    shop.run_for(0.2)
    assert (sent.said, queued.said, left(shop)) == ("sold", "sold", 3)


def test_a_frontend_that_cannot_be_reached_delays_a_write_by_a_lease_and_a_heartbeat_at_most(
    shop: Catalogs,
) -> None:
    """Though it renews as often as it can."""
    session = registered(shop)

    def cut(request: Request) -> Response:
        raise NoAnswer("cut off")

    shop.frontend.answer = cut
    shop.run_for(1.0)
    sent = Sent(shop, "k")
    for _ in range(10):
        shop.run_for(0.1)
        renewed(shop, session)
    assert sent.said is None
    assert renewed(shop, session).code == "unavailable"
    shop.run_for(2.02 + 0.2 - 1.0 + 0.01)
    assert sent.said == "sold"
    assert renewed(shop, session).code == "unknown-session"


def test_a_session_registered_during_a_write_has_its_floors(shop: Catalogs) -> None:
    """It is not told of the write, so it must not keep what is older."""
    mended = fail(shop, PREPARE, NoAnswer("lost"), times=1000)
    Sent(shop, "k")
    shop.run_for(0.1)
    granted = shop.call("POST", "/sessions", {"name": FRONTEND}, sender=FRONTEND).json
    assert granted["floors"] == {"book:1": 3, "ledger": 3}
    mended()
    shop.run_for(0.2)
    assert shop.frontend.told == []


def test_a_surrendered_session_is_not_waited_for(shop: Catalogs) -> None:
    """A frontend that stops makes nobody wait."""
    session = registered(shop)

    def silent(request: Request) -> Response:
        raise NoAnswer("gone")

    shop.frontend.answer = silent
    sent = Sent(shop, "k")
    shop.run_for(0.3)
    assert sent.said is None
    shop.call("POST", f"/sessions/{session}/surrender", {}, sender=FRONTEND)
    shop.run_for(0.25)
    assert sent.said == "sold"


def test_an_acknowledgement_of_a_dropped_entry_does_not_count_for_the_one_in_its_place(
    shop: Catalogs,
) -> None:
    """Two contents had one seq: a late answer about the first says nothing about the second."""
    registered(shop)

    def answer(request: Request) -> Response:
        message = json.loads(request.body)
        if message["keys"] == ["book:1", "ledger"] and len(shop.frontend.told) == 1:
            shop.scheduler.sleep(0.6)  # the first one is answered late, all others are lost
            reply = {"acknowledged": True, "seq": message["seq"], "hash": message["hash"]}
            return Response(200, {}, json.dumps(reply).encode())
        raise NoAnswer("lost")

    shop.frontend.answer = answer
    fail(shop, PREPARE, NotSent("no file descriptor left"))
    assert shop.operate("dropped", "sell", sale((1, 1))).code == "writes-unavailable"
    document = {"key": "next", "kind": "restock", "body": {"book_id": 1, "quantity": 1}}
    answers: list[Answered] = []
    shop.scheduler.spawn(
        "next",
        "client",
        lambda: answers.append(shop.call("POST", "/operations", document, timeout_s=9.0)),
    )
    shop.run_for(1.0)
    assert answers == []
    shop.run_for(1.2)
    assert [answered.status for answered in answers] == [200]


# --- restarts ---


def test_a_restarted_leader_rolls_forward_what_its_replica_has_prepared(shop: Catalogs) -> None:
    """Nobody was told, but it is durable at the replica: its key has its outcome, and once."""

    def die(request: Request) -> None:
        if request.target.startswith(COMMIT) or request.to == FRONTEND:
            raise NoAnswer("the leader is dying")

    registered(shop)
    shop.line.before.insert(0, die)
    Sent(shop, "k")
    shop.run_for(0.3)
    assert shop.get("/books/1", to=TWO).code == "dirty"
    shop.kill(ONE)
    shop.line.before.remove(die)
    shop.start(ONE)
    for _ in range(3):
        shop.tick()
    assert shop.node().leads
    assert shop.node().epoch == 2
    assert shop.get("/books/1").code == "dirty"
    assert shop.get("/books/1", to=TWO).code == "dirty"
    other = Sent(shop, "another")
    mismatch = Sent(shop, "k", quantity=2)
    again = Sent(shop, "k")
    shop.run_for(2.5)
    assert (again.said, mismatch.said, other.said) == ("sold", "idempotency-mismatch", "sold")
    assert shop.get("/ledger").json["end"] == 2


def test_a_restarted_leader_commits_nothing_before_older_leases_have_ended(shop: Catalogs) -> None:
    """Its predecessor may have granted one in its last moment."""
    shop.kill(ONE)
    shop.start(ONE)
    for _ in range(3):
        shop.tick()
    assert shop.node().leads
    sent = Sent(shop, "k")
    shop.run_for(1.95)
    assert (sent.said, left(shop)) == (None, 5)
    shop.run_for(0.2)
    assert sent.said == "sold"


def test_a_stopped_leader_answers_what_is_in_flight(shop: Catalogs) -> None:
    """It takes no more, ends its writer, and whoever waited has an answer."""
    sent = [Sent(shop, f"k{number}") for number in range(3)]
    shop.run_for(0.001)
    service_of(shop.apps[ONE]).stop()
    shop.run_for(1.0)
    assert {one.said for one in sent} <= {"sold", "writes-unavailable"}
    late = Sent(shop, "late")
    shop.run_for(0.1)
    assert late.said == "writes-unavailable"


def test_a_disk_lost_during_a_lease_wait_does_not_leave_one_copy(shop: Catalogs) -> None:
    """What the lost disk acknowledged is void: the new disk must have it before the commit."""
    registered(shop)

    def silent(request: Request) -> Response:
        raise NoAnswer("cut off")

    shop.frontend.answer = silent
    sent = Sent(shop, "k")
    shop.run_for(0.1)
    shop.kill(TWO)
    shop.lose_disk(TWO)
    shop.start(TWO)
    lost: list[Request] = []

    def lose_reply_of_follow(request: Request) -> Response | None:
        if request.target.startswith("/replication/follow") and not lost:
            lost.append(request)
            shop.line.apps[TWO].test_client().open(
                request.target, method="POST", data=request.body, headers=dict(request.headers)
            )
            raise NoAnswer("the reply was lost")
        return None

    shop.line.before.append(lose_reply_of_follow)
    while not lost:
        shop.tick()
    assert sent.said is None
    shop.run_for(2.5)  # the lease ends before the next heartbeat
    held = shop.node(TWO).view().tail.seq
    assert shop.node(ONE).end().seq <= held
    for _ in range(5):
        shop.tick()
        shop.run_for(0.3)
    assert (sent.said, shop.node(TWO).status) == ("sold", FOLLOWING)
    assert left(shop, TWO) == left(shop) == 4


def test_a_batch_is_never_larger_than_a_message_may_be(shop: Catalogs) -> None:
    """Big baskets at the same time: a PREPARE refused for its size would be stuck for ever."""
    rows = [book(sku=f"s{number}", title="書" * 1000, quantity=1000) for number in range(100)]
    for first in range(0, 100, 20):
        body = {"rows": rows[first : first + 20]}
        assert shop.operate(f"load-{first}", "import", body).status == 200
    basket = sale(*((number, 1) for number in range(2, 102)))
    baskets = [(f"basket-{number}", "sell", basket) for number in range(60)]
    answers = shop.operate_at_once(baskets, timeout_s=3.0)
    assert {answer.status for answer in answers} == {200}
