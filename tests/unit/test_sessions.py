"""Cache leases at the leader that grants them: who is waited for, for how long, and who is not
renewed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.sessions import DRIFT, HEARTBEAT_S, Renewal, Sessions
from tests.support.catalog_fakes import position

LEASE_S = 2.0
END = LEASE_S * DRIFT
FAR = 1000.0
EPOCH = 7
KEYS = ("book:1", "ledger")


@pytest.fixture
def sessions() -> Sessions:
    return Sessions(threading.Lock(), LEASE_S)


def register(
    sessions: Sessions, session: str = "s1", now: float = 0.0, epoch: int = EPOCH
) -> dict[str, int]:
    return sessions.register(session, f"frontend of {session}", epoch, now)


# --- the sessions to wait for ---


def test_nobody_is_waited_for_when_nobody_caches(sessions: Sessions) -> None:
    """Without sessions a write waits for the replica only."""
    assert sessions.begin(position(1), KEYS, 0.0) == []
    assert sessions.waiting(position(1), 0.0) == set()
    assert sessions.next_end(position(1)) is None


def test_each_session_alive_is_told_and_waited_for(sessions: Sessions) -> None:
    """Also two sessions of one frontend: a registration replaces nothing."""
    sessions.register("s1", "frontend-1", EPOCH, 0.0)
    sessions.register("s2", "frontend-1", EPOCH, 0.0)
    assert set(sessions.begin(position(1), KEYS, 0.0)) == {
        ("s1", "frontend-1"),
        ("s2", "frontend-1"),
    }
    sessions.acknowledge("s2", position(1))
    assert sessions.waiting(position(1), 0.0) == {"s1"}


def test_an_acknowledgement_ends_the_wait(sessions: Sessions) -> None:
    """The frontend has dropped what was going out of date."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    sessions.acknowledge("s1", position(1))
    assert sessions.waiting(position(1), 0.0) == set()


def test_an_acknowledgement_counts_for_its_own_entry_only(sessions: Sessions) -> None:
    """One that comes late, for the entry before, says nothing about this one."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    sessions.finish(position(1))
    sessions.begin(position(2), KEYS, 0.0)
    sessions.acknowledge("s1", position(1))
    assert sessions.waiting(position(2), 0.0) == {"s1"}


def test_an_acknowledgement_counts_for_its_own_content_only(sessions: Sessions) -> None:
    """A dropped entry had the same seq: what is said about it says nothing about this one."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    sessions.finish(position(1))
    sessions.begin(position(1, "other"), KEYS, 0.0)
    sessions.acknowledge("s1", position(1))
    assert sessions.waiting(position(1, "other"), 0.0) == {"s1"}


