"""The backup server over its real app: it votes, keeps, gives back; each refusal; crash points.

The catalogs are pretended: a test sends what they would.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any

import apsw
import pytest
from flask import Flask

from catalog.backup import create_app
from catalog.kept import Kept
from catalog.model import SCHEMA_VERSION, Entry, decode_entries
from catalog.replication import Promise, Record, View
from catalog.sessions import DRIFT
from catalog.witness import Witness
from common.auth import Signer
from common.peer import Request
from common.position import ORIGIN, Position
from common.service import Call, StartRefused, service_of
from tests.support.catalog_fakes import ONE, SECRET, TWO, Answered, Line, settings
from tests.support.disk import Disks
from tests.support.network import call_wsgi
from tests.support.scheduler import Scheduler, SimClock, SimTasks

W = "backup"
DISKS = {ONE: "disk-1", TWO: "disk-2"}
LEASE_S = 2.0
LEASED_S = LEASE_S * DRIFT


def entry(prev: Position, name: str = "k", epoch: int = 1) -> Entry:
    """Return an entry that follows `prev`; another name, another content."""
    return Entry.build(epoch, prev, ("book:1",), (name,), b"\0\n")


FIRST = entry(ORIGIN)
SECOND = entry(FIRST.position)
THIRD = entry(SECOND.position)
FOURTH = entry(THIRD.position)
FAR = Position(1, 90, "hash-90")


class Server:
    """One backup server with a simulated clock, and what catalogs say to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.scheduler = Scheduler(1)
        self.clock = SimClock(self.scheduler, offset_s=100.0)
        self.app: Flask = None  # type: ignore[assignment]
        self.starts = 0
        self.start()

    # --- life ---

    def start(self) -> None:
        self.starts += 1
        told = replace(settings(self.folder, W), role="backup", backup={W: "http://backup"})
        self.app = create_app(
            told, clock=self.clock, http=Line({}), tasks=SimTasks(self.scheduler, W),
            random=Random(self.starts),
        )  # fmt: skip

    def close(self) -> None:
        service_of(self.app).close()

    def restart(self) -> None:
        self.close()
        self.start()

    def run_for(self, seconds: float) -> None:
        self.scheduler.now += seconds

    @property
    def witness(self) -> Witness:
        witness = self.app.extensions["bazar.witness"]
        assert isinstance(witness, Witness)
        return witness

    @property
    def disk(self) -> str:
        return self.witness.record.disk

    def held(self) -> list[int]:
        """Return the numbers of the entries kept."""
        kept = self.witness.kept
        data = kept.after(kept.base.seq, 1 << 30)
        assert data is not None
        return [one.position.seq for one in decode_entries(data)]

    # --- calls ---

    def call(
        self, method: str, target: str, document: Any = None, *, sender: str = ONE,
        body: bytes = b"", cluster: str = "", direct: bool = False,
    ) -> Answered:  # fmt: skip
        data = body if document is None else json.dumps(document).encode()
        signed = Signer(sender, SECRET).headers(W, method, target, cluster, data)
        request = Request(W, "", method, target, signed, data, 1.0)
        if not direct:
            response = call_wsgi(self.app, request)
            return Answered(response.status, response.headers, response.body)
        headers = {name.lower().encode(): value.encode() for name, value in signed.items()}
        answer = service_of(self.app).direct(Call(method, target.encode(), headers, data))
        assert answer is not None
        return Answered(answer.status, {}, answer.body)

    def say(self, what: str, document: Any, **options: Any) -> Answered:
        return self.call("POST", f"/replication/{what}", document, **options)

    def view(self) -> View:
        return View.parse(self.say("state", {}).json)

    def record(self, epoch: int, leader: str = ONE, second: str = W, **changed: Any) -> Record:
        """Return an epoch of the three voters."""
        disks = DISKS | {W: self.disk}
        fields: dict[str, Any] = {
            "epoch": epoch, "leader": leader, "lease_s_max": LEASE_S, "voters": disks,
            "members": {leader: disks[leader], second: disks[second]},
        }  # fmt: skip
        return Record(**(fields | changed))

    def follow(
        self, record: Record, end: Position = ORIGIN, tail: Position | None = None,
        cluster: str = "shop",
    ) -> Answered:  # fmt: skip
        return self.say("follow", {
            "cluster": cluster, "record": record.document(), "end": list(end),
            "tail": list(tail or end),
        })  # fmt: skip

    def enter(self, *arguments: Any, end: Position = ORIGIN, tail: Position | None = None) -> None:
        assert self.follow(self.record(*arguments), end, tail).json == {}

    def promise(
        self, epoch: int, candidate: str = ONE, tail: Position = ORIGIN, disk: str | None = None
    ) -> Answered:
        return self.say("promise", {
            "epoch": epoch, "candidate": candidate, "disk": disk or DISKS[candidate],
            "tail": list(tail),
        })  # fmt: skip

    def prepare(
        self, entry: Entry, prev: Position, epoch: int = 1, *, direct: bool = False
    ) -> Answered:
        target = (
            f"/replication/prepare?epoch={epoch}&committed={prev.seq}"
            f"&prev_epoch={prev.epoch}&prev_seq={prev.seq}&prev_hash={prev.hash}"
        )
        return self.call("POST", target, body=entry.encode(), direct=direct)

    def keep(self, *entries: Entry, epoch: int = 1) -> None:
        prev = self.witness.kept.end
        for one in entries:
            assert self.prepare(one, prev, epoch).json == {"position": list(one.position)}
            prev = one.position

    def beat(self, epoch: int, position: Position = ORIGIN, **options: Any) -> Answered:
        disk = {"disk": options.pop("disk")} if "disk" in options else {}
        document = {"epoch": epoch, "position": list(position)} | disk
        return self.say("commit", document, **options)


