"""The backup server: `python -m catalog.backup --node NAME [--config FILE]`. Its routes, and where
it is wired; the rules are those of `witness.py`.

It takes the messages that a replica takes, in the same shapes (docs/wire.md).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from random import Random
from typing import Any

import apsw
from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Gauge

from catalog.disk import Halted
from catalog.kept import open_files
from catalog.membership import Candidacy
from catalog.model import decode_entries
from catalog.peer_routes import BYTES, ENTRIES_BYTES_MAX, well_formed
from catalog.replication import KEEPING, Record, View
from catalog.witness import Witness
from common import fields
from common.auth import Signer
from common.clock import Clock
from common.compact import compact
from common.config import Settings
from common.direct import Asked
from common.otlp import export_tickers
from common.peer import Http
from common.position import Position
from common.serve import main
from common.service import (
    INTERNAL_BODY_BYTES_MAX,
    PUBLIC_BODY_BYTES_MAX,
    Lane,
    Service,
    StartRefused,
)
from common.tasks import Event, Tasks
from common.tracer import Tracer
from common.web import OPEN_PATHS, direct_of, json_answer, json_body, json_object, new_app

LANES = {
    "replication": Lane(workers=6, waiting_max=64, body_bytes_max=INTERNAL_BODY_BYTES_MAX),
    "health": Lane(workers=2, waiting_max=64, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
}


def lane_of(method: str, path: str) -> str:
    """Name the lane of a request."""
    return "replication" if path.startswith("/replication/") else "health"


def create_app(
    settings: Settings, *, clock: Clock, http: Http, tasks: Tasks, random: Random
) -> Flask:
    """Build the backup server; raise `StartRefused` when its disk cannot be used.

    `http` is for a collector of spans only: it calls no node.
    """
    ending = tasks.event()
    witness = _open(settings, clock, random, ending)
    tracer = Tracer(settings.node, "backup", clock=clock, random=random)
    registry = CollectorRegistry()
    _gauges(registry, witness)
    app = new_app(
        "backup", clock=clock, signer=Signer(settings.node, settings.cluster_secret),
        cluster=lambda: witness.record.cluster, internal=lambda path: path not in OPEN_PATHS,
        readiness=witness.readiness, registry=registry, tracer=tracer,
    )  # fmt: skip
    add_votes(app, witness)
    add_log(app, witness, tracer)
    app.extensions["bazar.witness"] = witness
    app.extensions["bazar"] = Service(
        app, LANES, lane_of, direct=direct_of(app).answer,
        tickers=export_tickers(settings.otlp_endpoint, tracer.spans, http, registry),
        loops={"disk": lambda: _wait_for_the_end(ending, witness)}, stop=ending.set,
        close=witness.close,
    )  # fmt: skip
    return app


def _open(settings: Settings, clock: Clock, random: Random, ending: Event) -> Witness:
    try:
        record, kept = open_files(settings.data_dir, random)
    except (apsw.Error, OSError) as error:
        raise StartRefused(f"{settings.data_dir} cannot be used: {error}") from error
    return Witness(settings.node, record, kept, clock=clock, on_halt=ending.set)


def _wait_for_the_end(ending: Event, witness: Witness) -> None:
    """End this process when its disk has failed: the next one reads what is really there."""
    ending.wait()
    if witness.halted:
        raise Halted(witness.halted)


def add_votes(app: Flask, witness: Witness) -> None:
    """Add what a candidate asks, and what its epoch begins with."""

    @app.post("/replication/state")
    def state() -> Response:
        return json_answer(witness.view().document())

    @app.post("/replication/promise")
    def promise() -> Response:
        with well_formed():
            asked = Candidacy.parse(json_body())
        return json_answer(witness.promise(asked).document())

    @app.post("/replication/follow")
    def follow() -> Response:
        with well_formed():
            body = json_body()
            cluster, record = str(body["cluster"]), _record(body["record"])
            end, tail = Position(*body["end"]), Position(*body["tail"])
            if tail.seq < end.seq or (tail.seq == end.seq and tail != end):
                raise ValueError("the tail lies before the end")
        witness.follow(cluster, record, end, tail)
        return json_answer({})

    @app.get("/status")
    def status() -> Response:
        return json_answer(_status(witness))


def add_log(app: Flask, witness: Witness, tracer: Tracer) -> None:
    """Add what the leader of an epoch says, and what a catalog asks that has been away."""

    @direct_of(app).post(app, "/replication/prepare")
    def prepare(asked: Asked) -> str:
        given = asked.query
        with well_formed():
            (entry,) = decode_entries(asked.body)
            prev = Position(int(given["prev_epoch"]), int(given["prev_seq"]), given["prev_hash"])
            epoch = int(given["epoch"])
        with tracer.span("keep and sync"):
            witness.prepare(epoch, prev, entry)
        return compact({"position": list(entry.position)})

    @direct_of(app).post(app, "/replication/commit")
    def commit(asked: Asked) -> str:
        with well_formed():
            body = json_object(asked.body)
            epoch, position = int(body["epoch"]), Position(*body["position"])
        return compact(witness.commit(asked.sender, epoch, position).document())

    @app.get("/replication/entries")
    def entries() -> Response:
        after = fields.count(request.args, "after", 0)
        return Response(witness.entries(after, ENTRIES_BYTES_MAX), content_type=BYTES)

    @app.post("/replication/release")
    def release() -> Response:
        with well_formed():
            epoch = int(json_body()["epoch"])
        witness.release(epoch)
        return json_answer({})


def _record(document: Any) -> Record:
    """Read a record, which is to be kept: more must be right about it than its members' names."""
    record = Record(**document)
    maps = (record.members, record.voters)
    if not all(isinstance(disks, dict) for disks in maps) or record.leader not in record.members:
        raise ValueError("not a record of an epoch")
    if not isinstance(record.epoch, int) or not isinstance(record.lease_s_max, int | float):
        raise ValueError("not a record of an epoch")
    return record


def _status(witness: Witness) -> dict[str, Any]:
    view = witness.view()
    return {
        "node": witness.name, "role": "backup", "epoch": witness.epoch,
        "position": list(view.end[:2]), "lag": None, "lease": witness.lease_left_s or None,
        "state": _state(witness, view), "why": witness.doing,
        "leader": view.record.leader if view.record else None, "disk": view.disk,
    }  # fmt: skip


def _state(witness: Witness, view: View) -> str:
    if view.record is None and not witness.halted:
        return "no vote"
    return witness.doing if view.status == KEEPING else view.status


def _gauges(registry: CollectorRegistry, witness: Witness) -> None:
    def gauge(name: str, text: str, value: Callable[[], float]) -> None:
        Gauge(f"bazar_backup_{name}", text, registry=registry).set_function(value)

    gauge("epoch", "last epoch heard of", lambda: witness.epoch)
    gauge("entries", "entries kept for a catalog that is away", lambda: witness.kept.entries)
    gauge("bytes", "bytes of these entries", lambda: witness.kept.size_bytes)


if __name__ == "__main__":
    sys.exit(main("backup", create_app, module="catalog.backup"))
