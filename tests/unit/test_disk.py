"""The pretend disks keep their law: synced is kept, the rest is luck, the dead do not write."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import apsw
import pytest

from common.database import Database
from order.model import Order, Page
from order.store import NotStored, Store, open_database
from tests.support.disk import Disk, Disks
from tests.support.platter import Stored

SCHEMA = "CREATE TABLE word (text TEXT NOT NULL)"
ADD = "INSERT INTO word VALUES (?)"


@pytest.fixture
def disks(tmp_path: Path) -> Iterator[Disks]:
    """The disks of a folder, for as long as the test runs."""
    (tmp_path / "node").mkdir()
    made = Disks(tmp_path, seed=1)
    yield made
    made.close()


@pytest.fixture
def disk(disks: Disks) -> Disk:
    """The disk of the node "node"."""
    return disks.of("node")


def opened(disk: Disk) -> Database:
    return Database(disk.folder / "words.db", SCHEMA, 1)


def words(database: Database) -> list[str]:
    with database.read() as db:
        return [text for (text,) in db.execute("SELECT text FROM word")]


def die(disk: Disk, database: Database) -> None:
    with disk.dying():
        database.close()


def test_a_killed_process_leaves_its_writes_and_no_checkpoint(disk: Disk) -> None:
    """Kill -9: all that was written is there, synced or not; closing writes nothing."""
    database = opened(disk)
    database.writer.pragma("synchronous", "off")
    database.writer.execute(ADD, ("kept",))
    die(disk, database)
    assert (disk.folder / "words.db-wal").stat().st_size > 0
    with closing(opened(disk)) as again:
        assert words(again) == ["kept"]


@pytest.mark.parametrize("seed", range(20))
def test_what_is_synced_outlives_a_power_loss(disks: Disks, seed: int) -> None:
    """Whatever sectors of the rest arrive."""
    disk = disks.of("node")
    disk._random = Random(seed)
    database = opened(disk)
    database.writer.execute(ADD, ("synced",))
    database.writer.pragma("synchronous", "off")
    database.writer.execute(ADD, ("lost or not",))
    die(disk, database)
    disk.lose_power()
    with closing(opened(disk)) as again:
        assert words(again)[:1] == ["synced"]


def test_some_power_losses_lose_what_is_not_synced_and_some_do_not(tmp_path: Path) -> None:
    """The seed decides."""
    found = set()
    for seed in range(20):
        (tmp_path / str(seed) / "node").mkdir(parents=True)
        disks = Disks(tmp_path / str(seed), seed)
        database = opened(disk := disks.of("node"))
        database.writer.pragma("synchronous", "off")
        database.writer.execute(ADD, ("lost or not",))
        die(disk, database)
        disk.lose_power()
        with closing(opened(disk)) as again:
            found.add(len(words(again)))
        disks.close()
    assert found == {0, 1}


def test_a_full_disk_takes_nothing_until_it_has_room(disk: Disk) -> None:
    """SQLite says full, has rolled back, and goes on afterwards."""
    with closing(opened(disk)) as database:
        disk.fill()
        with pytest.raises(apsw.FullError):
            database.writer.execute(ADD, ("lost",))
        assert not database.writer.in_transaction
        disk.free()
        database.writer.execute(ADD, ("kept",))
        assert words(database) == ["kept"]


def test_a_full_disk_before_the_commit_says_so(disk: Disk) -> None:
    """SQLite rolls back by itself there; what the writer is told is why."""
    with closing(opened(disk)) as database:
        database.writer.pragma("cache_size", 1)
        disk.fill()
        with pytest.raises(apsw.FullError), database.write() as db:
            db.executemany(ADD, [("x" * 3000,) for _ in range(50)])
        disk.free()
        assert words(database) == []


def test_the_cursor_moves_once_over_a_row_whose_commit_reported_an_error(tmp_path: Path) -> None:
    """The transaction is in the file, the checkpoint behind it found no room; the page comes
    again.
    """
    disks = Disks(tmp_path, seed=1, checkpoint_pages=1)
    store = Store(open_database(tmp_path / "order-1" / "orders.db"))
    page = Page("cluster", since=0, end=1, orders=(Order("id", 1, "{}"),))
    disks.of("order-1").fill_at("orders.db")
    with pytest.raises(NotStored):
        store.follow(page)
    disks.mend()
    store.follow(page)
    assert store.listing(0, 10) == ([Order("id", 1, "{}")], 1)
    store.close()
    disks.close()


def test_a_disk_is_full_from_a_named_write_on(disk: Disk) -> None:
    """Three writes make a transaction of one page: the third one is refused."""
    with closing(opened(disk)) as database:
        disk.fill_at("other.db-wal")
        disk.fill_at("words.db-wal", nth=2)
        with pytest.raises(apsw.FullError):
            database.writer.execute(ADD, ("lost",))
        disk.mend()
        assert words(database) == []


def test_a_sync_fails_once_and_what_it_should_have_kept_is_lost(disk: Disk) -> None:
    """The next sync succeeds, and still the platter does not have it: so it is on Linux."""
    database = opened(disk)
    disk.break_sync("words.db-wal")
    with pytest.raises(apsw.IOError) as error:
        database.writer.execute(ADD, ("lost",))
    assert error.value.extendedresult == apsw.SQLITE_IOERR_FSYNC
    die(disk, database)
    disk.lose_power()
    with closing(opened(disk)) as again:
        assert words(again) == []
        again.writer.execute(ADD, ("kept",))
        assert words(again) == ["kept"]


def test_the_dead_do_not_write(disk: Disk) -> None:
    """A process that died in the middle of its work changes no file any more."""
    database = opened(disk)
    disk.at("sync", "words.db-wal", lambda: setattr(disk, "dead", True))
    database.writer.execute(ADD, ("never synced",))
    disk.lose_power()
    before = {path.name: path.read_bytes() for path in disk.folder.glob("words.db*")}
    database.writer.execute(ADD, ("never written",))
    die(disk, database)
    left = {path.name: path.read_bytes() for path in disk.folder.glob("words.db*")}
    assert {name: left.get(name) for name in before} == before


def test_files_elsewhere_are_the_systems(disks: Disks, tmp_path: Path) -> None:
    """A full disk of a node is no concern of a file beside its folder."""
    disks.of("node").fill()
    with closing(Database(tmp_path / "beside.db", SCHEMA, 1)) as database:
        database.writer.execute(ADD, ("there",))
        assert words(database) == ["there"]


def test_the_default_is_given_back(tmp_path: Path) -> None:
    """A test leaves no pretend disk to the next one."""
    before = apsw.vfs_names()
    disks = Disks(tmp_path, seed=1, checkpoint_pages=4)
    assert apsw.vfs_names()[0] != before[0]
    disks.close()
    assert apsw.vfs_names() == before
    assert apsw.connection_hooks == []


def test_sectors_are_written_whole_or_not_at_all() -> None:
    """A write over three sectors: each of them is old or new after the power loss."""
    seen = set()
    for seed in range(200):
        stored = Stored(1, bytearray(b"o" * 1536), named=True)
        stored.unsynced.append((256, b"n" * 1024))
        image = stored.cut_off(Random(seed))
        pieces = (image[:256], image[256:512], image[512:1024], image[1024:1280], image[1280:])
        assert pieces[0] == b"o" * 256
        assert pieces[4] == b"o" * 256
        assert all(len(set(piece)) == 1 for piece in pieces)
        seen.add(bytes(piece[0] for piece in pieces[1:4]))
    assert len(seen) == 8