@pytest.fixture
def new(tmp_path: Path) -> Iterator[Server]:
    """A backup server on an empty disk."""
    server = Server(tmp_path)
    yield server
    server.close()


@pytest.fixture
def watching(new: Server) -> Server:
    """One that has a vote; catalog-1 leads epoch 1 with catalog-2."""
    new.enter(1, ONE, TWO)
    return new


@pytest.fixture
def keeping(new: Server) -> Server:
    """One that is the second of epoch 1, which catalog-1 leads, and keeps entries 1 to 3; no lease
    is left.
    """
    new.enter(1)
    new.keep(FIRST, SECOND, THIRD)
    return new


def refused(answered: Answered, code: str, why: str = "") -> None:
    assert (answered.status >= 400, answered.code) == (True, code), answered.body
    assert why in answered.json["detail"]


# --- a new disk ---


def test_a_new_disk_describes_itself_as_a_replica_does(new: Server) -> None:
    """It has a name, and nothing else."""
    assert new.view() == View(
        node=W, disk=new.disk, cluster="", record=None, promise=Promise(0, ""), end=ORIGIN,
        prepared=None, schema=SCHEMA_VERSION, status="watching", checked=True,
    )  # fmt: skip


def test_a_new_disk_has_no_vote(new: Server) -> None:
    """It may have promised something else before it was lost."""
    refused(new.promise(1), "fenced", "no vote")
    ready = new.call("GET", "/readyz")
    assert (ready.status, ready.json["writes"]) == (503, False)
    assert ready.json["why"] == "this disk has no vote yet: waiting to be admitted"


def test_a_new_disk_is_admitted_by_an_epoch_that_names_it(new: Server) -> None:
    """As a voter who is only told, or at once as the second."""
    new.enter(4, ONE, TWO)
    assert (new.view().cluster, new.view().record) == ("shop", new.record(4, ONE, TWO))
    assert new.view().promise == Promise(4, ONE)
    assert new.call("GET", "/readyz").json == {
        "reads": True, "writes": True, "why": "watching: catalog-1 leads",
    }  # fmt: skip
    assert new.promise(5, TWO).status == 200


def test_an_epoch_that_names_another_disk_is_not_entered(new: Server) -> None:
    """The one that was lost, or none: an order of that time must not admit this one."""
    for voters in (DISKS | {W: "an older disk"}, DISKS, {}):
        refused(new.follow(new.record(1, ONE, TWO, voters=voters)), "fenced", "no voter")
    assert new.view().record is None


# --- promises ---


def test_a_promise_is_kept_and_repeated(watching: Server) -> None:
    """The answer is this node as it is then; a lower one, or for another one, is fenced."""
    promised = watching.promise(5)
    assert promised.json["promise"] == {"epoch": 5, "candidate": ONE}
    assert promised.json["end"] == list(ORIGIN)
    assert watching.promise(5).body == promised.body
    for epoch, candidate in ((5, TWO), (4, ONE), (2, TWO), (1, ONE)):
        answered = watching.promise(epoch, candidate)
        refused(answered, "fenced")
        assert answered.json["promised"] == 5
    assert watching.promise(6, TWO).json["promise"] == {"epoch": 6, "candidate": TWO}


