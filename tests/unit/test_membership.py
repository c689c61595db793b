"""Who is voted for, and what a catalog does that neither leads nor follows, among three."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from catalog.membership import Candidacy, decide, grants, latest, refuse_vote
from catalog.replication import ALONE, FOLLOWING, KEEPING, LEADING, Promise, Record, Step, View
from common.position import ORIGIN, Position

ONE, TWO, W = "catalog-1", "catalog-2", "backup"
DISKS = {ONE: "disk-1", TWO: "disk-2", W: "disk-w"}
FIRST, SECOND, THIRD = (Position(1, seq, f"hash-{seq}") for seq in (1, 2, 3))


def record(epoch: int, leader: str, second: str) -> Record:
    """Return a record of three voters."""
    members = {name: DISKS[name] for name in (leader, second)}
    return Record(epoch, leader, members, 2.0, dict(DISKS))


PAIR = record(1, ONE, TWO)
ALONE_WITH_W = record(2, ONE, W)


def view(node: str, **changed: Any) -> View:
    """Return a node in sync at the second entry, in the pair's epoch."""
    told: dict[str, Any] = {
        "node": node, "disk": DISKS[node], "cluster": "c", "record": PAIR,
        "promise": Promise(1, ONE), "end": SECOND, "prepared": None, "schema": 1,
        "status": ALONE, "checked": True,
    }  # fmt: skip
    return View(**told | changed)


def empty(node: str) -> View:
    """Return a node that has never been part of anything."""
    return view(node, cluster="", record=None, promise=Promise(0, ""), end=ORIGIN)


# --- votes ---


def vote(voter: View, asked: Candidacy, **told: Any) -> str | None:
    return refuse_vote(voter, asked, **{"reported": None, "leads": None} | told)


ASKED = Candidacy(2, TWO, DISKS[TWO], SECOND)


def test_a_voter_is_promised_an_epoch_once() -> None:
    """Again to the same one, to no other, and nothing below."""
    assert vote(view(W), ASKED) is None
    promised = view(W, promise=Promise(2, TWO))
    assert vote(promised, ASKED) is None
    other = Candidacy(2, ONE, DISKS[ONE], SECOND)
    assert vote(promised, other) == "epoch 2 has been promised"
    assert vote(promised, replace(other, epoch=3)) is None
    assert vote(view(W, promise=Promise(3, ONE)), ASKED) == "epoch 3 has been promised"


def test_an_epoch_that_has_begun_is_promised_to_nobody() -> None:
    """Not even to the one who leads it."""
    begun = view(W, record=record(2, TWO, W), promise=Promise(2, TWO))
    assert vote(begun, ASKED) == "epoch 2 has begun"


@pytest.mark.parametrize(
    ("voter", "asked", "why"),
    [
        (view(W, record=None), ASKED, "no vote"),
        (view(W), replace(ASKED, disk="another"), "no voter on disk another"),
        (view(W), replace(ASKED, candidate="catalog-9"), "no voter"),
    ],
)
def test_who_has_no_vote_neither_votes_nor_is_voted_for(
    voter: View, asked: Candidacy, why: str
) -> None:
    """Disks count, not names."""
    assert why in (vote(voter, asked) or "")


def test_a_leader_that_is_heard_is_not_deposed() -> None:
    """It may take its own next epoch."""
    assert vote(view(W), ASKED, leads=ONE) == f"{ONE} leads, and is heard here"
    assert vote(view(W), replace(ASKED, candidate=ONE, disk=DISKS[ONE]), leads=ONE) is None


def test_who_has_lost_what_was_committed_is_not_voted_for() -> None:
    """What it holds as prepared counts as held."""
    assert vote(view(W), ASKED, reported=SECOND) is None
    assert "lost entries" in (vote(view(W), ASKED, reported=THIRD) or "")
    assert vote(view(W), replace(ASKED, tail=THIRD), reported=THIRD) is None


def test_only_a_second_in_its_epoch_grants_a_lease() -> None:
    """A replica that follows, or the backup while it is a member."""
    assert grants(view(TWO, status=FOLLOWING), 1)
    assert not grants(view(TWO, status=ALONE), 1)
    assert not grants(view(TWO, status=FOLLOWING), 2)
    assert not grants(view(TWO, status=FOLLOWING, promise=Promise(2, TWO)), 1)
    keeping = view(W, record=ALONE_WITH_W, promise=Promise(2, ONE), status=KEEPING)
    assert grants(keeping, 2)
    assert not grants(replace(keeping, status="watching", record=PAIR), 1)
    assert not grants(view(ONE, status=LEADING), 1)


