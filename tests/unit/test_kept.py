"""`backup.db`: a chain of entries without a gap, and what was reported; it survives what a disk
survives.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import apsw
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from catalog.kept import Kept, open_files
from catalog.model import Entry, decode_entries
from common.database import Corrupt
from common.position import ORIGIN, Position
from common.service import StartRefused
from tests.support.catalog_fakes import ONE, TWO, record
from tests.support.disk import Disk, Disks

ALL = 1 << 30


def entry(prev: Position, name: str = "k", epoch: int = 1, size: int = 0) -> Entry:
    """Return an entry that follows `prev`; another name, another content."""
    return Entry.build(epoch, prev, ("book:1",), (name,), b"\n" * size)


def chain(count: int, prev: Position = ORIGIN, name: str = "k") -> list[Entry]:
    """Return entries that follow one another."""
    found: list[Entry] = []
    for _ in range(count):
        found.append(entry(found[-1].position if found else prev, name))
    return found


def held(kept: Kept, after: int | None = None) -> list[Entry]:
    """Return the entries that a catalog would be given."""
    data = kept.after(kept.base.seq if after is None else after, ALL)
    assert data is not None
    return list(decode_entries(data))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


@pytest.fixture
def kept(path: Path) -> Iterator[Kept]:
    """A log of the entries 1 to 3, and its file."""
    with closing(Kept(path)) as kept:
        for one in chain(3):
            kept.append(one)
        yield kept


FIRST, SECOND, THIRD = chain(3)


# --- the log ---


def test_a_new_file_begins_at_the_origin(path: Path) -> None:
    """It holds nothing, and nothing was reported."""
    with closing(Kept(path)) as new:
        assert (new.base, new.end, new.entries, new.size_bytes) == (ORIGIN, ORIGIN, 0, 0)
        assert (new.at(0), new.at(1)) == (ORIGIN, None)
        assert new.after(0, ALL) == b""
        assert new.reported(ONE, "disk-1") is None


def test_entries_come_back_as_they_were_put(kept: Kept) -> None:
    """From any place on, with their number and size."""
    assert (kept.base, kept.end, kept.entries) == (ORIGIN, THIRD.position, 3)
    assert kept.size_bytes == sum(len(one.encode()) for one in (FIRST, SECOND, THIRD))
    assert held(kept) == [FIRST, SECOND, THIRD]
    assert held(kept, after=2) == [THIRD]
    assert kept.after(3, ALL) == b""
    assert [kept.at(seq) for seq in (2, 3, 4)] == [SECOND.position, THIRD.position, None]


def test_a_part_of_the_log_has_a_limit_but_at_least_one_entry(kept: Kept) -> None:
    """However large that one is."""
    two = len(FIRST.encode()) + len(SECOND.encode())
    for limit, count in ((0, 1), (two - 1, 1), (two, 2), (two + 1, 2)):
        data = kept.after(0, limit)
        assert data is not None
        assert list(decode_entries(data)) == [FIRST, SECOND, THIRD][:count]


def test_what_lies_outside_of_the_log_is_not_made_up(kept: Kept) -> None:
    """Before the base, or beyond the end."""
    assert kept.after(4, ALL) is None
    kept.release()
    assert kept.after(2, ALL) is None
    assert kept.after(3, ALL) == b""


def test_a_release_keeps_the_place(kept: Kept) -> None:
    """The entries go, the log goes on from where it was."""
    kept.release()
    assert (kept.base, kept.end, kept.entries, kept.size_bytes) == (
        THIRD.position, THIRD.position, 0, 0,
    )  # fmt: skip
    kept.append(entry(THIRD.position))
    assert kept.entries == 1


OTHER = entry(SECOND.position, "another third")
FOURTH = entry(THIRD.position)
FAR = Position(2, 9, "hash-9")


@pytest.mark.parametrize(
    ("end", "tail", "left"),
    [
        (THIRD.position, THIRD.position, 3),
        (THIRD.position, FOURTH.position, 3),  # the leader has adopted what is not here
        (SECOND.position, THIRD.position, 3),  # it has adopted the third
        (SECOND.position, OTHER.position, 2),  # it has adopted another third
        (SECOND.position, SECOND.position, 2),  # it knows of no third
        (FIRST.position, THIRD.position, 3),
        (ORIGIN, ORIGIN, 0),
    ],
)
def test_a_log_that_contains_the_end_keeps_what_leads_to_the_tail(
    kept: Kept, end: Position, tail: Position, left: int
) -> None:
    """And drops what nobody has committed; twice is as good as once."""
    for _ in range(2):
        kept.fit(end, tail)
        assert kept.base == ORIGIN
        assert held(kept) == [FIRST, SECOND, THIRD][:left]


@pytest.mark.parametrize("end", [FAR, OTHER.position, THIRD.position._replace(epoch=2)])
def test_a_log_without_the_end_begins_anew_there(kept: Kept, end: Position) -> None:
    """Also where it has another entry in that place."""
    for _ in range(2):
        kept.fit(end, end)
        assert (kept.base, kept.end, kept.entries) == (end, end, 0)


def test_a_base_is_an_end_to_go_on_from(kept: Kept) -> None:
    """Although its entry is not held."""
    kept.release()
    kept.fit(THIRD.position, THIRD.position)
    assert (kept.base, kept.end) == (THIRD.position, THIRD.position)


# --- reports ---


def test_the_highest_report_of_each_disk_stays(path: Path) -> None:
    """Also over a restart."""
    with closing(Kept(path)) as kept:
        for told in (SECOND.position, FIRST.position, SECOND.position):
            kept.note(ONE, "disk-1", told)
        kept.note(ONE, "disk-9", FIRST.position)
    with closing(Kept(path)) as kept:
        assert kept.reported(ONE, "disk-1") == SECOND.position
        assert kept.reported(ONE, "disk-9") == FIRST.position
        assert kept.reported(TWO, "disk-1") is None


def test_a_report_that_is_not_higher_costs_no_write(kept: Kept, path: Path) -> None:
    """Five heartbeats a second tell mostly what is known."""
    kept.note(ONE, "disk-1", THIRD.position)
    log = path.with_name("backup.db-wal")
    before = log.stat().st_size
    kept.note(ONE, "disk-1", THIRD.position)
    assert log.stat().st_size == before


# --- damage ---


def damage(path: Path, sql: str) -> None:
    database = apsw.Connection(str(path))
    database.execute(sql)
    database.close()


@pytest.mark.parametrize(
    "sql",
    [
        "DELETE FROM log WHERE seq = 2",
        "DELETE FROM log WHERE seq = 1",
        "UPDATE log SET hash = 'x' WHERE seq = 2",
        "UPDATE log SET entry = x'00' WHERE seq = 2",
        "UPDATE log SET entry = CAST(replace(entry, 'book:1', 'book:2') AS BLOB) WHERE seq = 3",
        "UPDATE log SET entry = (SELECT entry FROM log WHERE seq = 1) WHERE seq = 3",
        "UPDATE base SET hash = 'x'",
    ],
)
def test_a_log_that_is_no_chain_is_corrupt(kept: Kept, path: Path, sql: str) -> None:
    """SQLite finds nothing wrong with it."""
    kept.close()
    damage(path, sql)
    with pytest.raises(Corrupt, match=r"entry \d"):
        Kept(path)


def filled(folder: Path) -> str:
    """Make the files of a voter with one entry; return its disk's name."""
    node, kept = open_files(folder, Random(1))
    node.enter("shop", record())
    kept.append(FIRST)
    kept.close()
    node.close()
    return node.disk


