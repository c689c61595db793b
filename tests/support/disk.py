"""The disks of a simulated cluster: a SQLite VFS over real files that knows what is only written
and what is synced, and fails where it is told to.

Law: what a sync has answered for outlives a power loss; of what was written since, the seed says
what does. A dead process writes nothing. Files outside the nodes' folders are not touched.

Two things are harsher than life: with a full disk every write fails, also one into space already
taken; and a sync that fails inside a checkpoint is raised by apsw, where SQLite alone keeps silent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import apsw

from tests.support.platter import Stored

PREFIX = "disks of "


@dataclass
class Point:
    """Something that happens at the nth write or sync of a file (of any file, if `file` is "")."""

    what: str
    file: str
    nth: int
    act: Callable[[], None]


class Disk:
    """The disk of one node."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.folder = folder
        self.dead = False  # the process is: nothing it does reaches the files any more
        self.full = False
        self._random = random
        self._files: dict[str, Stored] = {}
        self._points: list[Point] = []

    # --- what tests ask for ---

    def fill(self) -> None:
        """Let every write fail until `free`."""
        self.full = True

    def free(self) -> None:
        """Give it room again."""
        self.full = False

    def at(self, what: str, file: str, act: Callable[[], None], nth: int = 1) -> None:
        """Do something before the nth "write" or "sync" of a file; it may raise what SQLite is
        told.
        """
        self._points.append(Point(what, file, nth, act))

    def fill_at(self, file: str, nth: int = 1) -> None:
        """Be full from the nth write to a file on."""
        self.at("write", file, self.fill, nth)

    def break_sync(self, file: str = "", nth: int = 1) -> None:
        """Fail one sync, and drop what it was to bring to the platter."""
        self.at("sync", file, _sync_error, nth)

    def mend(self) -> None:
        """Free it, and forget every point that was not reached."""
        self.full = False
        self._points.clear()

    @contextmanager
    def dying(self) -> Iterator[None]:
        """Let a process end: closing a database would else still write a checkpoint."""
        self.dead = True
        try:
            yield
        finally:
            self.dead = False
            self._evict()

    def lose_power(self) -> None:
        """Lose what is not synced, or a part of it (the node is dead)."""
        for name, stored in sorted(self._files.items()):
            path = self.folder / name
            if not _is(path, stored):
                del self._files[name]
            elif not stored.named and self._random.random() < 0.5:
                path.unlink()
                del self._files[name]
            elif stored.unsynced or stored.stale:
                path.write_bytes(stored.cut_off(self._random))
        for memory in self.folder.glob("*-shm"):
            memory.unlink()

    def _evict(self) -> None:
        """After a failed sync the next process may read either: the cache, or the platter."""
        for name, stored in sorted(self._files.items()):
            path = self.folder / name
            if stored.stale and self._random.random() < 0.5 and _is(path, stored):
                path.write_bytes(stored.evicted())

    # --- what SQLite does ---

    def open(self, name: str) -> Stored | None:
        """Note that a file is about to be opened; None: it must be asked again once it exists."""
        path = self.folder / name
        known = self._files.get(name)
        if known is not None and _is(path, known):
            return known
        if not path.exists():
            return None
        # Not through the VFS so far: a test or a download has made it. Reading it here, while no
        # connection has it open, keeps SQLite's locks (closing any descriptor would drop them).
        found = Stored(path.stat().st_ino, bytearray(path.read_bytes()), named=True)
        self._files[name] = found
        return found

    def created(self, name: str) -> Stored:
        """Note that SQLite has just made a file."""
        made = Stored((self.folder / name).stat().st_ino, bytearray(), named=False)
        self._files[name] = made
        return made

    def forget(self, name: str) -> None:
        """Note that SQLite has deleted a file."""
        self._files.pop(name, None)

    def reach(self, what: str, name: str) -> None:
        """Do what is to happen before a write or a sync."""
        for point in [p for p in self._points if p.what == what and p.file in ("", name)]:
            point.nth -= 1
            if point.nth == 0:
                self._points.remove(point)
                point.act()
        if what == "write" and self.full and not self.dead:
            raise apsw.FullError(f"no room for {name}")


class DiskFile(apsw.VFSFile):
    """An open file (the names of its methods are SQLite's)."""

    def __init__(self, base: str, name: apsw.URIFilename | str, flags: list[int], disk: Disk):
        text = name.filename() if isinstance(name, apsw.URIFilename) else name
        self._disk, self._name = disk, Path(text).name
        stored = disk.open(self._name)
        super().__init__(base, name, flags)
        self._stored = stored or disk.created(self._name)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        if self._may("write"):
            super().xWrite(data, offset)
            self._stored.unsynced.append((offset, bytes(data)))

    def xTruncate(self, newsize: int) -> None:  # noqa: N802
        if not self._disk.dead:
            super().xTruncate(newsize)
            self._stored.unsynced.append((newsize, None))

    def xSync(self, flags: int) -> None:  # noqa: N802
        # The base is not asked: power is lost in this process only, and a real sync takes time.
        try:
            if self._may("sync"):
                self._stored.sync()
        except apsw.IOError:
            self._stored.fail_to_sync()
            raise

    def _may(self, what: str) -> bool:
        if not self._disk.dead:
            self._disk.reach(what, self._name)
        return not self._disk.dead


class Disks(apsw.VFS):
    """The default VFS of this process while a cluster is simulated: a disk for each folder below
    `folder`.
    """

    def __init__(self, folder: Path, seed: int, checkpoint_pages: int | None = None) -> None:
        self._folder = folder.resolve()
        self._random = Random(f"disks {seed}")
        self._disks: dict[str, Disk] = {}
        self._base = next(name for name in apsw.vfs_names() if not name.startswith(PREFIX))
        super().__init__(f"{PREFIX}{self._folder}", self._base, makedefault=True)
        self._checkpoint_pages = checkpoint_pages
        if checkpoint_pages is not None:
            apsw.connection_hooks.append(self._opened)

    def _opened(self, connection: apsw.Connection) -> None:
        connection.wal_autocheckpoint(self._checkpoint_pages or 0)

    def close(self) -> None:
        """Give the default back to whoever had it."""
        self.unregister()
        if self._opened in apsw.connection_hooks:
            apsw.connection_hooks.remove(self._opened)

    def of(self, node: str) -> Disk:
        """Return a node's disk."""
        if node not in self._disks:
            seed = self._random.getrandbits(64)
            self._disks[node] = Disk(self._folder / node, Random(seed))
        return self._disks[node]

    def mend(self) -> None:
        """Free and mend every disk."""
        for disk in self._disks.values():
            disk.mend()

    def _of_path(self, path: str) -> Disk | None:
        folder = Path(path).parent
        return self.of(folder.name) if folder.parent == self._folder else None

    def xOpen(  # noqa: N802
        self, name: str | apsw.URIFilename | None, flags: list[int]
    ) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        disk = self._of_path(path) if path else None
        if disk is None or name is None:
            return apsw.VFSFile(self._base, name, flags)
        return DiskFile(self._base, name, flags, disk)

    def xDelete(self, filename: str, syncdir: bool) -> None:  # noqa: N802
        disk = self._of_path(filename)
        if disk is not None and disk.dead:
            return
        super().xDelete(filename, syncdir)
        if disk is not None:
            disk.forget(Path(filename).name)


def _sync_error() -> None:
    raise apsw.exception_for(apsw.SQLITE_IOERR_FSYNC)


def _is(path: Path, stored: Stored) -> bool:
    return path.exists() and path.stat().st_ino == stored.inode
