"""The life of the frontend's session with the leader."""

import logging
from dataclasses import replace

import pytest

from common.peer import NoAnswer, Request, Response
from tests.support.frontend_fakes import World, answer, broken, dead, refusal

BOOK = "/lookup/1"


@pytest.fixture
def world() -> World:
    return World()


def session_calls(world: World) -> list[tuple[str, str]]:
    """Return (node, what) of each call about sessions."""
    calls = [request for request in world.http.sent if request.target.startswith("/sessions")]
    return [(call.to, call.target.removeprefix("/sessions")) for call in calls]


def hits(world: World) -> bool:
    """Read twice; tell whether the second was a hit."""
    world.get(BOOK)
    return world.get(BOOK).headers["Cache-Status"] == "bazar; hit"


def status(world: World) -> dict[str, object]:
    found = world.signed("GET", "/status").get_json()
    assert isinstance(found, dict)
    return found


def test_the_frontend_registers_with_the_leader_and_renews(world: World) -> None:
    """Every heartbeat, and under the session it was given."""
    world.tick(3)
    renew = ("catalog-1", "/catalog-1-1/renew")
    assert session_calls(world) == [("catalog-1", ""), renew, renew]
    assert hits(world)


def test_a_renewed_session_keeps_its_entries(world: World) -> None:
    """For as long as it is renewed."""
    world.tick()
    world.get(BOOK)
    world.tick(50)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; hit"


def test_the_first_catalog_is_asked_first(world: World) -> None:
    """It leads a new cluster."""
    world.tick()
    assert session_calls(world) == [("catalog-1", "")]


def test_a_hint_is_followed(world: World) -> None:
    """`not-leader` names who leads."""
    world.first.leader = world.second.leader = "catalog-2"
    world.tick()
    assert session_calls(world) == [("catalog-1", ""), ("catalog-2", "")]
    world.tick()
    assert session_calls(world)[-1] == ("catalog-2", "/catalog-2-1/renew")
    assert hits(world)


def test_the_other_catalog_is_tried_when_one_is_dead(world: World) -> None:
    """Without a hint too."""
    world.second.leader = "catalog-2"
    world.http.nodes["catalog-1"] = dead
    world.tick()
    assert hits(world)


def test_no_catalog_is_asked_twice_in_one_beat(world: World) -> None:
    """Two that name each other do not send us round in circles."""
    world.first.leader, world.second.leader = "catalog-2", "catalog-1"
    world.tick()
    assert session_calls(world) == [("catalog-1", ""), ("catalog-2", "")]


@pytest.mark.parametrize("how", [dead, broken, refusal("unavailable"), refusal("not-leader")])
def test_nobody_to_register_with_is_no_cache(world: World, how: object) -> None:
    """And it is tried again at the next beat."""
    world.http.nodes = dict.fromkeys(("catalog-1", "catalog-2"), how)  # type: ignore[arg-type]
    world.tick()
    world.http.nodes = {"catalog-1": world.first, "catalog-2": world.second}
    assert not hits(world)
    world.tick()
    assert hits(world)


def test_an_ended_session_is_replaced_by_a_new_one(world: World) -> None:
    """410: the leader has dropped us; whatever was cached is gone."""
    world.tick()
    world.get(BOOK)
    world.first.sessions.clear()
    world.tick()
    assert world.first.granted == 2
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
    assert hits(world)


def test_a_refused_renewal_keeps_what_there_is(world: World) -> None:
    """`unavailable`: the session is alive until its lease ends; try again."""
    world.tick()
    world.get(BOOK)
    world.first.over["/sessions"] = refusal("unavailable")
    world.tick(5)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; hit"
    world.first.over.clear()
    world.tick(5)
    assert world.first.granted == 1


def test_an_ended_session_is_not_asked_for_for_ever(world: World) -> None:
    """A leader that is recovering may be the leader no more: the others are asked, too."""
    world.tick()
    world.first.over["/sessions"] = refusal("unavailable")
    world.clock.advance(2.0)
    world.second.leader = "catalog-2"
    world.tick()
    assert session_calls(world)[-1] == ("catalog-2", "")
    assert hits(world)


@pytest.mark.parametrize("leader", [None, 7, ["catalog-2"], "catalog-9", {}])
def test_a_hint_that_is_none_is_ignored(world: World, leader: object) -> None:
    """The others are asked in their order."""
    world.first.over["/sessions"] = refusal("not-leader", leader=leader)
    world.second.leader = "catalog-2"
    world.tick()
    assert hits(world)


@pytest.mark.parametrize("how", [dead, broken])
def test_a_leader_that_does_not_answer_costs_nothing_until_the_lease_ends(
    world: World, how: object
) -> None:
    """Then there are no hits any more, and a session is looked for everywhere."""
    world.tick()
    world.get(BOOK)
    world.http.nodes["catalog-1"] = how  # type: ignore[assignment]
    world.tick(5)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; hit"
    world.tick(10)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
    assert ("catalog-2", "") in session_calls(world)