def test_an_acknowledgement_of_an_unknown_session_is_nothing(sessions: Sessions) -> None:
    """It may have ended while its answer was on the way."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    sessions.acknowledge("s9", position(1))
    assert sessions.waiting(position(1), 0.0) == {"s1"}


def test_sessions_to_wait_for_are_fixed_when_the_entry_is_sent(sessions: Sessions) -> None:
    """Whoever registers later has floors instead."""
    register(sessions, "s1")
    sessions.begin(position(1), KEYS, 0.0)
    register(sessions, "s2", 0.1)
    assert sessions.waiting(position(1), 0.1) == {"s1"}


def test_a_session_of_an_older_epoch_is_waited_for_too(sessions: Sessions) -> None:
    """A leader that changes epoch keeps its sessions until each acknowledges or ends."""
    register(sessions, epoch=EPOCH - 1)
    assert sessions.begin(position(1), KEYS, 0.0) == [("s1", "frontend of s1")]
    assert sessions.waiting(position(1), 1.0) == {"s1"}


# --- floors ---


def test_a_registration_while_nothing_is_pending_starts_without_floors(sessions: Sessions) -> None:
    """A new session is an empty cache and knows of nothing to come."""
    assert register(sessions) == {}


def test_a_registration_while_a_write_is_pending_starts_with_its_floors(sessions: Sessions) -> None:
    """It was not told of the write, so it must not keep an answer from before it."""
    sessions.begin(position(5), KEYS, 0.0)
    assert register(sessions) == {"book:1": 5, "ledger": 5}


def test_floors_are_those_of_the_last_write(sessions: Sessions) -> None:
    """Writes go one after the other."""
    sessions.begin(position(5), KEYS, 0.0)
    sessions.finish(position(5))
    sessions.begin(position(6), ("book:2",), 0.0)
    assert register(sessions) == {"book:2": 6}


def test_a_finished_write_leaves_no_floors_and_no_marks(sessions: Sessions) -> None:
    """Committed, or dropped before it was sent: either way nobody owes an acknowledgement."""
    register(sessions)
    sessions.begin(position(5), KEYS, 0.0)
    sessions.finish(position(5))
    assert sessions.waiting(position(5), 0.1) == set()
    assert register(sessions, "s2", 0.1) == {}
    assert sessions.renew("s1", EPOCH, 1.0) is Renewal.GRANTED


# --- the end of a lease ---


def test_a_session_is_waited_for_until_exactly_its_end(sessions: Sessions) -> None:
    """The grantor counts T x 1.01 from when it received the request."""
    register(sessions, now=10.0)
    sessions.begin(position(1), KEYS, 10.0)
    assert sessions.waiting(position(1), 10.0 + END - 1e-9) == {"s1"}
    assert sessions.waiting(position(1), 10.0 + END) == set()


@given(st.floats(0, 1e6), st.floats(0.1, 60), st.floats(0.99, 1.01))
def test_the_grantor_outlasts_the_holder_within_the_drift(
    received: float, lease_s: float, rate: float
) -> None:
    """A holder counts T x 0.99 from before the grantor counts T x 1.01, each by a clock at most 1 %
    off.
    """
    held_real_s = lease_s * 0.99 / 0.99  # the slowest clock that is allowed
    granted_real_s = lease_s * DRIFT / 1.01  # the fastest one
    assert held_real_s <= granted_real_s + 1e-9
    sessions = Sessions(threading.Lock(), lease_s)
    register(sessions, now=received)
    sessions.begin(position(1), KEYS, received)
    held_by_our_clock_s = lease_s * 0.99 * min(rate, 1.0)
    assert sessions.waiting(position(1), received + held_by_our_clock_s) == {"s1"}


def test_the_next_end_is_that_of_the_first_session_waited_for(sessions: Sessions) -> None:
    """The writer sleeps until then."""
    register(sessions, "s1", 0.0)
    register(sessions, "s2", 1.0)
    register(sessions, "s3", 1.5)
    sessions.begin(position(1), KEYS, 1.5)
    sessions.acknowledge("s1", position(1))
    assert sessions.next_end(position(1)) == 1.0 + END


@pytest.mark.parametrize(
    "look",
    [
        pytest.param(lambda sessions: sessions.waiting(position(1), END), id="a write looked"),
        pytest.param(lambda sessions: sessions.begin(position(1), KEYS, END), id="a write began"),
        pytest.param(lambda sessions: sessions.alive(END), id="somebody looked"),
        pytest.param(lambda sessions: register(sessions, "s2", END), id="another registered"),
        pytest.param(lambda sessions: None, id="nobody looked"),
    ],
)
def test_a_session_that_ended_is_never_revived(
    sessions: Sessions, look: Callable[[Sessions], object]
) -> None:
    """A write may have gone by without telling it."""
    register(sessions)
    look(sessions)
    assert sessions.renew("s1", EPOCH, END) is Renewal.UNKNOWN
    assert sessions.begin(position(2), KEYS, END - 0.5) in ([], [("s2", "frontend of s2")])


def test_a_session_that_ended_does_not_return_with_a_late_acknowledgement(
    sessions: Sessions,
) -> None:
    """It was dropped; the write has gone on."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    assert sessions.waiting(position(1), END) == set()
    sessions.acknowledge("s1", position(1))
    assert sessions.renew("s1", EPOCH, END) is Renewal.UNKNOWN


# --- renewals ---


def test_a_renewal_counts_from_when_it_was_received(sessions: Sessions) -> None:
    """The end moves to T x 1.01 from then."""
    register(sessions)
    assert sessions.renew("s1", EPOCH, 1.5) is Renewal.GRANTED
    sessions.begin(position(1), KEYS, 1.5)
    assert sessions.waiting(position(1), 1.5 + END - 1e-9) == {"s1"}
    assert sessions.waiting(position(1), 1.5 + END) == set()


def test_a_session_is_renewed_until_just_before_its_end(sessions: Sessions) -> None:
    """At its end it is gone."""
    register(sessions)
    assert sessions.renew("s1", EPOCH, END - 1e-9) is Renewal.GRANTED


def test_a_session_of_another_epoch_is_not_renewed(sessions: Sessions) -> None:
    """Floors live within one epoch: the frontend registers anew, with an empty cache."""
    register(sessions)
    assert sessions.renew("s1", EPOCH + 1, 0.5) is Renewal.UNKNOWN
    assert sessions.renew("s1", EPOCH - 1, 0.5) is Renewal.UNKNOWN


def test_a_session_refused_for_its_epoch_is_waited_for_until_its_end(sessions: Sessions) -> None:
    """Its frontend may not have heard the refusal and goes on answering."""
    register(sessions)
    sessions.renew("s1", EPOCH + 1, 0.5)
    sessions.begin(position(1), KEYS, 0.5)
    assert sessions.waiting(position(1), END - 1e-9) == {"s1"}


def test_a_renewal_is_granted_for_a_heartbeat_after_an_invalidation_was_sent(
    sessions: Sessions,
) -> None:
    """Under back-to-back batches something always is unacknowledged for a moment."""
    register(sessions)
    sessions.begin(position(1), KEYS, 1.0)
    assert sessions.renew("s1", EPOCH, 1.0 + HEARTBEAT_S) is Renewal.GRANTED


