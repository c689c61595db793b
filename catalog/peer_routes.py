"""What the two catalogs say to each other over HTTP: state, promise, follow, prepare, commit, and
copies.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask, Response, g, request

from catalog import replica, store
from catalog.handover import Handover
from catalog.membership import Candidacy
from catalog.model import decode_entries
from catalog.node import Node
from catalog.promotion import Promotion
from catalog.replication import Record
from catalog.snapshots import Snapshots
from catalog.write_routes import ANSWER_MARGIN_S
from common import fields
from common.compact import compact
from common.direct import Asked
from common.errors import Problem
from common.position import Position
from common.tracer import Tracer
from common.web import direct_of, json_answer, json_body, json_object

ENTRIES_BYTES_MAX = 4 * 1024 * 1024
BYTES = "application/octet-stream"


def add_replication(app: Flask, node: Node, tracer: Tracer) -> None:
    """Add what a leader says to its replica, and what both ask before one leads."""

    @app.post("/replication/state")
    def state() -> Response:
        return json_answer(node.view().document())

    @app.post("/replication/promise")
    def promise() -> Response:
        with well_formed():
            asked = Candidacy.parse(json_body())
        return json_answer(replica.promise(node, asked).document())

    @app.post("/replication/follow")
    def follow() -> Response:
        with well_formed():
            body = json_body()
            cluster, record = str(body["cluster"]), Record(**body["record"])
            end, tail = Position(*body["end"]), Position(*body["tail"])
        replica.follow(node, cluster, record, end, tail)
        return json_answer({})

    @app.post("/replication/lease")
    def lease() -> Response:
        with well_formed():
            epoch = int(json_body()["epoch"])
        granted = replica.grant(node, epoch, g.sender)
        return json_answer({"granted": granted, "epoch": node.epoch})

    @app.post("/replication/lead")
    def lead() -> Response:
        with well_formed():
            epoch = int(json_body()["epoch"])
        replica.lead(node, epoch, g.sender)
        return json_answer({})

    @direct_of(app).post(app, "/replication/prepare")
    def prepare(asked: Asked) -> str:
        given = asked.query
        with well_formed():
            (entry,) = decode_entries(asked.body)
            prev = Position(int(given["prev_epoch"]), int(given["prev_seq"]), given["prev_hash"])
            epoch, committed = int(given["epoch"]), int(given["committed"])
        with tracer.span("store and sync"):
            replica.prepare(node, epoch, prev, entry, committed)
        return compact({"position": list(entry.position)})

    @direct_of(app).post(app, "/replication/commit")
    def commit(asked: Asked) -> str:
        with well_formed():
            body = json_object(asked.body)
            epoch, position = int(body["epoch"]), Position(*body["position"])
        with tracer.span("apply"):
            view = replica.commit(node, epoch, position)
        return compact(view.document())


def add_copying(app: Flask, node: Node, snapshots: Snapshots) -> None:
    """Add what a node asks that is behind, empty, or about to compare itself."""

    @app.post("/replication/digest")
    def digest() -> Response:
        node.let_join()  # first, so that no entry commits behind the digest on an older word
        position, digest = node.digest()
        return json_answer({"position": list(position), "digest": digest})

    @app.get("/replication/entries")
    def entries() -> Response:
        after = fields.count(request.args, "after", 0)
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
        part = snapshots.part(snapshot_id, fields.count(request.args, "offset", 0))
        return Response(part, content_type=BYTES)


def add_operating(app: Flask, handover: Handover, promotion: Promotion) -> None:
    """Add what an operator asks: of a leader, and of a catalog that is left alone for good."""

    @app.post("/replication/handover")
    def hand_over() -> Response:
        return json_answer({"leader": handover.run(g.until - ANSWER_MARGIN_S)})

    @app.post("/replication/promotion")
    def promote() -> Response:
        return json_answer(promotion.run(g.until - ANSWER_MARGIN_S).document())


@contextmanager
def well_formed() -> Iterator[None]:
    """Turn what is missing or of another shape into `invalid-request`: nothing was done yet."""
    try:
        yield
    except (KeyError, TypeError, ValueError) as error:
        raise Problem("invalid-request", f"not a message of ours: {error!r}") from error
