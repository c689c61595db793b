"""Subscribes to a shop like a frontend, is told what changes, and reads it at both catalogs.

Law: what is told is noted before it is acknowledged; a renewal confirms only what was read before
it was sent. What follows from both is judged by `audit.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any, Self
from urllib.parse import quote

from common.auth import Signer
from common.errors import Problem
from common.peer import Http, Peer, PeerDown, Response
from tests.support.audit import Audit, Seen

HEARTBEAT_S = 0.2
CALL_S = 0.6
READ_EVERY_S = 0.02
AGAIN_S = 0.05
TRIES = 12  # a key whose entry is never seen: its write was dropped, or its catalog is away
SHOWN = 200


class Auditor:
    """One subscriber, named like a frontend of the configuration; `with` starts and ends it."""

    def __init__(
        self,
        name: str,
        address: str,
        port: int,
        catalogs: Mapping[str, str],
        secret: str,
        http: Http,
    ) -> None:
        self.name = name
        self.signer = Signer(name, secret)
        self._catalogs = {
            node: Peer(node, url, http=http, signer=self.signer, cluster=lambda: "")
            for node, url in catalogs.items()
        }
        self._lives = dict.fromkeys(catalogs, 0)
        self._audit = Audit()
        self._lock = threading.Lock()
        self._session: tuple[str, str] | None = None  # its id, and the catalog that granted it
        self._wanted: dict[str, OrderedDict[str, tuple[int, int]]] = {
            node: OrderedDict() for node in catalogs
        }
        self._stopping = threading.Event()
        self._server = _Server((address, port), _Handler) if port else None
        if self._server:
            self._server.auditor = self
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        jobs: list[Callable[[], None]] = [self._keep_session]
        jobs += [lambda node=node: self._read_again(node) for node in self._catalogs]  # type: ignore[misc]
        if self._server:
            jobs.append(self._server.serve_forever)
        self._threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        for thread in self._threads:
            thread.join(10)

    # --- what others see of it ---

    @property
    def violations(self) -> list[str]:
        """Return what was wrong."""
        with self._lock:
            return list(self._audit.violations)

    def figures(self) -> dict[str, int]:
        """Return how much it has done."""
        audit = self._audit
        with self._lock:
            return {
                "told": audit.told_entries, "reads": audit.reads, "comparisons": audit.compared,
            }  # fmt: skip

    def lost_its_disk(self, node: str) -> None:
        """A catalog that is dead now comes back with nothing: it may forget what it has shown."""
        with self._lock:
            self._lives[node] += 1

    def invalidate(self, told: Mapping[str, Any]) -> dict[str, Any]:
        """Note what is about to change; answer the leader as a frontend does."""
        with self._lock:
            ours = self._audit.told(told["session"], told["seq"], told["hash"], told["keys"])
            for key in told["keys"]:
                if path_of(key):
                    self._want(key, told["seq"])
        return {"acknowledged": ours, "seq": told["seq"], "hash": told["hash"]}

    def status(self) -> dict[str, Any]:
        """Answer what `/cluster` shows."""
        state = "caching" if self._session else "no session"
        return {"node": self.name, "role": "frontend", "state": state}

    # --- the session ---

    def _keep_session(self) -> None:
        while not self._stopping.wait(HEARTBEAT_S):
            self.tick()

    def tick(self) -> None:
        """Renew the session, or get one from whoever leads."""
        if self._session is None:
            self._register()
            return
        session, grantor = self._session
        sent = monotonic()
        try:
            self._call(grantor, f"/sessions/{session}/renew", {})
        except PeerDown:
            return
        except Problem as problem:
            if problem.code != "unavailable":
                self._end()
            return
        with self._lock:
            self._audit.confirmed(sent)

    def _register(self) -> None:
        for node in self._catalogs:
            try:
                grant = self._call(node, "/sessions", {"name": self.name}).json()
            except (PeerDown, Problem):
                continue
            with self._lock:
                self._session = (grant["session"], node)
                self._audit.installed(grant["session"], grant["floors"])
            return

    def _end(self) -> None:
        with self._lock:
            over, self._session = self._session, None
            self._audit.ended()
        if over is not None:  # or a write would wait for its lease
            session, grantor = over
            with suppress(PeerDown, Problem):
                self._call(grantor, f"/sessions/{session}/surrender", {})

    def _call(self, node: str, path: str, document: Mapping[str, Any]) -> Response:
        return self._catalogs[node].call("POST", path, document=document, timeout_s=CALL_S)

    # --- reading again ---

    def _want(self, key: str, seq: int) -> None:
        for wanted in self._wanted.values():
            before, _ = wanted.get(key, (0, 0))
            wanted[key] = (max(seq, before), TRIES)

    def _read_again(self, node: str) -> None:
        while not self._stopping.wait(READ_EVERY_S):
            if not self.read_next(node):
                self._stopping.wait(AGAIN_S)

    def read_next(self, node: str) -> bool:
        """Read what has waited longest; return whether it showed the entry that was told of."""
        with self._lock:
            if not self._wanted[node]:
                return False
            key, (seq, tries) = self._wanted[node].popitem(last=False)
        seen = self.read(node, key)
        if seen is not None and seen.as_of >= seq:
            return True
        with self._lock:
            if tries > 1 and key not in self._wanted[node]:
                self._wanted[node][key] = (seq, tries - 1)
        return False

    def read(self, node: str, key: str) -> Seen | None:
        """Read a key at a catalog and have it judged; None: it could not say."""
        life, began = self._lives[node], monotonic()
        try:
            answer = self._catalogs[node].call("GET", path_of(key), timeout_s=CALL_S)
        except (PeerDown, Problem):
            return None
        epoch, as_of = int(answer.header("bazar-epoch")), int(answer.header("bazar-as-of"))
        body = hashlib.blake2b(answer.body, digest_size=12).hexdigest()
        shown = f"{body} {answer.body[:SHOWN].decode('utf-8', 'replace')}"
        seen = Seen(key, node, life, epoch, as_of, shown, began, monotonic())
        with self._lock:
            self._audit.saw(seen)
        return seen


def path_of(key: str) -> str:
    """Return where a key can be read; the empty string for one that is not read again."""
    kind, _, name = key.partition(":")
    paths = {"book": f"/books/{name}", "topic": f"/search?topic={quote(name, safe='')}"}
    return paths.get(kind, "/books?limit=200" if key == "text" else "")


class _Server(ThreadingHTTPServer):
    """The hook's server. A call is a thread; that is enough for one leader."""

    daemon_threads = True
    auditor: Auditor

    def handle_error(self, *where: Any) -> None:
        """Pass over callers that were killed; anything else is a defect of ours."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(*where)


class _Handler(BaseHTTPRequestHandler):
    """Signed calls only. (The names of the methods are http.server's.)"""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self._answer("POST", body, lambda: self.server.auditor.invalidate(json.loads(body)))

    def do_GET(self) -> None:
        self._answer("GET", b"", self.server.auditor.status)

    def _answer(self, method: str, body: bytes, answer: Callable[[], dict[str, Any]]) -> None:
        try:
            self.server.auditor.signer.check(self.headers, method, self.path, body)
            status, document = 200, answer()
        except Problem as problem:
            status, document = problem.status, problem.body()
        data = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
