"""Messages from a catalog node to its peer and to the frontends: names, timeouts, shapes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from catalog.membership import Candidacy
from catalog.model import Entry, decode_entries
from catalog.replication import Record, View
from common.peer import Answered, Calls, NoAnswer, Peer, Response
from common.position import Position

SUSPICION_S = 1.5  # silence for this long means: not there
ASK_TIMEOUT_S = 1.0
LEASE_TIMEOUT_S = 0.4  # for what is asked again in a moment
SLOW_TIMEOUT_S = 30.0  # snapshots, digests
SNAPSHOT_CHUNK_BYTES = 1024 * 1024


class Transport:
    """What a catalog node can say to others."""

    def __init__(self, others: Sequence[Peer], frontends: Mapping[str, Peer]) -> None:
        """`others` are the other catalog and, after it, the backup server if there is one."""
        self._others = {other.name: other for other in others}
        self._peer = others[0]
        self._frontends = frontends

    def _ask(self, to: str, what: str, timeout_s: float, **document: Any) -> Any:
        other = self._others[to]
        path = f"/replication/{what}"
        return _json(other, other.call("POST", path, timeout_s=timeout_s, document=document))

    def state(self, to: str, timeout_s: float = ASK_TIMEOUT_S) -> View:
        """Ask another one who it is and what it holds."""
        return View.parse(self._ask(to, "state", timeout_s))

    def promise(self, to: str, asked: Candidacy) -> View:
        """Ask for the promise of an epoch; the view is of the moment of the promise."""
        return View.parse(self._ask(to, "promise", SUSPICION_S, **asked.document()))

    def follow(self, to: str, cluster: str, record: Record, end: Position, tail: Position) -> None:
        """Have another one enter an epoch, which begins at `end`; beyond it only what leads up to
        `tail` stands.
        """
        self._ask(
            to, "follow", SUSPICION_S, cluster=cluster, record=record.document(), end=list(end),
            tail=list(tail),
        )  # fmt: skip

    def lease(self, to: str, epoch: int) -> bool | None:
        """Ask the leader for the right to answer reads; return whether it was granted (None: not
        yet, for the leader has yet to enter this epoch itself).
        """
        answer = self._ask(to, "lease", LEASE_TIMEOUT_S, epoch=epoch)
        return None if answer.get("epoch", epoch) < epoch else answer.get("granted") is True

    def lead(self, to: str, epoch: int) -> None:
        """Ask the second of an epoch to lead the next one."""
        self._ask(to, "lead", ASK_TIMEOUT_S, epoch=epoch)

    def release(self, to: str, epoch: int) -> None:
        """Let the backup delete what it kept: both catalogs have it."""
        self._ask(to, "release", ASK_TIMEOUT_S, epoch=epoch)

    def prepare(
        self, calls: Calls, to: str, epoch: int, prev: Position, entry: Entry,
        done: Callable[[Callable[[], None]], None],
    ) -> None:  # fmt: skip
        """Have another one store an entry durably; `done` gets what returns if it has."""
        second = self._others[to]
        query = {
            "epoch": epoch, "committed": prev.seq,
            "prev_epoch": prev.epoch, "prev_seq": prev.seq, "prev_hash": prev.hash,
        }  # fmt: skip

        def stored(answered: Answered) -> None:
            if _json(second, answered()).get("position") != list(entry.position):
                raise NoAnswer(f"{to} acknowledged something else than {entry.position}")

        second.begin(
            calls, "/replication/prepare", lambda answered: done(lambda: stored(answered)),
            timeout_s=SUSPICION_S, query=query, body=entry.encode(),
        )  # fmt: skip

    def commit(
        self, to: str, epoch: int, committed: Position, timeout_s: float = SUSPICION_S
    ) -> View:
        """Tell another one what is committed (also the heartbeat); return its view."""
        return View.parse(self._ask(to, "commit", timeout_s, epoch=epoch, position=list(committed)))

    def digest(self) -> tuple[Position, str]:
        """Ask for the hash of the peer's tables, and the position it is of."""
        document = self._ask(self._peer.name, "digest", SLOW_TIMEOUT_S)
        return Position(*document["position"]), document["digest"]

    def entries(self, to: str, after: int) -> list[Entry]:
        """Fetch log entries; raises `too-far-behind` when that log begins later."""
        answer = self._others[to].call(
            "GET", "/replication/entries", timeout_s=SUSPICION_S, query={"after": after}
        )
        return list(decode_entries(answer.body))

    def prepared(self) -> Entry | None:
        """Fetch the peer's prepared entry."""
        answer = self._peer.call("GET", "/replication/prepared", timeout_s=SUSPICION_S)
        return next(decode_entries(answer.body), None)

    def fetch_snapshot(self, path: Path) -> None:
        """Copy the peer's database, as it is at one moment, into a file."""
        made = self._ask(self._peer.name, "snapshot", SLOW_TIMEOUT_S)
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

    def invalidate(
        self, calls: Calls, frontend: str, session: str, entry: Entry, epoch: int,
        done: Callable[[Callable[[], bool]], None],
    ) -> None:  # fmt: skip
        """Tell a frontend what is about to change; `done` gets what returns whether that session
        acknowledged it.
        """
        _, seq, digest = entry.position
        message = {
            "session": session, "epoch": epoch, "seq": seq, "hash": digest,
            "keys": list(entry.keys),
        }  # fmt: skip
        peer = self._frontends[frontend]

        def acknowledged(answered: Answered) -> bool:
            answer = _json(peer, answered())
            same = (answer.get("seq"), answer.get("hash")) == (seq, digest)
            return answer.get("acknowledged") is True and same

        peer.begin(
            calls, "/internal/invalidate", lambda answered: done(lambda: acknowledged(answered)),
            timeout_s=ASK_TIMEOUT_S, document=message,
        )  # fmt: skip


def _json(peer: Peer, answer: Response) -> dict[str, Any]:
    """Return the document of an answer; what is none is no answer of ours."""
    try:
        document = answer.json()
    except ValueError as error:
        raise NoAnswer(f"{peer.name} answered with something that is not ours") from error
    if not isinstance(document, dict):
        raise NoAnswer(f"{peer.name} answered with something that is not ours")
    return document
