"""The files of a catalog node: opening them, and what becomes of a node whose disk fails.

Law: after an error that leaves in doubt what a disk holds, the node answers nothing more and its
process ends; only a restart, which verifies the files, trusts them again.
"""

from __future__ import annotations

import logging
from pathlib import Path
from random import Random
from typing import Protocol

import apsw

from catalog import store
from catalog.model import SCHEMA_VERSION
from catalog.record import NodeRecord
from catalog.replication import REFUSING
from common.database import Corrupt, Database, move_aside
from common.errors import Problem
from common.service import StartRefused

log = logging.getLogger("bazar")

SCHEMA = Path(__file__).with_name("schema.sql").read_text(encoding="utf-8")


class Halted(Exception):
    """This process must end: what its disk holds is no longer known. A restart verifies it."""


def open_files(folder: Path, random: Random) -> tuple[NodeRecord, Database]:
    """Open a node's two files; raise `StartRefused`. A catalog.db that is damaged is moved aside,
    and this is a new disk.
    """
    record = _open_record(folder / "node.db", random)
    catalog = _open_or_replace(folder / "catalog.db", record)
    with catalog.read() as db:
        entries = store.end(db).seq
    if entries and not record.cluster:
        raise StartRefused(
            f"{folder} has a catalog.db whose node.db is lost: put it back, or empty the folder"
            " and this node refills itself from the other catalog"
        )
    return record, catalog


def open_catalog(path: Path) -> Database:
    """Open a catalog's database; raise `Corrupt`."""
    return Database(path, SCHEMA, SCHEMA_VERSION, {"fold": store.fold})


def _open_or_replace(path: Path, record: NodeRecord) -> Database:
    try:
        return open_catalog(path)
    except Corrupt as error:
        record.become_new_disk(record.cluster)  # first: it must not count if we die
        aside = move_aside(path)
        log.error("%s; moved to %s: this disk will be refilled from the peer", error, aside.name)
        return open_catalog(path)


def _open_record(path: Path, random: Random) -> NodeRecord:
    try:
        return NodeRecord(path, random)
    except Corrupt as error:
        raise StartRefused(
            f"{error}. It holds this node's promises, so it is not replaced by itself: if the other"
            f" catalog has the data, empty the folder {path.parent} and start again, and this node"
            " refills itself from it"
        ) from error


class Owner(Protocol):
    """Whose disk it is: a node."""

    @property
    def name(self) -> str:
        """Return its name."""

    def halt(self, why: str) -> None:
        """Answer nothing more, and end."""

    def become(self, status: str, why: str) -> None:
        """Change the role."""


class guard:  # noqa: N801  # reads as a statement: `with guard(node):`
    """Halt the node when the disk fails in a way after which its contents are not known (fsync
    errors first of all).
    """

    def __init__(self, node: Owner) -> None:
        self._node = node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, apsw.IOError | apsw.CorruptError | apsw.NotADBError):
            self._node.halt(f"the disk failed: {error}")
            raise Halted(str(error)) from error
        if isinstance(error, store.ChangesetConflict):
            self._node.become(REFUSING, f"diverged: {error}")
            raise Problem("diverged", str(error)) from error
        if isinstance(error, apsw.FullError):
            raise Problem("storage-failed", f"{self._node.name}: {error}") from error
