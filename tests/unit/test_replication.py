"""The rules of epochs: who leads, who refills, what is promised, and what may follow what."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.replication import (
    Answer,
    Promise,
    Record,
    Step,
    View,
    assess,
    judge_prepare,
    refuse_promise,
    refuse_record,
)
from common.position import ORIGIN, Position
from tests.support.catalog_fakes import ONE, TWO, empty, position, record, view

ACTING = (Step.FOUND, Step.REFILL, Step.LEAD)


def steps(one: View, two: View) -> tuple[Step, Step]:
    """Return what each of two nodes decides when they meet; catalog-1 would found."""
    return assess(one, two, ONE).step, assess(two, one, ONE).step


# --- assess: the table of situations ---

NO_RECORD: dict[str, Any] = {"record": None, "promise": Promise(0, "")}
LED_BY_TWO: dict[str, Any] = {"record": record(leader=TWO)}
NEW_ONE = {"disk": "new-disk-1"}
NEW_TWO = {"disk": "new-disk-2"}


@pytest.mark.parametrize(
    ("one", "two", "expected"),
    [
        pytest.param(empty(ONE), empty(TWO), (Step.FOUND, Step.WAIT), id="both empty"),
        pytest.param(empty(ONE), view(TWO), (Step.REFILL, Step.WAIT), id="the leader is empty"),
        pytest.param(view(ONE), empty(TWO), (Step.WAIT, Step.REFILL), id="the replica is empty"),
        pytest.param(
            view(ONE, **NO_RECORD), view(TWO), (Step.REFILL, Step.WAIT), id="the leader refills"
        ),
        pytest.param(
            view(ONE), view(TWO, **NO_RECORD), (Step.WAIT, Step.REFILL), id="the replica refills"
        ),
        pytest.param(
            view(ONE, cluster="mine"), view(TWO), (Step.REFUSE, Step.REFUSE), id="two clusters"
        ),
        pytest.param(
            view(ONE, **NO_RECORD),
            view(TWO, **NO_RECORD),
            (Step.REFUSE, Step.REFUSE),
            id="both disks lost",
        ),
        pytest.param(
            view(ONE, **NO_RECORD),
            empty(TWO),
            (Step.REFUSE, Step.REFUSE),
            id="one disk refilling, the other empty",
        ),
        pytest.param(
            view(ONE, schema=2), view(TWO), (Step.REFUSE, Step.REFUSE), id="two schema versions"
        ),
        pytest.param(view(ONE), view(TWO), (Step.LEAD, Step.FOLLOW), id="equal logs"),
        pytest.param(
            view(ONE, **LED_BY_TWO),
            view(TWO, **LED_BY_TWO),
            (Step.FOLLOW, Step.LEAD),
            id="equal logs, the second node leads",
        ),
        pytest.param(
            view(ONE, end=ORIGIN),
            view(TWO, end=ORIGIN),
            (Step.LEAD, Step.FOLLOW),
            id="founded, nothing written",
        ),
        pytest.param(
            view(ONE),
            view(TWO, prepared=position(4)),
            (Step.LEAD, Step.FOLLOW),
            id="the replica holds one prepared",
        ),
        pytest.param(
            view(ONE, end=position(4)),
            view(TWO, prepared=position(4)),
            (Step.LEAD, Step.FOLLOW),
            id="the replica holds the leader's end prepared",
        ),
        pytest.param(
            view(ONE, end=position(4)),
            view(TWO),
            (Step.WAIT, Step.REFILL),
            id="the replica lost what it had acknowledged",
        ),
        pytest.param(
            view(ONE, end=position(5)),
            view(TWO, prepared=position(4)),
            (Step.WAIT, Step.REFILL),
            id="the replica was rolled back to where it had one prepared",
        ),
        pytest.param(
            view(ONE, end=position(2)),
            view(TWO),
            (Step.REFILL, Step.WAIT),
            id="the leader lost what it had committed",
        ),
        pytest.param(
            view(ONE, end=ORIGIN),
            view(TWO),
            (Step.REFILL, Step.WAIT),
            id="the leader lost all of it",
        ),
        pytest.param(
            view(ONE),
            view(TWO, end=position(3, "other")),
            (Step.REFUSE, Step.REFUSE),
            id="other content at the same entry",
        ),
        pytest.param(
            view(ONE),
            view(TWO, end=position(3, epoch=2)),
            (Step.REFUSE, Step.REFUSE),
            id="another epoch at the same entry",
        ),
        pytest.param(
            view(ONE, **NEW_ONE, end=ORIGIN),
            view(TWO),
            (Step.REFILL, Step.WAIT),
            id="the leader's new disk, not filled",
        ),
        pytest.param(
            view(ONE, **NEW_ONE),
            view(TWO),
            (Step.LEAD, Step.FOLLOW),
            id="the leader's new disk, filled",
        ),
        pytest.param(
            view(ONE, **NEW_ONE),
            view(TWO, prepared=position(4)),
            (Step.LEAD, Step.FOLLOW),
            id="the leader's new disk, filled, one prepared at the replica",
        ),
        pytest.param(
            view(ONE),
            view(TWO, **NEW_TWO, end=ORIGIN),
            (Step.WAIT, Step.REFILL),
            id="the replica's new disk, not filled",
        ),
        pytest.param(
            view(ONE),
            view(TWO, **NEW_TWO),
            (Step.LEAD, Step.WAIT),
            id="the replica's new disk, filled",
        ),
        pytest.param(
            view(ONE),
            view(TWO, **NEW_TWO, end=position(9)),
            (Step.WAIT, Step.REFILL),
            id="a disk that is no member is longer",
        ),
        pytest.param(
            view(ONE, **NEW_ONE),
            view(TWO, **NEW_TWO),
            (Step.REFUSE, Step.REFUSE),
            id="neither disk is a member",
        ),
        pytest.param(
            view(ONE, record=record(2)),
            view(TWO),
            (Step.LEAD, Step.FOLLOW),
            id="the leader's record is higher",
        ),
        pytest.param(
            view(ONE),
            view(TWO, record=record(2)),
            (Step.LEAD, Step.FOLLOW),
            id="the replica's record is higher",
        ),
        pytest.param(
            view(ONE),
            view(TWO, **NEW_TWO, record=record(2, two="new-disk-2")),
            (Step.LEAD, Step.FOLLOW),
            id="a higher record counts the new disk",
        ),
        pytest.param(
            view(ONE, record=record(2, two="new-disk-2")),
            view(TWO, end=position(1)),
            (Step.WAIT, Step.REFILL),
            id="an old disk comes back",
        ),
    ],
)
def test_two_nodes_that_meet_know_who_does_what(
    one: View, two: View, expected: tuple[Step, Step]
) -> None:
    """Both look at the same facts, so one acts and the other lets it."""
    assert steps(one, two) == expected


def test_a_member_is_not_stopped_by_a_disk_that_does_not_count() -> None:
    """A disk that is no member and differs refills itself; the member need not ask a person."""
    one, two = view(ONE), view(TWO, disk="new-disk-2", end=position(3, "other"))
    assert steps(one, two) == (Step.WAIT, Step.REFILL)


def test_other_content_prepared_where_the_leader_has_committed_is_refused() -> None:
    """Two contents for one position are a divergence, and it is reported, not retried for ever."""
    one, two = view(ONE, end=position(4)), view(TWO, prepared=position(4, "other"))
    assert steps(one, two) == (Step.REFUSE, Step.REFUSE)


@pytest.mark.parametrize("first", [ONE, TWO])
def test_the_first_configured_node_founds(first: str) -> None:
    """An empty pair has one founder, whichever of the two looks first."""
    verdicts = {name: assess(empty(name), empty(other), first).step for name, other in PAIRS}
    assert verdicts == {name: Step.FOUND if name == first else Step.WAIT for name, _ in PAIRS}


PAIRS = ((ONE, TWO), (TWO, ONE))


# --- assess: for any two nodes ---


@st.composite
def pairs(draw: st.DrawFn) -> tuple[View, View]:
    """Draw two nodes as they can have become: one record an epoch, disks old or new, any logs."""
    leader = {epoch: draw(st.sampled_from((ONE, TWO))) for epoch in (1, 2)}
    disks = {
        epoch: {"one": draw(DISKS_ONE), "two": draw(DISKS_TWO)} for epoch in (1, 2)
    }  # who is a member
    records = [None, *(record(epoch, leader[epoch], **disks[epoch]) for epoch in (1, 2))]
    return draw(nodes(ONE, DISKS_ONE, records)), draw(nodes(TWO, DISKS_TWO, records))


DISKS_ONE, DISKS_TWO = st.sampled_from(("a1", "b1")), st.sampled_from(("a2", "b2"))
SOME_POSITIONS = st.builds(position, st.integers(0, 4), st.sampled_from(("", "", "", "other")))


@st.composite
def nodes(
    draw: st.DrawFn, name: str, disks: st.SearchStrategy[str], records: list[Record | None]
) -> View:
    end = draw(SOME_POSITIONS)
    prepared = draw(st.sampled_from((None, position(end.seq + 1), position(end.seq + 1, "other"))))
    held = draw(st.sampled_from(records))
    cluster = "shop" if held else draw(st.sampled_from(("", "shop")))
    return view(
        name,
        disk=draw(disks),
        record=held,
        cluster=cluster,
        end=end,
        prepared=prepared,
        checked=draw(st.booleans()),
    )


@given(pairs())
def test_two_nodes_never_both_act(pair: tuple[View, View]) -> None:
    """Nobody leads while the other refills, founds or leads, in any state of the two."""
    assert sum(step in ACTING for step in steps(*pair)) <= 1


@given(pairs())
def test_only_the_recorded_leader_leads(pair: tuple[View, View]) -> None:
    """Whoever leads is named by the highest epoch record."""
    for me, peer in (pair, pair[::-1]):
        if assess(me, peer, ONE).step is Step.LEAD:
            assert me.record is not None
            assert peer.record is not None
            last = max(me.record, peer.record, key=lambda held: held.epoch)
            assert last.leader == me.node


@given(pairs())
def test_a_leader_without_membership_is_a_full_copy(pair: tuple[View, View]) -> None:
    """A new disk leads only when its log is its member peer's, entry for entry."""
    for me, peer in (pair, pair[::-1]):
        if assess(me, peer, ONE).step is Step.LEAD:
            last = max(filter(None, (me.record, peer.record)), key=lambda held: held.epoch)
            counted = [node for node in (me, peer) if last.counts(node.node, node.disk)]
            assert counted
            assert len(counted) == 2 or me.end == peer.end


