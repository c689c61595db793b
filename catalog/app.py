"""The catalog's composition root: everything is wired here, nothing runs yet."""

from __future__ import annotations

from random import Random

import apsw
from flask import Flask
from prometheus_client import CollectorRegistry, Gauge

from catalog import bookfile, layouts
from catalog.admission import Admission
from catalog.audit import Audit
from catalog.audit_routes import add_audit
from catalog.desk import add_desk
from catalog.handover import Handover
from catalog.model import Operation
from catalog.node import Node
from catalog.pair import Pair
from catalog.peer_routes import add_copying, add_operating, add_replication
from catalog.promotion import Promotion
from catalog.quick import Quick
from catalog.read_routes import add_reads
from catalog.recovery import Recovery
from catalog.replication import LEADING
from catalog.session_routes import add_sessions
from catalog.sessions import HEARTBEAT_S
from catalog.snapshots import Snapshots
from catalog.transport import Transport
from catalog.trio import Trio
from catalog.write_routes import IMPORT_ROWS_MAX, Writes
from catalog.writer import Writer
from common.auth import Signer
from common.clock import Clock
from common.config import Settings
from common.otlp import export_tickers
from common.peer import CallsHttp, Peer
from common.service import (
    INTERNAL_BODY_BYTES_MAX,
    PUBLIC_BODY_BYTES_MAX,
    Lane,
    Service,
    StartRefused,
    Ticker,
)  # fmt: skip
from common.tasks import Tasks
from common.tracer import Tracer
from common.web import OPEN_PATHS, direct_of, new_app

SEED_KEY = "seed"
SEED_WAIT_S = 1.0

LANES = {
    "reads": Lane(workers=16, waiting_max=512, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
    "writes": Lane(workers=96, waiting_max=512, body_bytes_max=INTERNAL_BODY_BYTES_MAX),
    "replication": Lane(workers=6, waiting_max=64, body_bytes_max=INTERNAL_BODY_BYTES_MAX),
    "sessions": Lane(workers=4, waiting_max=64, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
}


def lane_of(method: str, path: str) -> str:
    """Name the lane of a request."""
    if path.startswith("/replication/"):
        return "replication"
    if path.startswith("/sessions"):
        return "sessions"
    return "writes" if path == "/operations" else "reads"


def create_app(
    settings: Settings, *, clock: Clock, http: CallsHttp, tasks: Tasks, random: Random
) -> Flask:
    """Build one catalog node; raise `StartRefused` when its disk cannot be used."""
    first = next(iter(settings.catalogs))
    other = next(name for name in settings.catalogs if name != settings.node)
    node = _open_node(settings, other, clock, random)
    seed = _read_seed(settings) if node.end().seq == 0 else []
    signer = Signer(settings.node, settings.cluster_secret)
    tracer = Tracer(settings.node, "catalog", clock=clock, random=random)

    def peer(name: str, url: str) -> Peer:
        return Peer(
            name, url, http=http, signer=signer, cluster=lambda: node.record.cluster, tracer=tracer
        )

    frontends = {name: peer(name, url) for name, url in settings.frontends.items()}
    others = [
        peer(name, url)
        for name, url in ({other: settings.catalogs[other]} | dict(settings.backup)).items()
    ]
    transport = Transport(others, frontends)
    admission = Admission(node, tasks, tracer)
    writer = Writer(node, admission, transport, tasks, http.calls(tasks), tracer)
    recovery = _recovery(node, transport, settings, first)
    snapshots = Snapshots(node, settings.data_dir)

    def tick() -> None:
        recovery.tick()
        if node.status == LEADING and node.end().seq == 0:
            _open_shop(admission, Operation(SEED_KEY, "import", {"rows": seed}), clock)

    def close() -> None:
        snapshots.discard()
        node.close()

    registry = CollectorRegistry()
    _gauges(registry, node, admission)
    app = new_app(
        "catalog", clock=clock, signer=signer, cluster=lambda: node.record.cluster,
        internal=lambda path: path not in OPEN_PATHS, readiness=node.readiness, registry=registry,
        tracer=tracer,
    )  # fmt: skip
    add_reads(app, node)
    writes = Writes(app, admission, tracer)
    add_sessions(app, node, settings.frontends)
    add_desk(app, node)
    add_audit(app, Audit(node))
    add_replication(app, node, tracer)
    add_copying(app, node, snapshots)
    add_operating(app, Handover(node, transport, tasks), Promotion(node, transport, tasks))
    app.extensions["bazar.node"] = node
    app.extensions["bazar"] = Service(
        app, LANES, lane_of,
        tickers=[
            Ticker("recovery", HEARTBEAT_S, tick),
            *export_tickers(settings.otlp_endpoint, tracer.spans, http, registry),
        ],
        at_once=Quick(node, signer, tracer).answer, direct=direct_of(app).answer,
        later=writes.take,
        loops={"writer": writer.run, "deadlines": admission.deadlines.run},
        stop=writer.stop, close=close,
    )  # fmt: skip
    return app


def _recovery(node: Node, transport: Transport, settings: Settings, first: str) -> Recovery:
    for backup in settings.backup:
        node.has_backup = True
        return Trio(node, transport, backup=backup, first=first, folder=settings.data_dir)
    return Pair(node, transport, first=first, folder=settings.data_dir)


def _open_node(settings: Settings, peer: str, clock: Clock, random: Random) -> Node:
    folder = settings.data_dir
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Node(settings.node, peer, folder, settings.cache_lease_s, clock=clock, random=random)
    except (apsw.Error, OSError) as error:  # no room, above all
        raise StartRefused(f"{folder} cannot be used: {error}") from error


def _read_seed(settings: Settings) -> list[layouts.Book]:
    """Return the seed catalogue, one operation; raise `StartRefused` when it is not usable."""
    if settings.seed_file is None:
        return []
    try:
        seed = bookfile.read_books(settings.seed_file)
    except bookfile.BadFile as error:
        raise StartRefused(f"the seed catalogue is not usable: {error}") from error
    if len(seed) > IMPORT_ROWS_MAX:
        raise StartRefused(
            f"the seed catalogue {settings.seed_file.name} has {len(seed)} books: at most"
            f" {IMPORT_ROWS_MAX} open a shop; load the others with `make import`"
        )
    return seed


def _open_shop(admission: Admission, seed: Operation, clock: Clock) -> None:
    """Write entry 1. A log that holds it is never seeded again; when the replica is away, the next
    tick tries again.
    """
    admission.submit([seed], clock.now() + SEED_WAIT_S)


def _gauges(registry: CollectorRegistry, node: Node, admission: Admission) -> None:
    def gauge(name: str, text: str) -> Gauge:
        return Gauge(f"bazar_catalog_{name}", text, registry=registry)

    gauge("epoch", "epoch this disk is in").set_function(lambda: node.epoch)
    gauge("seq", "last entry applied").set_function(lambda: node.end().seq)
    gauge("leads", "1 while this node leads").set_function(lambda: float(node.leads))
    gauge("peer_following", "1 while the replica is in sync").set_function(
        lambda: float(node.peer_following)
    )
    gauge("queued", "operations waiting for the writer").set_function(lambda: len(admission.queue))
    gauge("sessions", "cache leases granted").set_function(
        lambda: len(node.sessions.alive(node.clock.now()))
    )
