"""One SQLite file: what readers see, copies, and damage."""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.database import Corrupt, Database, OtherVersion, move_aside

SCHEMA = "CREATE TABLE words (number INTEGER PRIMARY KEY, word TEXT NOT NULL) STRICT"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database(tmp_path / "test.db", SCHEMA, 1)
    yield opened
    opened.close()


def fill(database: Database, *words: str) -> None:
    with database.writer as db:
        db.executemany("INSERT INTO words (word) VALUES (?)", [(word,) for word in words])


def words(db: apsw.Connection) -> list[str]:
    return [word for (word,) in db.execute("SELECT word FROM words ORDER BY number")]


def seen(database: Database) -> list[str]:
    with database.read() as db:
        return words(db)


# --- readers and the writer ---


def test_a_reader_never_sees_what_is_not_committed(database: Database) -> None:
    """The writer's transaction may stay open for seconds."""
    fill(database, "old")
    database.writer.execute("BEGIN IMMEDIATE")
    database.writer.execute("UPDATE words SET word = 'new'")
    assert seen(database) == ["old"]
    database.writer.execute("COMMIT")
    assert seen(database) == ["new"]


def test_what_is_rolled_back_was_never_there(database: Database) -> None:
    """Not even for the writer."""
    fill(database, "old")
    database.writer.execute("BEGIN IMMEDIATE")
    database.writer.execute("DELETE FROM words")
    database.writer.execute("ROLLBACK")
    assert seen(database) == words(database.writer) == ["old"]


def test_everything_read_in_one_transaction_is_of_one_moment(database: Database) -> None:
    """A commit in between is not seen."""
    fill(database, "old")
    with database.read() as db:
        assert words(db) == ["old"]
        fill(database, "new")
        assert words(db) == ["old"]
    assert seen(database) == ["old", "new"]


def test_readers_do_not_share_a_transaction(database: Database) -> None:
    """One inside the other sees its own moment."""
    fill(database, "old")
    with database.read() as outer:
        words(outer)
        fill(database, "new")
        with database.read() as inner:
            assert (len(words(outer)), len(words(inner))) == (1, 2)


def test_a_reader_that_fails_leaves_no_transaction_open(database: Database) -> None:
    """The next one sees the present."""
    with pytest.raises(apsw.SQLError), database.read() as db:
        db.execute("SELECT nonsense FROM words")
    fill(database, "new")
    assert seen(database) == ["new"]


def test_connections_are_used_again(database: Database, tmp_path: Path) -> None:
    """As many as readers at one time, not as many as reads."""
    with database.read() as first:
        pass
    with database.read() as second:
        assert second is first


def test_many_threads_read_while_one_writes(database: Database) -> None:
    """Each transaction sees all of a commit or nothing of it, and none fails."""
    fill(database, "0", "0")
    failures: list[object] = []
    stop = threading.Event()

    def reading() -> None:
        while not stop.is_set():
            try:
                found = seen(database)
                if len(set(found)) != 1:
                    failures.append(found)
            except Exception as error:
                failures.append(error)

    threads = [threading.Thread(target=reading) for _ in range(4)]
    for thread in threads:
        thread.start()
    for number in range(100):
        with database.writer as db:
            db.execute("UPDATE words SET word = ?", (str(number),))
    stop.set()
    for thread in threads:
        thread.join(10)
    assert failures == []


def test_a_commit_is_in_the_files_when_it_returns(database: Database, tmp_path: Path) -> None:
    """What a crash leaves at that moment has it; what was not committed is not there."""
    fill(database, "safe")
    database.writer.execute("BEGIN IMMEDIATE")
    database.writer.execute("INSERT INTO words (word) VALUES ('unsafe')")
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    for name in ("test.db", "test.db-wal"):
        shutil.copy(tmp_path / name, crashed / name)
    again = Database(crashed / "test.db", SCHEMA, 1)
    assert seen(again) == ["safe"]
    again.close()


def test_a_database_is_journalled_and_synced(database: Database) -> None:
    """WAL, and FULL: or a commit might not survive the power."""
    assert database.writer.pragma("journal_mode") == "wal"
    assert database.writer.pragma("synchronous") == 2


# --- copies ---


def test_a_copy_has_what_is_committed(database: Database, tmp_path: Path) -> None:
    """Also while the writer is in the middle of something."""
    fill(database, "one")
    database.writer.execute("BEGIN IMMEDIATE")
    database.writer.execute("INSERT INTO words (word) VALUES ('two')")
    database.copy_to(tmp_path / "copy.db")
    database.writer.execute("ROLLBACK")
    copy = Database(tmp_path / "copy.db", SCHEMA, 1)
    assert seen(copy) == ["one"]
    copy.close()


def test_a_copy_replaces_an_older_copy(database: Database, tmp_path: Path) -> None:
    """Nothing of it is left."""
    fill(database, *"abcdefgh" * 500)
    database.copy_to(tmp_path / "copy.db")
    with database.writer as db:
        db.execute("DELETE FROM words WHERE number > 1")
    database.copy_to(tmp_path / "copy.db")
    copy = Database(tmp_path / "copy.db", SCHEMA, 1)
    assert seen(copy) == ["a"]
    copy.close()


def test_a_database_is_replaced_under_its_readers(database: Database, tmp_path: Path) -> None:
    """One that is in the middle of reading goes on with the old one; the next sees the new one."""
    other = Database(tmp_path / "other.db", SCHEMA, 1)
    fill(other, *(f"new-{number}" for number in range(2000)))
    other.copy_to(tmp_path / "copy.db")
    other.close()
    fill(database, "old")
    with database.read() as reading:
        assert words(reading) == ["old"]
        database.replace_by(tmp_path / "copy.db")
        assert words(reading) == ["old"]
        assert len(seen(database)) == 2000
    assert len(seen(database)) == 2000
    fill(database, "written afterwards")
    assert len(seen(database)) == 2001