def test_a_promise_survives_a_restart(watching: Server) -> None:
    """Or two would lead one epoch."""
    watching.promise(5)
    watching.restart()
    refused(watching.promise(5, TWO), "fenced", "epoch 5")
    assert watching.promise(5, ONE).status == 200


def test_only_a_voter_on_its_disk_is_promised_anything(watching: Server) -> None:
    """Not a catalog with a new disk, nor a stranger."""
    refused(watching.promise(5, ONE, disk="a new one"), "fenced", "no voter")
    refused(watching.promise(5, "catalog-9", disk="disk-9"), "fenced", "no voter")


def test_a_candidates_tail_is_not_taken_for_committed(watching: Server) -> None:
    """What it has prepared may be dropped rightly, and then it must not be refused for that."""
    assert watching.promise(2, TWO, SECOND.position).status == 200
    assert watching.promise(3, TWO, FIRST.position).status == 200


@pytest.mark.parametrize("name", [ONE, TWO])
def test_both_members_are_held_to_what_is_committed(watching: Server, name: str) -> None:
    """What a leader tells as committed is on both disks: one that lacks it was rolled back."""
    watching.beat(1, SECOND.position)
    watching.restart()
    refused(watching.promise(2, name, FIRST.position), "fenced", "lost entries")
    assert watching.promise(2, name, SECOND.position).status == 200


def test_a_leader_is_held_to_what_its_heartbeats_told(watching: Server) -> None:
    """Of the very disk that the record names."""
    watching.beat(1, SECOND.position)
    watching.beat(1, FIRST.position)
    watching.restart()
    refused(watching.promise(2, ONE, FIRST.position), "fenced", "lost entries")
    assert watching.promise(2, ONE, SECOND.position).status == 200


@pytest.mark.parametrize(
    ("epoch", "options"),
    [(1, {"sender": TWO}), (9, {}), (1, {"sender": "order-1"})],
)
def test_a_heartbeat_that_is_not_the_leaders_reports_nothing(
    watching: Server, epoch: int, options: dict[str, Any]
) -> None:
    """Nor one of another epoch; it is answered with the view all the same."""
    assert View.parse(watching.beat(epoch, THIRD.position, **options).json) == watching.view()
    assert watching.promise(2, ONE).status == 200


def test_a_refused_promise_reports_nothing_and_binds_nobody(keeping: Server) -> None:
    """It is as if it had not been asked."""
    before = keeping.view()
    keeping.beat(1)
    refused(keeping.promise(2, TWO, FAR), "fenced", "heard")
    assert keeping.view() == before
    keeping.run_for(LEASED_S + 0.01)
    assert keeping.promise(2, TWO, ORIGIN).status == 200


# --- the lease ---


def test_a_leader_that_is_heard_is_not_deposed(keeping: Server) -> None:
    """Until the lease has ended by this clock, with the allowance for drift; its own next epoch is
    another thing.
    """
    keeping.beat(1)
    keeping.run_for(LEASED_S - 0.01)
    refused(keeping.promise(2, TWO), "fenced", "catalog-1 leads, and is heard here")
    assert keeping.promise(2, ONE).status == 200
    keeping.run_for(0.02)
    assert keeping.promise(3, TWO).status == 200


def test_each_heartbeat_renews_the_lease(keeping: Server) -> None:
    """From when it arrived."""
    keeping.beat(1)
    keeping.run_for(LEASE_S)
    keeping.beat(1)
    keeping.run_for(LEASE_S)
    refused(keeping.promise(2, TWO), "fenced", "heard")


def test_a_lease_is_as_long_as_its_holder_counts_it(new: Server) -> None:
    """By the record, whatever the settings here say."""
    new.enter(1)
    new.follow(new.record(2, lease_s_max=30.0))
    new.beat(2)
    new.run_for(30.0)
    refused(new.promise(3, TWO), "fenced", "heard")
    new.run_for(0.5)
    assert new.promise(3, TWO).status == 200


def test_a_restart_counts_as_a_lease_granted(keeping: Server) -> None:
    """Nobody knows what the process before has granted."""
    keeping.run_for(99.0)
    keeping.restart()
    refused(keeping.promise(2, TWO), "fenced", "heard")
    keeping.run_for(LEASED_S + 0.01)
    assert keeping.promise(2, TWO).status == 200


