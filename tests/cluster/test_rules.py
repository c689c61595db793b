"""Rules of the protocol that random schedules seldom reach, each in the one schedule that needs
it.
"""

from __future__ import annotations

from collections.abc import Callable

from common.peer import Request
from tests.cluster.calls import FRONTEND, OTHER, back, buy, left, look, same_everywhere
from tests.support.cluster import Cluster

Build = Callable[..., Cluster]


def held(path: str, seconds: float) -> Callable[[str, Request], float]:
    """Return a rule that holds back the calls to a path."""
    return lambda sender, request: seconds if request.target.startswith(path) else 0.0


def impostor(cluster: Cluster, path: str) -> dict[str, str]:
    """Send a session call to the leader in the name of the first frontend."""
    call = cluster.peer("catalog-1", sender=FRONTEND).call
    answer = cluster.do(lambda: call("POST", path, timeout_s=1, document={"name": FRONTEND}).json())
    assert isinstance(answer, dict)
    return answer


def session_of(cluster: Cluster) -> str:
    """Return the id of the one session that the leader has granted to the first frontend."""
    sessions = cluster.node("catalog-1").sessions._alive
    (found,) = [session for session, held in sessions.items() if held.name == FRONTEND]
    return str(found)


def test_a_registration_does_not_replace_an_older_session(build: Build) -> None:
    """A second process of the same name comes and goes; the first one still answers from its
    cache.
    """
    cluster = build(frontends=2)
    assert left(cluster) == 4
    second = impostor(cluster, "/sessions")["session"]
    impostor(cluster, f"/sessions/{second}/surrender")
    cluster.cut(FRONTEND, "catalog-1")
    assert buy(cluster, "k", frontend=OTHER).status == 201
    assert left(cluster) == 3


def test_a_twin_does_not_acknowledge_for_a_process_of_its_name(build: Build) -> None:
    """The invalidation for the first one's session reaches the second one, at the same address."""
    cluster = build(frontends=2)
    assert left(cluster) == 4
    first = cluster.start_twin(FRONTEND)
    cluster.run_for(1.0)
    assert look(cluster, frontend=first).header("cache-status") == "bazar; hit"
    assert buy(cluster, "k", frontend=OTHER).status == 201
    assert left(cluster, frontend=first) == 3


def test_a_fill_from_an_earlier_session_is_not_kept(build: Build) -> None:
    """While the answer was on its way the session ended, a sale went by, a new session began."""
    cluster = build(frontends=2)
    cluster.network.hold_reply = held("/books/1", 0.35)
    reading = cluster.client("reader", lambda: cluster.ask(FRONTEND, "GET", "/lookup/1"))
    cluster.run_for(0.02)
    impostor(cluster, f"/sessions/{session_of(cluster)}/surrender")
    assert buy(cluster, "k", frontend=OTHER).status == 201
    cluster.run(lambda: reading.done, 5)
    cluster.network.hold_reply = held("nothing", 0)
    assert left(cluster) == 3


def test_a_session_given_back_answers_nothing_any_more(build: Build) -> None:
    """The leader has begun a new epoch; the frontend gives its session back and waits for
    another.
    """
    cluster = build(frontends=2)
    assert left(cluster) == 4
    cluster.network.hold = lambda sender, request: (
        9.0 if request.target == "/sessions" and sender == FRONTEND else 0.0
    )
    cluster.kill("catalog-2")
    cluster.outage.lose_disk("catalog-2")
    back(cluster, "catalog-2")
    assert buy(cluster, "k", frontend=OTHER).status == 201
    assert left(cluster) == 3


def test_nothing_commits_between_the_promise_of_an_epoch_and_its_begin(build: Build) -> None:
    """The replica comes back on a copy from before this epoch and enters the next one; the lease
    that the entry waits for ends before its leader has heard of that.
    """
    cluster = build(frontends=2)
    cluster.kill("catalog-2")
    cluster.outage.keep_disk("catalog-2")
    back(cluster, "catalog-2")
    cluster.kill("catalog-1")
    back(cluster, "catalog-1")
    cluster.run_for(3.0)
    assert left(cluster) == 4
    cluster.cut("catalog-1", FRONTEND, both=False)
    cluster.client("buyer", lambda: cluster.ask(OTHER, "POST", "/purchase/1", key="k"))
    cluster.run(lambda: cluster.node("catalog-2").view().prepared is not None, 5)
    cluster.run_for(0.05)  # the old disk's acknowledgement arrives
    cluster.kill("catalog-2")
    cluster.outage.restore_disk("catalog-2")
    cluster.run_for(0.7)
    leader = cluster.node("catalog-1")
    cluster.network.hold_reply = held("/replication/follow", 1.45)
    cluster.start("catalog-2")
    cluster.run(lambda: cluster.node("catalog-2").epoch > leader.epoch, 5)
    cluster.run(lambda: cluster.node("catalog-2").epoch == leader.epoch, 5)
    assert leader.end() == cluster.node("catalog-2").end()
    cluster.network.hold_reply = held("nothing", 0)
    cluster.heal()
    cluster.run(cluster.ready, 10)
    cluster.run_for(3.0)
    assert buy(cluster, "after", frontend=OTHER).status == 201
    same_everywhere(cluster)


def test_a_prepare_from_before_the_promise_is_refused(build: Build) -> None:
    """It was on its way when its leader died, and arrives between the promise and the new epoch."""
    cluster = build()
    cluster.network.hold = held("/replication/prepare", 0.5)
    cluster.client("buyer", lambda: cluster.ask(FRONTEND, "POST", "/purchase/1", key="lost"))
    cluster.run_for(0.05)
    cluster.kill("catalog-1")
    cluster.network.hold = held("/replication/follow", 1.0)
    cluster.start("catalog-1")
    cluster.run(cluster.ready, 5)
    cluster.network.hold = held("nothing", 0)
    assert left(cluster) == 4
    assert buy(cluster, "k").status == 201
    cluster.run_for(1.0)
    assert left(cluster) == 3
    same_everywhere(cluster)