@given(pairs())
def test_a_disk_is_given_up_only_for_one_that_counts_more(pair: tuple[View, View]) -> None:
    """A refill copies from a filled node; a member gives its disk up only to a member that has
    more.
    """
    for me, peer in (pair, pair[::-1]):
        if assess(me, peer, ONE).step is not Step.REFILL:
            continue
        assert peer.record is not None
        if me.record is not None:
            last = max(me.record, peer.record, key=lambda held: held.epoch)
            assert last.counts(peer.node, peer.disk)
            assert (
                not last.counts(me.node, me.disk)
                or me.tail.seq < peer.end.seq
                or (last.leader == me.node and me.end.seq < peer.end.seq)
            )


# --- promises ---


def test_a_promise_is_given_to_the_recorded_leader() -> None:
    """The next epoch is the leader's to take."""
    assert refuse_promise(view(TWO), 2, ONE) is None


def test_a_promise_is_given_to_whom_the_leader_hands_over() -> None:
    """And to nobody else but the leader itself."""
    assert refuse_promise(view(ONE), 2, TWO, TWO) is None
    assert refuse_promise(view(ONE), 2, ONE, TWO) is None
    assert refuse_promise(view(ONE), 2, "catalog-9", TWO)


def test_the_same_promise_may_be_asked_for_again() -> None:
    """A repeated message gets the same answer."""
    assert refuse_promise(view(TWO, promise=Promise(2, ONE)), 2, ONE) is None


