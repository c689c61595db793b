"""Messages from a catalog node to its peer and to the frontends: names, timeouts, shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from catalog.model import Entry, decode_entries
from catalog.replication import Promise, Record, View
from common.peer import NoAnswer, Peer, Response
from common.position import Position

SUSPICION_S = 1.5  # silence for this long means: not there
ASK_TIMEOUT_S = 1.0
SLOW_TIMEOUT_S = 30.0  # snapshots, digests
SNAPSHOT_CHUNK_BYTES = 1024 * 1024


class Transport:
    """What a catalog node can say to others."""

    def __init__(self, peer: Peer, frontends: Mapping[str, Peer]) -> None:
        self._peer = peer
        self._frontends = frontends

    def _ask(self, what: str, timeout_s: float, **document: Any) -> Any:
        path = f"/replication/{what}"
        return _json(
            self._peer, self._peer.call("POST", path, timeout_s=timeout_s, document=document)
        )

    def state(self) -> View:
        """Ask the peer who it is and what it holds."""
        return View.parse(self._ask("state", ASK_TIMEOUT_S))

    def promise(self, promise: Promise) -> View:
        """Ask the peer to promise an epoch; its view is of the moment of the promise."""
        return View.parse(
            self._ask("promise", SUSPICION_S, epoch=promise.epoch, candidate=promise.candidate)
        )

    def follow(self, cluster: str, record: Record, end: Position) -> None:
        """Have the peer enter an epoch as the replica."""
        self._ask("follow", SUSPICION_S, cluster=cluster, record=record.document(), end=list(end))

    def prepare(self, epoch: int, prev: Position, entry: Entry, committed: int) -> None:
        """Have the peer store an entry durably; returns when it has."""
        query = {
            "epoch": epoch, "committed": committed,
            "prev_epoch": prev.epoch, "prev_seq": prev.seq, "prev_hash": prev.hash,
        }  # fmt: skip
        answer = self._peer.call(
            "POST", "/replication/prepare", timeout_s=SUSPICION_S, query=query, body=entry.encode()
        )
        if _json(self._peer, answer).get("position") != list(entry.position):
            raise NoAnswer(f"{self._peer.name} acknowledged something else than {entry.position}")

    def commit(self, epoch: int, committed: Position) -> View:
        """Tell the peer what is committed (also the heartbeat); return its view."""
        return View.parse(self._ask("commit", SUSPICION_S, epoch=epoch, position=list(committed)))

    def digest(self) -> tuple[Position, str]:
        """Ask for the hash of the peer's tables, and the position it is of."""
        document = self._ask("digest", SLOW_TIMEOUT_S)
        return Position(*document["position"]), document["digest"]

    def entries(self, after: int) -> list[Entry]:
        """Fetch log entries; raises `too-far-behind` when the peer's log begins later."""
        answer = self._peer.call(
            "GET", "/replication/entries", timeout_s=SUSPICION_S, query={"after": after}
        )
        return list(decode_entries(answer.body))

    def prepared(self) -> Entry | None:
        """Fetch the peer's prepared entry."""
        answer = self._peer.call("GET", "/replication/prepared", timeout_s=SUSPICION_S)
        return next(decode_entries(answer.body), None)

    def fetch_snapshot(self, path: Path) -> None:
        """Copy the peer's database, as it is at one moment, into a file."""
        made = self._ask("snapshot", SLOW_TIMEOUT_S)
        seen = hashlib.sha256()
        with path.open("wb") as file:
            while file.tell() < made["bytes"]:
                answer = self._peer.call(
                    "GET", f"/replication/snapshot/{made['id']}",
                    timeout_s=SLOW_TIMEOUT_S, query={"offset": file.tell()},
                )  # fmt: skip
                if not answer.body:
                    break
                seen.update(answer.body)
                file.write(answer.body)
        if seen.hexdigest() != made["sha256"]:
            raise NoAnswer(f"the snapshot from {self._peer.name} arrived damaged")

    def invalidate(self, frontend: str, session: str, entry: Entry, epoch: int) -> bool:
        """Tell a frontend what is about to change; return whether that session acknowledged it."""
        _, seq, digest = entry.position
        message = {
            "session": session, "epoch": epoch, "seq": seq, "hash": digest,
            "keys": list(entry.keys),
        }  # fmt: skip
        peer = self._frontends[frontend]
        answer = _json(peer, peer.call(
            "POST", "/internal/invalidate", timeout_s=ASK_TIMEOUT_S, document=message
        ))  # fmt: skip
        same = (answer.get("seq"), answer.get("hash")) == (seq, digest)
        return answer.get("acknowledged") is True and same


def _json(peer: Peer, answer: Response) -> dict[str, Any]:
    """Return the document of an answer; what is none is no answer of ours."""
    try:
        document = answer.json()
    except ValueError as error:
        raise NoAnswer(f"{peer.name} answered with something that is not ours") from error
    if not isinstance(document, dict):
        raise NoAnswer(f"{peer.name} answered with something that is not ours")
    return document
