"""What the two catalogs say to each other over HTTP: state, promise, follow, prepare, commit, and
copies.
"""

from __future__ import annotations

from flask import Flask, Response, request

from catalog import replica, store
from catalog.model import decode_entries
from catalog.node import Node
from catalog.replication import Record
from catalog.routes import count_of
from catalog.snapshots import Snapshots
from common.errors import Problem
from common.position import Position
from common.web import json_answer, json_body

ENTRIES_BYTES_MAX = 4 * 1024 * 1024
BYTES = "application/octet-stream"


def add_replication(app: Flask, node: Node) -> None:
    """Add what a leader says to its replica, and what both ask before one leads."""

    @app.post("/replication/state")
    def state() -> Response:
        return json_answer(node.view().document())

    @app.post("/replication/promise")
    def promise() -> Response:
        body = json_body()
        return json_answer(
            replica.promise(node, int(body["epoch"]), str(body["candidate"])).document()
        )

    @app.post("/replication/follow")
    def follow() -> Response:
        body = json_body()
        replica.follow(node, body["cluster"], Record(**body["record"]), Position(*body["end"]))
        return json_answer({})

    @app.post("/replication/prepare")
    def prepare() -> Response:
        given = request.args
        entry = next(decode_entries(request.get_data()))
        prev = Position(int(given["prev_epoch"]), int(given["prev_seq"]), given["prev_hash"])
        replica.prepare(node, int(given["epoch"]), prev, entry, int(given["committed"]))
        return json_answer({"position": list(entry.position)})

    @app.post("/replication/commit")
    def commit() -> Response:
        body = json_body()
        view = replica.commit(node, int(body["epoch"]), Position(*body["position"]))
        return json_answer(view.document())


def add_copying(app: Flask, node: Node, snapshots: Snapshots) -> None:
    """Add what a node asks that is behind, empty, or about to compare itself."""

    @app.post("/replication/digest")
    def digest() -> Response:
        position, digest = node.digest()
        return json_answer({"position": list(position), "digest": digest})

    @app.get("/replication/entries")
    def entries() -> Response:
        after = count_of(request.args, "after", 0)
        with node.db.read() as db:
            found = store.entries_after(db, after, ENTRIES_BYTES_MAX)
        if found is None:
            raise Problem("too-far-behind", f"the log here no longer holds entry {after}")
        return Response(found, content_type=BYTES)

    @app.get("/replication/prepared")
    def prepared() -> Response:
        with node.db.read() as db:
            entry = store.prepared(db)
        return Response(entry.encode() if entry else b"", content_type=BYTES)

    @app.post("/replication/snapshot")
    def snapshot() -> Response:
        return json_answer(snapshots.make())

    @app.get("/replication/snapshot/<snapshot_id>")
    def snapshot_part(snapshot_id: str) -> Response:
        part = snapshots.part(snapshot_id, count_of(request.args, "offset", 0))
        return Response(part, content_type=BYTES)