@pytest.mark.parametrize(
    ("promising", "epoch", "candidate"),
    [
        pytest.param(view(TWO, checked=False), 2, ONE, id="not checked since it started"),
        pytest.param(view(TWO), 2, TWO, id="not the recorded leader"),
        pytest.param(view(TWO), 2, "catalog-9", id="a stranger"),
        pytest.param(view(TWO, record=None), 2, ONE, id="a disk that holds nothing"),
        pytest.param(view(TWO), 1, ONE, id="an epoch that has begun"),
        pytest.param(view(TWO), 0, ONE, id="an epoch that is over"),
        pytest.param(view(TWO, promise=Promise(3, ONE)), 2, ONE, id="below a promise"),
        pytest.param(view(TWO, promise=Promise(2, TWO)), 2, ONE, id="promised to another"),
        pytest.param(view(TWO, promise=Promise(2, "")), 2, ONE, id="promised to nobody known"),
    ],
)
def test_a_promise_is_refused(promising: View, epoch: int, candidate: str) -> None:
    """Once per number, never below, only checked, only to the recorded leader."""
    assert refuse_promise(promising, epoch, candidate)


@given(
    st.lists(st.tuples(st.integers(0, 6), st.sampled_from((ONE, TWO))), max_size=12), st.booleans()
)
def test_one_number_is_promised_to_one_candidate_and_never_below(
    asked: list[tuple[int, str]], checked: bool
) -> None:
    """Whatever is asked for in whatever order, promises only rise, and each number has one
    candidate.
    """
    promising = view(TWO, checked=checked)
    given_to: dict[int, str] = {}
    for epoch, candidate in asked:
        if refuse_promise(promising, epoch, candidate) is None:
            assert epoch >= promising.promise.epoch
            assert given_to.setdefault(epoch, candidate) == candidate
            promising = dataclasses.replace(promising, promise=Promise(epoch, candidate))
    assert checked or not given_to