def test_who_is_not_a_member_grants_no_lease(watching: Server) -> None:
    """The other catalog does; neither by a heartbeat nor by a restart."""
    watching.beat(1)
    watching.restart()
    assert watching.call("GET", "/status").json["lease"] is None
    assert watching.promise(2, TWO).status == 200


def test_no_lease_is_granted_in_an_epoch_that_is_over(keeping: Server) -> None:
    """A promise ends it; the leader sees that in the view."""
    keeping.beat(1)
    keeping.run_for(LEASE_S)
    keeping.promise(2, ONE)
    view = View.parse(keeping.beat(1).json)
    assert view.promise == Promise(2, ONE)
    keeping.run_for(LEASED_S - LEASE_S + 0.01)
    assert keeping.promise(3, TWO).status == 200


# --- entering an epoch ---


def test_a_foreign_cluster_is_refused(watching: Server) -> None:
    """Two shops wired together by mistake."""
    record = watching.record(2, ONE, TWO)
    refused(watching.follow(record, cluster="another"), "foreign-cluster")
    refused(watching.say("state", {}, cluster="another"), "foreign-cluster")
    assert watching.view().record == watching.record(1, ONE, TWO)


def test_an_epoch_that_is_over_is_not_entered(watching: Server) -> None:
    """Nor one in the place of that which has begun."""
    watching.enter(4, TWO, ONE)
    refused(watching.follow(watching.record(3)), "fenced", "epoch 4 has begun")
    refused(watching.follow(watching.record(4, TWO, W)), "fenced", "epoch 4 has begun")
    assert watching.view().record == watching.record(4, TWO, ONE)


def test_an_epoch_that_breaks_a_promise_is_not_entered(watching: Server) -> None:
    """Below the one promised, or its number for another leader."""
    watching.promise(5, TWO)
    for record in (watching.record(4), watching.record(5, ONE), watching.record(1, ONE, TWO)):
        answered = watching.follow(record)
        refused(answered, "fenced", "promised to catalog-2")
        assert answered.json["promised"] == 5
    watching.enter(5, TWO)


def test_the_backup_never_leads(watching: Server) -> None:
    """Whoever says so."""
    refused(watching.follow(watching.record(2, W, ONE)), "fenced", "never leads")


def test_a_higher_epoch_is_entered_without_a_promise(watching: Server) -> None:
    """Both catalogs may have promised it; from then on the older ones are over."""
    watching.enter(7, TWO, ONE)
    assert watching.view().promise == Promise(7, TWO)
    refused(watching.promise(7, ONE), "fenced", "epoch 7 has begun")
    watching.restart()
    assert watching.view().record == watching.record(7, TWO, ONE)


def test_the_second_begins_its_log_at_the_leaders_end(watching: Server) -> None:
    """It has nothing from before, and says so."""
    watching.enter(2, ONE, W, end=FAR)
    view = watching.view()
    assert (view.end, view.status, view.record) == (FAR, "keeping", watching.record(2))
    after = entry(FAR)
    watching.keep(after, epoch=2)
    assert watching.held() == [91]


@pytest.mark.parametrize(
    ("end", "tail", "held"),
    [
        (THIRD.position, THIRD.position, [1, 2, 3]),
        (SECOND.position, THIRD.position, [1, 2, 3]),
        (SECOND.position, SECOND.position, [1, 2]),
        (SECOND.position, entry(SECOND.position, "other").position, [1, 2]),
        (FAR, FAR, []),
    ],
)
def test_the_log_fits_the_epoch_that_begins(
    keeping: Server, end: Position, tail: Position, held: list[int]
) -> None:
    """It keeps what leads to the tail, or begins anew at an end that it does not have."""
    keeping.enter(2, end=end, tail=tail)
    assert keeping.held() == held
    keeping.restart()
    assert keeping.held() == held
    base = FAR if end == FAR else ORIGIN
    assert keeping.witness.kept.base == base


def test_who_is_only_told_keeps_its_log(keeping: Server) -> None:
    """Until it is released: the epoch may never begin, and then its entries are needed."""
    keeping.enter(2, ONE, TWO, end=FAR)
    assert keeping.held() == [1, 2, 3]
    keeping.enter(3, ONE, W, end=THIRD.position)
    assert keeping.held() == [1, 2, 3]