def test_files_open_as_they_were_left(tmp_path: Path) -> None:
    """The same disk, with all that it has."""
    disk = filled(tmp_path)
    node, kept = open_files(tmp_path, Random(2))
    with closing(node), closing(kept):
        assert (node.disk, node.record, held(kept)) == (disk, record(), [FIRST])


@pytest.mark.parametrize("how", ["damaged", "lost", "cut short"])
def test_a_disk_that_has_lost_its_log_is_a_new_one(tmp_path: Path, how: str) -> None:
    """It acknowledged what it no longer has: no vote until it is admitted again. A person can look
    at the old file.
    """
    disk, path = filled(tmp_path), tmp_path / "backup.db"
    if how == "lost":
        path.unlink()
    elif how == "damaged":
        damage(path, "UPDATE log SET hash = 'x'")
    else:
        path.write_bytes(path.read_bytes()[:5000])
    for _ in range(2):
        node, kept = open_files(tmp_path, Random(2))
        with closing(node), closing(kept):
            assert (node.record, node.cluster, node.promise.epoch) == (None, "shop", 0)
            assert node.disk != disk
            assert (kept.base, kept.entries) == (ORIGIN, 0)
    assert path.with_name("backup.db.corrupt-1").exists() == (how != "lost")


def test_entries_without_their_record_stop_the_start(tmp_path: Path) -> None:
    """The promises are lost with it, so a person must decide."""
    filled(tmp_path)
    for file in tmp_path.glob("node.db*"):
        file.unlink()
    with pytest.raises(StartRefused, match=r"node\.db"):
        open_files(tmp_path, Random(2))


