"""Snapshots of the database for a peer that is empty or too far behind: one file, fetched piece by
piece.
"""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path
from typing import Any

from catalog.node import Node
from catalog.transport import SNAPSHOT_CHUNK_BYTES
from common.errors import Problem


class Snapshots:
    """The one snapshot on offer; making another replaces it."""

    def __init__(self, node: Node, folder: Path) -> None:
        self._node = node
        self._path = folder / "snapshot.db"
        self._lock = threading.Lock()
        self._id = ""

    def make(self) -> dict[str, Any]:
        """Copy what is committed; return its id, size and SHA-256."""
        if self._node.record.record is None:
            raise Problem("unavailable", f"{self._node.name} has nothing to copy")
        with self._lock:
            self._node.db.copy_to(self._path)
            self._id = f"{self._node.random.getrandbits(64):016x}"
            with self._path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return {"id": self._id, "bytes": self._path.stat().st_size, "sha256": digest}

    def part(self, snapshot_id: str, offset: int) -> bytes:
        """Return the piece at an offset; empty behind the end."""
        with self._lock:
            if snapshot_id != self._id:
                raise Problem("not-found", "this snapshot has been replaced by a newer one")
            with self._path.open("rb") as file:
                file.seek(offset)
                return file.read(SNAPSHOT_CHUNK_BYTES)

    def discard(self) -> None:
        """Delete the file."""
        with self._lock:
            self._id = ""
            self._path.unlink(missing_ok=True)