def test_a_late_repeat_of_an_epoch_cuts_nothing_off(keeping: Server) -> None:
    """Entries that were acknowledged since are beyond the tail it names."""
    keeping.enter(2, end=THIRD.position)
    fourth = entry(THIRD.position, epoch=2)
    keeping.keep(fourth, epoch=2)
    keeping.enter(2, end=THIRD.position)
    keeping.enter(2, end=FAR)
    assert keeping.held() == [1, 2, 3, 4]
    keeping.promise(3)
    refused(keeping.follow(keeping.record(2)), "fenced", "promised")


@pytest.mark.parametrize(
    "changed",
    [
        {"end": [1, 2]}, {"tail": None}, {"record": None}, {"record": {"epoch": 1}},
        {"end": [1, 3, "a"], "tail": [1, 2, "b"]}, {"end": [1, 3, "a"], "tail": [1, 3, "b"]},
        {"record": {"epoch": "1"}}, {"record": {"members": {}}}, {"record": {"voters": [1]}},
        {"record": {"leader": "nobody"}}, {"record": {"lease_s_max": "2"}},
    ],
)  # fmt: skip
def test_a_follow_of_another_shape_is_refused(new: Server, changed: dict[str, Any]) -> None:
    """And nothing is entered."""
    whole = new.record(1).document()
    if isinstance(changed.get("record"), dict) and len(changed["record"]) == 1:
        name = next(iter(changed["record"]))
        changed = {"record": whole | changed["record"] if name != "epoch" else changed["record"]}
    message = {"cluster": "shop", "record": whole, "end": list(ORIGIN), "tail": list(ORIGIN)}
    refused(new.say("follow", message | changed), "invalid-request")
    assert new.view().record is None


# --- a crash between the two files ---


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """Pretended disks, for as long as the test runs."""
    (tmp_path / W).mkdir()
    made = Disks(tmp_path, seed=1)
    yield made
    made.close()


@pytest.fixture
def on_disks(disks: Disks, tmp_path: Path) -> Iterator[Server]:
    """The second of epoch 1, with entries 1 to 3, on such a disk."""
    server = Server(tmp_path)
    server.enter(1)
    server.keep(FIRST, SECOND, THIRD)
    yield server
    disks.mend()
    server.close()


def interrupted(server: Server, disks: Disks, end: Position, tail: Position) -> None:
    """Begin epoch 2, and end after the first of its two writes; start again."""
    crash_at_node_db(disks)
    answered = server.follow(server.record(2), end, tail)
    assert answered.status >= 500
    with disks.of(W).dying():
        server.close()
    server.start()


def crash_at_node_db(disks: Disks) -> None:
    def crash() -> None:
        raise apsw.exception_for(apsw.SQLITE_IOERR_WRITE)

    disks.of(W).at("write", "node.db-wal", crash)


@pytest.mark.parametrize(
    ("end", "tail", "held"),
    [
        (SECOND.position, SECOND.position, [1, 2]),
        (SECOND.position, THIRD.position, [1, 2, 3]),
        (FAR, FAR, []),
    ],
)
def test_a_crash_between_log_and_record_is_made_good_by_a_repeat(
    on_disks: Server, disks: Disks, end: Position, tail: Position, held: list[int]
) -> None:
    """It is still in the old epoch, and enters the new one as if nothing had been."""
    interrupted(on_disks, disks, end, tail)
    assert on_disks.view().record == on_disks.record(1)
    assert on_disks.held() == held
    on_disks.enter(2, end=end, tail=tail)
    assert (on_disks.held(), on_disks.view().status) == (held, "keeping")


def test_after_a_crash_between_log_and_record_the_old_epoch_stays_sound(
    on_disks: Server, disks: Disks
) -> None:
    """A late entry of it finds its place or is refused; what it says of its end is true."""
    interrupted(on_disks, disks, SECOND.position, SECOND.position)
    assert on_disks.view().end == SECOND.position
    refused(on_disks.prepare(entry(THIRD.position), THIRD.position), "behind")
    on_disks.keep(THIRD)
    on_disks.enter(2, end=SECOND.position)  # the repeat drops it once more
    assert on_disks.held() == [1, 2]


def test_a_log_that_began_anew_before_a_crash_gives_nothing_it_lacks(
    on_disks: Server, disks: Disks
) -> None:
    """Whoever needs older entries is told, instead of being given a log with a gap."""
    interrupted(on_disks, disks, FAR, FAR)
    refused(on_disks.call("GET", "/replication/entries?after=1"), "too-far-behind")
    assert on_disks.call("GET", "/replication/entries?after=90").body == b""


# --- entries ---