def test_a_damaged_record_stops_the_start(tmp_path: Path) -> None:
    """It is not replaced by itself."""
    filled(tmp_path)
    (tmp_path / "node.db").write_bytes(b"x" * 8192)
    with pytest.raises(StartRefused, match="promised"):
        open_files(tmp_path, Random(2))


def test_a_crash_at_the_first_admission_does_not_stop_the_start(tmp_path: Path) -> None:
    """The log began at the leader's end, the record was not entered yet: a new disk, as before."""
    node, kept = open_files(tmp_path, Random(1))
    kept.fit(FAR, FAR)
    kept.close()
    node.close()
    again, kept = open_files(tmp_path, Random(2))
    with closing(again), closing(kept):
        assert (again.disk, again.record, kept.base) == (node.disk, None, FAR)


# --- disks that fail ---


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """The disks of a folder, for as long as the test runs."""
    (tmp_path / "backup").mkdir()
    made = Disks(tmp_path, seed=1, checkpoint_pages=1)
    yield made
    made.close()


def test_a_full_disk_takes_nothing_and_forgets_nothing(disks: Disks) -> None:
    """What the file has is what the process says it has."""
    disk = disks.of("backup")
    with closing(Kept(disk.folder / "backup.db")) as kept:
        kept.append(FIRST)
        disk.fill()
        with pytest.raises(apsw.FullError):
            kept.append(SECOND)
        assert (kept.end, held(kept)) == (FIRST.position, [FIRST])
        disk.free()
        kept.append(SECOND)
        assert held(kept) == [FIRST, SECOND]


def test_a_commit_stands_when_only_its_checkpoint_finds_no_room(disks: Disks) -> None:
    """It says that the disk is full, but the entry is there: the process knows it, too."""
    disk = disks.of("backup")
    with closing(Kept(disk.folder / "backup.db")) as kept:
        disk.fill_at("backup.db")  # in WAL mode only a checkpoint writes there
        with pytest.raises(apsw.FullError):
            kept.append(FIRST)
        assert (kept.end, held(kept)) == (FIRST.position, [FIRST])
        disk.free()
        kept.append(SECOND)
        assert held(kept) == [FIRST, SECOND]


class Model(RuleBasedStateMachine):
    """A log against a list; power is lost at any moment between two changes."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="bazar-"))
        self.disks = Disks(self.folder, seed=1, checkpoint_pages=8)
        (self.folder / "backup").mkdir()
        self.base, self.log = ORIGIN, list[Entry]()
        self.reports: dict[str, Position] = {}
        self.kept = Kept(self.disk.folder / "backup.db")

    @property
    def disk(self) -> Disk:
        return self.disks.of("backup")

    @property
    def places(self) -> list[Position]:
        return [self.base, *(one.position for one in self.log)]

    @rule(name=st.sampled_from("abc"), size=st.sampled_from([0, 10_000]))
    def append(self, name: str, size: int) -> None:
        self.log.append(entry(self.places[-1], name, size=size))
        self.kept.append(self.log[-1])

    @rule(data=st.data(), adopted=st.sampled_from(["none", "known", "other"]))
    def fit(self, data: st.DataObject, adopted: str) -> None:
        at = data.draw(st.integers(0, len(self.log)))
        end = tail = self.places[at]
        self.log, beyond = self.log[:at], self.log[at:]
        if adopted == "known" and beyond:
            tail = beyond[0].position
            self.log.append(beyond[0])
        elif adopted == "other":
            tail = entry(end, "no such name").position
        self.kept.fit(end, tail)

    @rule(seq=st.integers(0, 9))
    def begin_elsewhere(self, seq: int) -> None:
        self.base, self.log = Position(7, seq, f"elsewhere-{seq}"), []
        self.kept.fit(self.base, self.base)

    @rule()
    def release(self) -> None:
        self.base, self.log = self.places[-1], []
        self.kept.release()

    @rule(disk=st.sampled_from("ab"), seq=st.integers(1, 5))
    def note(self, disk: str, seq: int) -> None:
        told = Position(1, seq, "hash")
        self.reports[disk] = max(self.reports.get(disk, told), told)
        self.kept.note(ONE, disk, told)

    @rule()
    def lose_power(self) -> None:
        with self.disk.dying():
            self.kept.close()
        self.disk.lose_power()
        self.kept = Kept(self.disk.folder / "backup.db")

    @invariant()
    def it_has_what_it_was_given(self) -> None:
        assert (self.kept.base, self.kept.end) == (self.base, self.places[-1])
        assert (held(self.kept), self.kept.entries) == (self.log, len(self.log))
        assert {disk: self.kept.reported(ONE, disk) for disk in self.reports} == self.reports

    def teardown(self) -> None:
        self.kept.close()
        self.disks.close()
        shutil.rmtree(self.folder)


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