# --- entering an epoch ---


def test_a_promised_epoch_is_entered() -> None:
    """The replica enters what it has promised, at the leader's very position."""
    promised = view(TWO, promise=Promise(2, ONE))
    assert refuse_record(promised, record(2), position(3)) is None


def test_the_second_node_of_a_new_cluster_enters_its_first_epoch() -> None:
    """Founding is the same message, to an empty disk, at the origin."""
    assert refuse_record(empty(TWO), record(1), ORIGIN) is None


@pytest.mark.parametrize(
    ("following", "entered", "leader_end"),
    [
        pytest.param(view(TWO), record(2, two="other"), position(3), id="this disk does not count"),
        pytest.param(
            view(TWO, promise=Promise(3, ONE)), record(2), position(3), id="below a promise"
        ),
        pytest.param(
            view(TWO, promise=Promise(2, TWO)), record(2), position(3), id="promised to another"
        ),
        pytest.param(view(TWO, record=None), record(2), position(3), id="to be refilled first"),
        pytest.param(
            view(TWO, record=None, end=ORIGIN), record(2), ORIGIN, id="of this cluster, empty"
        ),
        pytest.param(empty(TWO), record(1), position(3), id="empty, and the leader is not"),
        pytest.param(view(TWO), record(2), position(4), id="behind the leader"),
        pytest.param(view(TWO), record(2), position(2), id="ahead of the leader"),
        pytest.param(view(TWO), record(2), position(3, "other"), id="other content"),
    ],
)
def test_an_epoch_is_not_entered(following: View, entered: Record, leader_end: Position) -> None:
    """Only a member's disk, equal to the leader's, with nothing higher promised, follows."""
    assert refuse_record(following, entered, leader_end)


# --- what follows what ---

PREPARED = view(TWO, prepared=position(4))