@pytest.mark.parametrize("direct", [False, True])
def test_an_entry_is_durable_when_it_is_acknowledged(
    keeping: Server, tmp_path: Path, direct: bool
) -> None:
    """What a crash leaves at that moment has it."""
    answered = keeping.prepare(FOURTH, THIRD.position, direct=direct)
    assert answered.json == {"position": list(FOURTH.position)}
    (tmp_path / "crashed").mkdir()
    for name in ("backup.db", "backup.db-wal"):
        (tmp_path / "crashed" / name).write_bytes((tmp_path / W / name).read_bytes())
    left = Kept(tmp_path / "crashed" / "backup.db")
    assert left.end == FOURTH.position
    left.close()


def test_an_entry_may_arrive_twice_and_late(keeping: Server) -> None:
    """Each time it is acknowledged, and held once."""
    for one, prev in ((THIRD, SECOND.position), (FIRST, ORIGIN), (SECOND, FIRST.position)):
        assert keeping.prepare(one, prev).json == {"position": list(one.position)}
    assert keeping.held() == [1, 2, 3]


def test_a_gap_is_refused(keeping: Server) -> None:
    """With where this log ends."""
    answered = keeping.prepare(entry(FOURTH.position), FOURTH.position)
    refused(answered, "behind")
    assert answered.json["end"] == 3
    assert keeping.held() == [1, 2, 3]


def test_another_entry_in_its_place_is_a_divergence(keeping: Server) -> None:
    """Also one that follows another end; nothing is overwritten."""
    refused(keeping.prepare(entry(SECOND.position, "other"), SECOND.position), "diverged")
    other = entry(SECOND.position, "other").position
    refused(keeping.prepare(entry(other), other), "diverged")
    assert keeping.view().end == THIRD.position


def test_what_is_not_kept_is_not_acknowledged(watching: Server) -> None:
    """Entries up to the base are known by position at most."""
    watching.enter(2, ONE, W, end=THIRD.position)
    refused(watching.prepare(THIRD, SECOND.position, 2), "too-far-behind")
    refused(watching.prepare(FIRST, ORIGIN, 2), "too-far-behind")


def test_an_entry_whose_hash_does_not_fit_its_content_is_refused(keeping: Server) -> None:
    """Damaged on the way, or made up."""
    good = entry(THIRD.position)
    forged = Entry(good.position, good.keys, ("other",), good.changeset)
    refused(keeping.prepare(forged, THIRD.position), "invalid-request", "hash")
    refused(keeping.prepare(good, SECOND.position), "invalid-request", "hash")
    assert keeping.held() == [1, 2, 3]


def test_only_the_epoch_it_is_in_as_a_member_is_obeyed(keeping: Server) -> None:
    """Not an older or higher one, not one it has promised beyond, not one it is only told of."""
    for epoch in (0, 2):
        refused(keeping.prepare(FOURTH, THIRD.position, epoch), "fenced")
    keeping.promise(2)
    answered = keeping.prepare(FOURTH, THIRD.position)
    refused(answered, "fenced")
    assert answered.json["promised"] == 2
    refused(keeping.prepare(FOURTH, THIRD.position, 2), "fenced")  # promised, but not begun
    keeping.enter(2, ONE, TWO)
    refused(keeping.prepare(FOURTH, THIRD.position, 2), "fenced")
    assert keeping.held() == [1, 2, 3]


def test_an_entry_of_an_older_epoch_is_taken_under_the_new_one(keeping: Server) -> None:
    """A leader that has adopted it sends it again."""
    keeping.promise(2, TWO)
    keeping.enter(2, TWO, W, end=THIRD.position, tail=FOURTH.position)
    keeping.keep(FOURTH, epoch=2)
    assert keeping.held() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("what", "target"),
    [
        ("no numbers", "?epoch=a&prev_epoch=0&prev_seq=0&prev_hash="),
        ("a query that lacks something", "?epoch=1"),
    ],
)
def test_a_prepare_of_another_shape_is_refused(keeping: Server, what: str, target: str) -> None:
    """And what is no entry, or two of them."""
    target = f"/replication/prepare{target}"
    refused(keeping.call("POST", target, body=FIRST.encode()), "invalid-request")
    good = "/replication/prepare?epoch=1&committed=0&prev_epoch=0&prev_seq=0&prev_hash="
    for body in (b"", b"x", FIRST.encode()[:-5], FIRST.encode() + SECOND.encode()):
        refused(keeping.call("POST", good, body=body), "invalid-request")