def test_a_replaced_database_is_the_new_one_after_a_restart(tmp_path: Path) -> None:
    """And still journalled and synced as before."""
    one, other = (Database(tmp_path / name, SCHEMA, 1) for name in ("one.db", "other.db"))
    fill(one, *"abc" * 1000)
    fill(other, "x")
    other.copy_to(tmp_path / "copy.db")
    one.replace_by(tmp_path / "copy.db")
    assert one.writer.pragma("journal_mode") == "wal"
    one.close()
    other.close()
    again = Database(tmp_path / "one.db", SCHEMA, 1)
    assert seen(again) == ["x"]
    again.close()


def test_a_copy_that_is_used_up_leaves_nothing_behind(database: Database, tmp_path: Path) -> None:
    """A journal left beside it would be taken for that of the next copy of the name."""
    other = Database(tmp_path / "other.db", SCHEMA, 1)
    other.copy_to(tmp_path / "copy.db")
    other.close()
    database.replace_by(tmp_path / "copy.db")
    (tmp_path / "copy.db").unlink()
    assert sorted(file.name for file in tmp_path.glob("copy*")) == []


# --- damage ---


def damaged(tmp_path: Path) -> Path:
    """Return a closed database of many pages."""
    database = Database(tmp_path / "test.db", SCHEMA, 1)
    fill(database, *(f"word {number} " * 20 for number in range(500)))
    database.close()
    return tmp_path / "test.db"


def test_pages_overwritten_in_the_middle_are_noticed(tmp_path: Path) -> None:
    """At the next start, before anything is answered."""
    path = damaged(tmp_path)
    data = bytearray(path.read_bytes())
    for page in range(3, len(data) // 4096, 2):
        data[page * 4096 : page * 4096 + 64] = b"\xff" * 64
    path.write_bytes(data)
    with pytest.raises(Corrupt, match=r"test\.db"):
        Database(path, SCHEMA, 1)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_file_cut_short_is_noticed(tmp_path: Path, share: float) -> None:
    """A disk that lost its tail."""
    path = damaged(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(Corrupt):
        Database(path, SCHEMA, 1)


@pytest.mark.parametrize(
    "content",
    [b"no database" * 1000, b"\0" * 8192, b"SQLite format 3\0" + b"\xff" * 8176],
    ids=repr,
)
def test_a_file_that_is_no_database_is_noticed(tmp_path: Path, content: bytes) -> None:
    """Whatever it is."""
    (tmp_path / "test.db").write_bytes(content)
    with pytest.raises(Corrupt):
        Database(tmp_path / "test.db", SCHEMA, 1)


PLACES = st.integers(0, 99) | st.floats(0, 0.999)


@settings(max_examples=60)
@given(st.lists(st.tuples(PLACES, st.integers(1, 255)), min_size=1, max_size=6))
@example([(63, 1)])
def test_flipped_bytes_are_noticed_or_harmless_but_never_another_error(
    flips: list[tuple[float, int]],
) -> None:
    """A start either refuses the file as corrupt or can read every row of it (digests see what was
    flipped inside).
    """
    with tempfile.TemporaryDirectory() as folder:
        path = damaged(Path(folder))
        content = bytearray(path.read_bytes())
        for where, flip in flips:  # a byte of the header, or a share of the file
            content[where if isinstance(where, int) else int(where * len(content))] ^= flip
        path.write_bytes(content)
        try:
            database = Database(path, SCHEMA, 1)
        except (Corrupt, OtherVersion):
            return
        with database.read() as db:
            assert len(db.execute("SELECT CAST(word AS BLOB) FROM words").fetchall()) <= 500
        database.close()


def test_a_database_of_another_version_is_not_called_corrupt(tmp_path: Path) -> None:
    """A corrupt file is thrown away and refilled; one that another version wrote must not be."""
    Database(tmp_path / "test.db", SCHEMA, 2).close()
    with pytest.raises(Exception, match="version") as caught:
        Database(tmp_path / "test.db", SCHEMA, 1)
    assert not isinstance(caught.value, Corrupt)


def test_a_damaged_database_is_moved_aside_with_its_journal(tmp_path: Path) -> None:
    """So that a person can look at it, and the new one does not take its journal for its own."""
    path = tmp_path / "test.db"
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"test.db{suffix}").write_bytes(b"old" + suffix.encode())
    aside = move_aside(path)
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == {
        aside.name: b"old", f"{aside.name}-wal": b"old-wal", f"{aside.name}-shm": b"old-shm",
    }  # fmt: skip
    Database(path, SCHEMA, 1).close()


def test_a_second_damaged_database_does_not_replace_the_first(tmp_path: Path) -> None:
    """Each keeps its own name."""
    path = tmp_path / "test.db"
    names = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        names.append(move_aside(path))
    assert [name.read_bytes() for name in names] == [b"one", b"two"]


def test_moving_aside_takes_what_is_there(tmp_path: Path) -> None:
    """There need not be a journal."""
    (tmp_path / "test.db").write_bytes(b"old")
    assert move_aside(tmp_path / "test.db").read_bytes() == b"old"


def test_a_closed_database_can_be_read_by_any_sqlite(database: Database, tmp_path: Path) -> None:
    """It is an ordinary file."""
    fill(database, "word")
    database.close()
    connection = sqlite3.connect(tmp_path / "test.db")
    assert connection.execute("SELECT word FROM words").fetchall() == [("word",)]
    connection.close()