def test_a_renewal_is_refused_with_an_invalidation_unacknowledged_for_longer_than_a_heartbeat(
    sessions: Sessions,
) -> None:
    """Or a frontend that hears no invalidation would be renewed for ever, and a write wait."""
    register(sessions)
    sessions.begin(position(1), KEYS, 1.0)
    assert sessions.renew("s1", EPOCH, 1.0 + HEARTBEAT_S + 1e-6) is Renewal.UNACKNOWLEDGED


def test_a_refused_renewal_does_not_end_the_session(sessions: Sessions) -> None:
    """It keeps what it has: once it acknowledges, it is renewed again."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    assert sessions.renew("s1", EPOCH, 1.0) is Renewal.UNACKNOWLEDGED
    assert sessions.waiting(position(1), 1.0) == {"s1"}
    sessions.acknowledge("s1", position(1))
    assert sessions.renew("s1", EPOCH, 1.1) is Renewal.GRANTED


def test_who_registered_during_a_write_is_renewed_during_it(sessions: Sessions) -> None:
    """It owes no acknowledgement: it has the floors."""
    sessions.begin(position(1), KEYS, 0.0)
    register(sessions, now=0.1)
    assert sessions.renew("s1", EPOCH, 1.0) is Renewal.GRANTED


@given(
    st.lists(
        st.tuples(st.floats(0.001, 0.5), st.sampled_from(("renew", "ack lost", "look"))),
        max_size=40,
    )
)
def test_a_write_waits_no_longer_than_a_lease_and_a_heartbeat(
    steps: list[tuple[float, str]],
) -> None:
    """However often a frontend renews, when its acknowledgements are lost it ends by T x 1.01 + 200
    ms.
    """
    sessions = Sessions(threading.Lock(), LEASE_S)
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    now = 0.0
    for passed, act in steps:
        now += passed
        if act == "renew":
            sessions.renew("s1", EPOCH, now)
    assert not sessions.waiting(position(1), max(now, END + HEARTBEAT_S + 1e-9))


# --- surrender ---


def test_a_surrendered_session_is_not_waited_for(sessions: Sessions) -> None:
    """Its frontend has stopped answering from it."""
    register(sessions)
    sessions.begin(position(1), KEYS, 0.0)
    sessions.surrender("s1")
    assert sessions.waiting(position(1), 0.0) == set()
    assert sessions.begin(position(2), KEYS, 0.0) == []


def test_a_surrendered_session_is_not_renewed(sessions: Sessions) -> None:
    """A renewal that was on its way finds nothing."""
    register(sessions)
    sessions.surrender("s1")
    assert sessions.renew("s1", EPOCH, 0.1) is Renewal.UNKNOWN


def test_a_session_may_be_surrendered_twice(sessions: Sessions) -> None:
    """Every internal call may arrive twice."""
    register(sessions)
    sessions.surrender("s1")
    sessions.surrender("s1")
    sessions.surrender("never registered")
    assert sessions.alive(0.0) == []


def test_the_status_shows_who_holds_a_lease_and_for_how_long(sessions: Sessions) -> None:
    """Ended ones are gone."""
    register(sessions, "s1", 0.0)
    register(sessions, "s2", 1.0)
    assert sessions.alive(END) == [("frontend of s2", 1.0 + END - END)]


# --- for any history ---


@given(st.data())
def test_no_write_passes_a_session_that_may_still_answer(data: st.DataObject) -> None:
    """Whatever comes in whatever order: a write is through only with each holder told, or past its
    own count.
    """
    sessions = Sessions(threading.Lock(), LEASE_S)
    now, seq, pending = 0.0, 0, False
    holds: dict[str, float] = {}  # session -> when its holder stops, by its own count
    knows: dict[str, int] = {}  # session -> the last entry it was told of, or has floors of
    for number in range(data.draw(st.integers(1, 25))):
        now += data.draw(st.floats(0, 0.7))
        act = data.draw(
            st.sampled_from(("register", "renew", "begin", "ack", "surrender", "finish"))
        )
        session = data.draw(st.sampled_from([*holds, "none"]))
        if act == "register":
            floors = register(sessions, f"s{number}", now)
            holds[f"s{number}"], knows[f"s{number}"] = now + LEASE_S * 0.99, seq
            assert floors == (dict.fromkeys(KEYS, seq) if pending else {})
        elif act == "renew" and sessions.renew(session, EPOCH, now) is Renewal.GRANTED:
            holds[session] = now + LEASE_S * 0.99
        elif act == "begin" and not pending:
            seq, pending = seq + 1, True
            told = {name for name, _ in sessions.begin(position(seq), KEYS, now)}
            assert told >= {name for name, end in holds.items() if now < end}
        elif act == "ack" and session in holds:
            sessions.acknowledge(session, position(seq))
            knows[session] = seq
        elif act == "surrender":
            sessions.surrender(session)
            holds.pop(session, None)
        elif act == "finish" and pending and not sessions.waiting(position(seq), now):
            assert all(knows[name] >= seq for name, end in holds.items() if now < end)
            sessions.finish(position(seq))
            pending = False