# --- giving back ---


def test_the_entries_can_be_fetched(keeping: Server) -> None:
    """From any place that it knows."""
    body = keeping.call("GET", "/replication/entries?after=1", sender=TWO).body
    assert list(decode_entries(body)) == [SECOND, THIRD]
    assert keeping.call("GET", "/replication/entries?after=3").body == b""
    refused(keeping.call("GET", "/replication/entries?after=4"), "too-far-behind")
    refused(keeping.call("GET", "/replication/entries?after=x"), "invalid-request")
    keeping.enter(2, end=FAR)
    refused(keeping.call("GET", "/replication/entries?after=3"), "too-far-behind")


def test_the_entries_can_be_fetched_by_whom_a_promise_was_made_to(keeping: Server) -> None:
    """That is when a new leader needs them."""
    keeping.promise(2, TWO)
    body = keeping.call("GET", "/replication/entries", sender=TWO).body
    assert list(decode_entries(body)) == [FIRST, SECOND, THIRD]


def test_what_both_catalogs_have_is_deleted(keeping: Server) -> None:
    """Once it is told so; the place is kept."""
    keeping.enter(2, ONE, TWO)
    for _ in range(2):
        assert keeping.say("release", {"epoch": 2}).json == {}
        assert (keeping.held(), keeping.view().end) == ([], THIRD.position)
    keeping.restart()
    assert (keeping.held(), keeping.view().end) == ([], THIRD.position)
    refused(keeping.call("GET", "/replication/entries?after=2"), "too-far-behind")


def test_a_release_of_another_epoch_deletes_nothing(keeping: Server) -> None:
    """Nor one of an epoch in which this node is a member; a late one does no harm."""
    for epoch in (0, 1, 2):
        assert keeping.say("release", {"epoch": epoch}).json == {}
    keeping.enter(2, ONE, TWO)
    assert keeping.say("release", {"epoch": 1}).json == {}
    keeping.enter(3, ONE, W, end=THIRD.position)
    assert keeping.say("release", {"epoch": 2}).json == {}
    assert keeping.held() == [1, 2, 3]
    refused(keeping.say("release", {}), "invalid-request")


# --- a disk that fails ---


def test_a_full_disk_refuses_and_loses_nothing(on_disks: Server, disks: Disks) -> None:
    """Neither entry nor promise nor epoch is acknowledged; with room, all goes on."""
    before = on_disks.view()
    disks.of(W).fill()
    refused(on_disks.prepare(FOURTH, THIRD.position), "storage-failed")
    refused(on_disks.promise(2), "storage-failed")
    refused(on_disks.follow(on_disks.record(2), THIRD.position), "storage-failed")
    assert on_disks.view() == before
    assert on_disks.call("GET", "/replication/entries?after=2").body == THIRD.encode()
    disks.of(W).free()
    on_disks.keep(FOURTH)
    assert on_disks.promise(2).status == 200


@pytest.mark.parametrize("file", ["backup.db-wal", "node.db-wal"])
def test_a_sync_that_fails_ends_the_process(on_disks: Server, disks: Disks, file: str) -> None:
    """What the disk has is not known: nothing is acknowledged, nothing answered any more. The next
    process reads what is there.
    """
    disks.of(W).break_sync(file)
    on_disks.scheduler.spawn("disk", W, service_of(on_disks.app).loops["disk"])
    answered = (
        on_disks.prepare(FOURTH, THIRD.position) if file == "backup.db-wal" else on_disks.promise(2)
    )
    assert answered.status >= 500
    refused(on_disks.prepare(FOURTH, THIRD.position), "unavailable", "refusing")
    refused(on_disks.beat(1), "unavailable")
    assert on_disks.view().status == "refusing"
    assert on_disks.call("GET", "/readyz").status == 503
    with pytest.raises(AssertionError, match="Halted"):
        on_disks.scheduler.run(lambda: False, 1.0)
    with disks.of(W).dying():
        on_disks.close()
    on_disks.start()
    assert on_disks.held() in ([1, 2, 3], [1, 2, 3, 4])
    assert on_disks.view().promise in (Promise(1, ONE), Promise(2, ONE))