def test_a_lease_counts_from_when_its_call_was_sent(world: World) -> None:
    """An answer that took 1.5 s brings half a second."""

    def slow(request: Request) -> Response:
        granted = replace(world.first, over={})(request)
        world.clock.advance(1.5)
        return granted

    world.first.over["/sessions"] = slow
    world.tick(seconds=0)
    assert status(world)["lease"] == pytest.approx(2.0 * 0.99 - 1.5)


def test_a_renewal_counts_from_when_it_was_sent_too(world: World) -> None:
    """As the grant does."""
    world.tick(seconds=1.0)

    def slow(request: Request) -> Response:
        world.clock.advance(0.3)
        return answer({"lease_s": 2.0})

    world.first.over["/sessions"] = slow
    world.tick(seconds=0)
    assert status(world)["lease"] == pytest.approx(2.0 * 0.99 - 0.3)


def test_a_leader_that_lost_the_lead_gets_its_session_back(world: World) -> None:
    """It may still be waiting for us; only then is a new one asked for, at the new leader."""
    world.tick()
    world.get(BOOK)
    world.first.leader = world.second.leader = "catalog-2"
    world.tick()
    assert session_calls(world)[1:] == [
        ("catalog-1", "/catalog-1-1/renew"),
        ("catalog-1", "/catalog-1-1/surrender"),
        ("catalog-2", ""),
    ]
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_the_cache_has_stopped_before_the_session_is_surrendered(world: World) -> None:
    """The leader goes on the moment it hears."""
    world.tick()
    world.get(BOOK)
    seen: list[str] = []

    def surrendered(request: Request) -> Response:
        if request.target.endswith("/surrender"):
            seen.append(world.get(BOOK).headers["Cache-Status"])
        return refusal("not-leader", leader="catalog-2")(request)

    world.first.over["/sessions"] = surrendered
    world.second.leader = "catalog-2"
    world.tick()
    assert seen == ["bazar; fwd=miss"]


def test_stopping_surrenders_the_session(world: World) -> None:
    """No write waits for a frontend that has stopped."""
    world.tick()
    world.get(BOOK)
    world.service.leave()
    assert world.first.surrendered == ["catalog-1-1"]
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
    world.tick(3)
    assert world.first.granted == 1


def test_stopping_without_a_session_asks_nobody(world: World) -> None:
    """There is nothing to give back."""
    world.service.leave()
    assert world.http.sent == []


def test_stopping_does_not_fail_when_the_leader_is_dead(world: World) -> None:
    """It will wait for the lease's end instead."""
    world.tick()
    world.http.nodes["catalog-1"] = dead
    world.service.leave()
    assert not hits(world)


def test_a_grant_that_arrives_after_the_stop_is_given_back(world: World) -> None:
    """Or a write would wait for a session that nobody holds."""

    def stopped_meanwhile(request: Request) -> Response:
        world.first.over.clear()
        granted = world.first(request)
        world.service.leave()
        return granted

    world.first.over["/sessions"] = stopped_meanwhile
    world.tick()
    assert world.first.surrendered == ["catalog-1-1"]
    assert not hits(world)


def test_an_invalidation_of_a_later_epoch_leads_to_a_new_session(world: World) -> None:
    """Acknowledged, the old one given back, a new one begun empty."""
    world.tick()
    world.get(BOOK)
    assert world.invalidate(3, "book:2", epoch=2)
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"
    world.first.epoch = world.second.epoch = 2
    world.tick()
    assert world.first.surrendered == ["catalog-1-1"]
    assert world.first.granted == 2
    assert hits(world)


def test_a_grants_floors_hold(world: World) -> None:
    """Writes that were pending when it was given."""
    world.first.floors = {"book:1": 11}
    world.tick()
    assert not hits(world)
    world.first.as_of = world.second.as_of = 11
    assert hits(world)


def test_a_lost_grant_is_asked_for_again(world: World) -> None:
    """The leader keeps a session nobody holds, until it ends."""

    def lost(request: Request) -> Response:
        world.first.over.clear()
        world.first(request)
        raise NoAnswer("the answer was lost")

    world.first.over["/sessions"] = lost
    world.second.over["/sessions"] = dead
    world.tick(2)
    assert world.first.granted == 2
    assert hits(world)


def test_a_leader_of_another_cluster_ends_the_session(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    """What is cached is another shop's."""
    world.tick()
    world.get(BOOK)
    world.first.over["/sessions"] = refusal("foreign-cluster")
    with caplog.at_level(logging.INFO):
        world.tick()
    assert world.get(BOOK).headers["Cache-Status"] == "bazar; fwd=miss"


def test_the_status_tells_what_is_held(world: World) -> None:
    """Epoch, what is left of the lease, and in words."""
    before = status(world)
    assert (before["epoch"], before["lease"]) == (None, None)
    assert before["state"] == "no lease: cache unused"
    world.tick()
    after = status(world)
    assert (after["epoch"], after["state"], after["leader"]) == (1, "caching", "catalog-1")
    assert after["lease"] == pytest.approx(1.78)
    assert status(World(capacity=0))["state"] == "cache off"
