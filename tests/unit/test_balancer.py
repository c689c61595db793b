"""The balancer: whose turn it is, and who is left alone."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from frontend.balancer import QUARANTINE_S, TRIAL_S, Balancer

NAMES = ["a", "b", "c"]


@pytest.fixture
def balancer() -> Balancer:
    return Balancer(NAMES, lock=threading.Lock())


def firsts(balancer: Balancer, times: int, now: float) -> list[str]:
    return [balancer.order(now)[0] for _ in range(times)]


def test_each_node_gets_its_turn(balancer: Balancer) -> None:
    """Round robin."""
    assert firsts(balancer, 6, 0.0) == ["a", "b", "c", "a", "b", "c"]


def test_the_others_follow_the_one_whose_turn_it_is(balancer: Balancer) -> None:
    """Everybody is in the list, once."""
    assert balancer.order(0.0) == ["a", "b", "c"]
    assert balancer.order(0.0) == ["b", "c", "a"]


def test_a_node_that_failed_comes_last(balancer: Balancer) -> None:
    """It is left alone, but it is still there for whoever has nobody else."""
    balancer.failed("a", 0.0)
    for _ in range(6):
        assert balancer.order(0.5)[-1] == "a"


def test_one_caller_alone_tries_a_node_that_comes_back(balancer: Balancer) -> None:
    """After the quarantine the others go on using the healthy ones."""
    balancer.failed("a", 0.0)
    asked = firsts(balancer, 6, QUARANTINE_S)
    assert Counter(asked)["a"] == 1
    assert asked[0] == "a"


def test_a_trial_that_fails_begins_another_quarantine(balancer: Balancer) -> None:
    """A dead node costs one caller a second."""
    balancer.failed("a", 0.0)
    assert balancer.order(QUARANTINE_S)[0] == "a"
    balancer.failed("a", QUARANTINE_S + 0.4)
    assert "a" not in firsts(balancer, 6, QUARANTINE_S + 0.5)
    assert balancer.order(2 * QUARANTINE_S + 0.4)[0] == "a"


def test_a_trial_that_succeeds_ends_it(balancer: Balancer) -> None:
    """The node has its turns again."""
    balancer.failed("a", 0.0)
    assert balancer.order(QUARANTINE_S)[0] == "a"
    balancer.succeeded("a")
    assert Counter(firsts(balancer, 6, QUARANTINE_S)) == {"a": 2, "b": 2, "c": 2}


def test_a_trial_that_nobody_reports_is_given_again(balancer: Balancer) -> None:
    """A caller that died must not keep a node out for ever."""
    balancer.failed("a", 0.0)
    assert balancer.order(1.0)[0] == "a"
    assert "a" not in firsts(balancer, 6, 1.0 + TRIAL_S - 0.1)
    assert balancer.order(1.0 + TRIAL_S)[0] == "a"


def test_when_all_failed_all_are_tried(balancer: Balancer) -> None:
    """Quarantine never makes a request fail by itself."""
    for name in NAMES:
        balancer.failed(name, 0.0)
    assert sorted(balancer.order(0.5)) == NAMES


def test_two_nodes_due_get_a_trial_each(balancer: Balancer) -> None:
    """One caller is not to wait for two dead nodes."""
    balancer.failed("a", 0.0)
    balancer.failed("b", 0.0)
    first, second = balancer.order(1.0), balancer.order(1.0)
    assert {first[0], second[0]} == {"a", "b"}
    assert first[1] == second[1] == "c"


def test_nobody_to_balance_is_nobody_to_try() -> None:
    """An empty group is an empty list."""
    assert Balancer([], lock=threading.Lock()).order(0.0) == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("order"), st.floats(0, 3)),
            st.tuples(st.sampled_from(["failed", "succeeded"]), st.sampled_from(NAMES)),
        )
    )
)
def test_every_order_names_every_node_once(steps: list[tuple[str, object]]) -> None:
    """Whatever was reported before; and at most one that failed comes before a healthy one."""
    balancer, now, bad = Balancer(NAMES, lock=threading.Lock()), 0.0, set[str]()
    for step, argument in steps:
        if step == "order":
            now += float(str(argument))
            order = balancer.order(now)
            assert sorted(order) == NAMES
            healthy = [index for index, name in enumerate(order) if name not in bad]
            assert all(sum(name in bad for name in order[:index]) <= 1 for index in healthy)
        elif step == "failed":
            balancer.failed(str(argument), now)
            bad.add(str(argument))
        else:
            balancer.succeeded(str(argument))
            bad.discard(str(argument))


def test_who_answered_is_counted(balancer: Balancer) -> None:
    """By those who were asked and report it."""
    for name in ("a", "b", "a"):
        balancer.succeeded(name)
    balancer.failed("c", 0.0)
    assert balancer.answered() == {"a": 2, "b": 1, "c": 0}