@pytest.mark.parametrize(
    ("replica", "epoch", "prev", "entry", "committed", "expected"),
    [
        pytest.param(view(TWO), 1, position(3), position(4), 3, Answer.STORE, id="the next one"),
        pytest.param(
            view(TWO, end=ORIGIN), 1, ORIGIN, position(1), 0, Answer.STORE, id="the very first"
        ),
        pytest.param(
            view(TWO, record=record(2), promise=Promise(2, ONE)),
            2,
            position(3),
            position(4),
            3,
            Answer.STORE,
            id="born in an older epoch, sent in this one",
        ),
        pytest.param(
            PREPARED,
            1,
            position(4),
            position(5),
            4,
            Answer.APPLY_THEN_STORE,
            id="commits the one before",
        ),
        pytest.param(PREPARED, 1, position(3), position(4), 3, Answer.ALREADY, id="repeated"),
        pytest.param(
            view(TWO), 1, position(2), position(3), 2, Answer.ALREADY, id="repeated, applied since"
        ),
        pytest.param(
            view(TWO),
            1,
            position(1),
            position(2),
            1,
            Answer.ALREADY,
            id="repeated, long ago applied",
        ),
        pytest.param(view(TWO), 0, position(3), position(4), 3, Answer.FENCED, id="a low epoch"),
        pytest.param(
            view(TWO), 2, position(3), position(4), 3, Answer.FENCED, id="an epoch not entered"
        ),
        pytest.param(
            view(TWO, promise=Promise(2, ONE)),
            1,
            position(3),
            position(4),
            3,
            Answer.FENCED,
            id="fenced by a promise",
        ),
        pytest.param(
            view(TWO, disk="new"),
            1,
            position(3),
            position(4),
            3,
            Answer.FENCED,
            id="a disk that does not count",
        ),
        pytest.param(
            view(TWO, record=None),
            1,
            position(3),
            position(4),
            3,
            Answer.FENCED,
            id="nothing entered",
        ),
        pytest.param(
            view(ONE), 1, position(3), position(4), 3, Answer.FENCED, id="sent to the leader"
        ),
        pytest.param(view(TWO), 1, position(4), position(5), 4, Answer.BEHIND, id="a gap"),
        pytest.param(
            PREPARED, 1, position(5), position(6), 5, Answer.BEHIND, id="a gap after prepared"
        ),
        pytest.param(
            PREPARED,
            1,
            position(4),
            position(5),
            3,
            Answer.BEHIND,
            id="the one before is not committed",
        ),
        pytest.param(
            PREPARED,
            1,
            position(4, "other"),
            position(5),
            4,
            Answer.BEHIND,
            id="follows other content prepared",
        ),
        pytest.param(
            view(TWO),
            1,
            position(3, "other"),
            position(4),
            3,
            Answer.DIVERGED,
            id="follows other content",
        ),
        pytest.param(
            view(TWO),
            1,
            position(2),
            position(3, "other"),
            2,
            Answer.DIVERGED,
            id="other content applied",
        ),
        pytest.param(
            PREPARED,
            1,
            position(3),
            position(4, "other"),
            3,
            Answer.DIVERGED,
            id="other content prepared",
        ),
    ],
)
def test_a_replica_judges_a_prepare(
    replica: View, epoch: int, prev: Position, entry: Position, committed: int, expected: Answer
) -> None:
    """The epoch first, then what stands in the entry's place, then its predecessor."""
    assert judge_prepare(replica, epoch, prev, entry, committed) is expected


def contents() -> Iterator[Position]:
    yield from (position(seq, content) for seq in range(6) for content in ("", "other"))


@given(
    st.sampled_from(list(contents())),
    st.booleans(),
    st.sampled_from(list(contents())),
    st.sampled_from(("", "other")),
    st.integers(0, 6),
    st.integers(0, 3),
    st.integers(0, 3),
)
def test_what_is_stored_follows_what_is_here_and_is_not_fenced(
    end: Position,
    prepares: bool,
    prev: Position,
    content: str,
    committed: int,
    epoch: int,
    promised: int,
) -> None:
    """No message, however late or strange, is stored but in its one place, under the one epoch."""
    entry = position(prev.seq + 1, content)
    prepared = position(end.seq + 1) if prepares else None
    replica = view(TWO, end=end, prepared=prepared, promise=Promise(promised, ONE))
    answer = judge_prepare(replica, epoch, prev, entry, committed)
    if answer in (Answer.STORE, Answer.APPLY_THEN_STORE):
        assert promised <= epoch == 1
        assert prev == replica.tail
        assert answer is Answer.STORE or committed >= prev.seq
    if answer is Answer.ALREADY:
        assert entry in (end, prepared) or entry.seq < end.seq


# --- as JSON ---

NAMES = st.text(max_size=8)
POSITIONS = st.builds(Position, st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), NAMES)
RECORDS = st.builds(
    Record,
    st.integers(0, 2**63 - 1),
    NAMES,
    st.dictionaries(NAMES, NAMES, max_size=3),
    st.floats(0, 1e6),
)
VIEWS = st.builds(
    View,
    node=NAMES,
    disk=NAMES,
    cluster=NAMES,
    record=st.none() | RECORDS,
    promise=st.builds(Promise, st.integers(0, 99), NAMES),
    end=POSITIONS,
    prepared=st.none() | POSITIONS,
    schema=st.integers(0, 9),
    status=NAMES,
    checked=st.booleans(),
)


@given(VIEWS)
def test_a_view_survives_the_wire(sent: View) -> None:
    """What the peer parses is what was sent."""
    assert View.parse(json.loads(json.dumps(sent.document()))) == sent


@given(RECORDS)
def test_a_record_survives_the_wire(sent: Record) -> None:
    """Members and leases come back as they went."""
    assert Record(**json.loads(json.dumps(sent.document()))) == sent


@given(VIEWS)
def test_a_view_ends_with_what_is_prepared(seen: View) -> None:
    """The tail is the last position held durably."""
    assert seen.tail == (seen.prepared or seen.end)