# --- places ---


def step(me: View, peer: View | None, backup: View | None, *, late: bool = True) -> Step:
    return decide(me, peer, backup, ONE, late=late).step


def test_a_shop_is_founded_when_all_three_have_met() -> None:
    """By the first catalog."""
    assert step(empty(ONE), empty(TWO), empty(W)) is Step.FOUND
    assert step(empty(TWO), empty(ONE), empty(W)) is Step.WAIT
    assert step(empty(ONE), empty(TWO), None) is Step.WAIT
    assert step(empty(ONE), None, empty(W)) is Step.WAIT


LEADS = view(ONE, status=LEADING)
KEEPS = view(W, record=ALONE_WITH_W, promise=Promise(2, ONE), status=KEEPING)
IN_TWO: dict[str, Any] = {"record": ALONE_WITH_W, "promise": Promise(2, ONE)}


@pytest.mark.parametrize(
    ("me", "peer", "backup", "expected"),
    [
        pytest.param(view(TWO), LEADS, None, Step.FOLLOW, id="a leader that counts it"),
        pytest.param(
            view(TWO), replace(LEADS, **IN_TWO), KEEPS, Step.REJOIN, id="one that went on without"
        ),
        pytest.param(
            view(TWO, disk="new"), LEADS, None, Step.REJOIN, id="a full copy on a new disk"
        ),
        pytest.param(view(TWO, record=None), LEADS, None, Step.REFILL, id="nothing on it"),
        pytest.param(view(TWO, record=None), None, view(W), Step.WAIT, id="nobody to copy from"),
        pytest.param(
            view(TWO, record=None), view(ONE, record=None), view(W), Step.REFUSE, id="both lost"
        ),
        pytest.param(view(ONE), view(TWO), view(W), Step.LEAD, id="the recorded leader first"),
        pytest.param(view(TWO), view(ONE), view(W), Step.WAIT, id="the other one after it"),
        pytest.param(view(TWO), None, view(W), Step.LEAD, id="a second whose leader is gone"),
        pytest.param(view(TWO), None, None, Step.LEAD, id="it asks for votes, and gets none"),
        pytest.param(view(TWO), None, KEEPS, Step.LEAD, id="the backup has what it lacks"),
        pytest.param(
            view(TWO), view(ONE, **IN_TWO), KEEPS, Step.WAIT, id="the member that is complete"
        ),
        pytest.param(view(ONE, **IN_TWO), view(TWO), KEEPS, Step.LEAD, id="and itself"),
        pytest.param(view(ONE, **IN_TWO), view(TWO), None, Step.LEAD, id="without the backup"),
        pytest.param(
            view(TWO, **IN_TWO), None, None, Step.WAIT, id="it knows that it lacks something"
        ),
        pytest.param(
            view(TWO), view(ONE, record=None), view(W), Step.LEAD, id="a leader's disk was lost"
        ),
        pytest.param(
            view(ONE), view(TWO, end=THIRD), view(W), Step.REFILL, id="this disk was rolled back"
        ),
        pytest.param(view(TWO), view(ONE, cluster="x"), view(W), Step.REFUSE, id="another cluster"),
        pytest.param(view(TWO), LEADS, view(W, schema=2), Step.REFUSE, id="another version"),
        pytest.param(
            view(TWO, end=Position(1, 2, "other")), view(ONE), view(W), Step.REFUSE, id="diverged"
        ),
    ],
)
def test_what_a_catalog_does(
    me: View, peer: View | None, backup: View | None, expected: Step
) -> None:
    """One row for each situation."""
    assert step(me, peer, backup) is expected


def test_a_peer_that_was_just_heard_is_waited_for() -> None:
    """It may only have been slow."""
    assert step(view(TWO), None, view(W), late=False) is Step.WAIT


def test_the_latest_record_is_that_of_the_highest_epoch() -> None:
    """None: nobody has one."""
    assert latest([PAIR, None, ALONE_WITH_W]) == ALONE_WITH_W
    assert latest([None]) is None


def test_a_candidacy_travels() -> None:
    """As JSON."""
    assert Candidacy.parse(ASKED.document()) == ASKED