@pytest.mark.parametrize("seed", range(8))
def test_what_was_acknowledged_outlives_a_power_loss(
    on_disks: Server, disks: Disks, seed: int
) -> None:
    """Entries and promise; whatever else the disk remembers."""
    disk = disks.of(W)
    disk._random = Random(seed)
    on_disks.keep(FOURTH)
    on_disks.beat(1, FOURTH.position)
    assert on_disks.promise(2, ONE, FOURTH.position).status == 200
    with disk.dying():
        on_disks.close()
    disk.lose_power()
    on_disks.start()
    assert (on_disks.held(), on_disks.view().promise) == ([1, 2, 3, 4], Promise(2, ONE))
    refused(on_disks.promise(3, ONE, THIRD.position), "fenced", "entry 4")


def test_a_disk_without_room_does_not_start(disks: Disks, tmp_path: Path) -> None:
    """It says so, and is started again later."""
    disks.of(W).fill()
    with pytest.raises(StartRefused, match="cannot be used"):
        Server(tmp_path)


def test_a_damaged_log_makes_a_new_disk(keeping: Server, tmp_path: Path) -> None:
    """It cannot hand over what it acknowledged, so it has no vote until it is admitted again."""
    keeping.close()
    database = apsw.Connection(str(tmp_path / W / "backup.db"))
    database.execute("UPDATE log SET entry = x'00' WHERE seq = 2")
    database.close()
    before = keeping.record(1)
    keeping.start()
    refused(keeping.promise(2, TWO), "fenced", "no vote")
    refused(keeping.follow(replace(before, epoch=2)), "fenced", "no voter")
    keeping.enter(3, ONE, W, end=FAR)
    assert (keeping.view().cluster, keeping.view().status) == ("shop", "keeping")


# --- what people see ---


def status(server: Server) -> dict[str, Any]:
    found = server.call("GET", "/status", sender="frontend-1").json
    assert isinstance(found, dict)
    return found


def test_the_status_says_what_it_does(keeping: Server) -> None:
    """For whom it keeps how much, and for how long it has given the leader a lease."""
    keeping.beat(1)
    assert status(keeping) == {
        "node": W, "role": "backup", "epoch": 1, "position": [1, 3], "lag": None,
        "lease": pytest.approx(LEASED_S), "state": "keeping 3 entries for catalog-2",
        "why": "keeping 3 entries for catalog-2", "leader": ONE, "disk": keeping.disk,
    }  # fmt: skip
    keeping.enter(2, TWO, ONE)
    assert status(keeping) | {"disk": ""} == {
        "node": W, "role": "backup", "epoch": 2, "position": [1, 3], "lag": None, "lease": None,
        "state": "watching", "why": "watching: catalog-2 leads", "leader": TWO, "disk": "",
    }  # fmt: skip


def test_one_entry_is_one_entry(new: Server) -> None:
    """In words, too."""
    new.enter(1, TWO)
    new.keep(FIRST)
    assert status(new)["state"] == "keeping 1 entry for catalog-1"
    assert new.call("GET", "/readyz").json["why"] == "keeping 1 entry for catalog-1"


def test_a_new_disk_has_a_status(new: Server) -> None:
    """Although there is nothing to tell."""
    found = status(new)
    assert (found["epoch"], found["leader"], found["state"]) == (0, None, "no vote")


def test_the_metrics_count_what_is_kept(keeping: Server) -> None:
    """Entries, their bytes, the epoch."""
    text = keeping.call("GET", "/metrics").body.decode()
    size = sum(len(one.encode()) for one in (FIRST, SECOND, THIRD))
    for name, value in (("epoch", 1), ("entries", 3), ("bytes", size)):
        assert f"\nbazar_backup_{name} {float(value)}\n" in text


def test_a_call_that_is_not_signed_is_refused(new: Server) -> None:
    """All but health."""
    for target in ("/status", "/replication/entries"):
        assert new.app.test_client().get(target).status_code == 401
    assert new.app.test_client().get("/livez").status_code == 200


def test_calls_between_services_have_a_lane_of_their_own(new: Server) -> None:
    """Health never waits for a disk that hangs."""
    service = service_of(new.app)
    assert service.lane_of("POST", "/replication/prepare") == "replication"
    assert {service.lane_of("GET", path) for path in ("/livez", "/status", "/x")} == {"health"}
    assert set(service.lanes) == {"replication", "health"}


def test_it_ends_when_it_is_told_to(new: Server) -> None:
    """The loop that waits for a failing disk returns."""
    service = service_of(new.app)
    job = new.scheduler.spawn("disk", W, service.loops["disk"])
    service.stop()
    new.scheduler.run(lambda: job.done, 1.0)
    assert job.error is None
