"""Wires one order server: `create_app` builds its parts and returns, and starts nothing."""

from __future__ import annotations

from pathlib import Path
from random import Random
from typing import Any

import apsw
from flask import Flask

from common.auth import Signer
from common.clock import Clock
from common.config import Settings
from common.otlp import export_tickers
from common.peer import Http, Peer
from common.service import (
    INTERNAL_BODY_BYTES_MAX,
    PUBLIC_BODY_BYTES_MAX,
    Lane,
    Service,
    StartRefused,
)
from common.tasks import Tasks
from common.tracer import Tracer
from common.web import OPEN_PATHS, Readiness, direct_of, new_app
from order.desk import add_desk
from order.follower import Follower
from order.ledger import Ledger
from order.metrics import Metrics
from order.routes import add_routes
from order.sales import Sales
from order.store import Store, open_database

FILE_NAME = "orders.db"
LANES = {
    "sales": Lane(workers=64, waiting_max=512, body_bytes_max=INTERNAL_BODY_BYTES_MAX),
    "reads": Lane(workers=16, waiting_max=256, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
    "health": Lane(workers=2, waiting_max=64, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
}


def create_app(
    settings: Settings, *, clock: Clock, http: Http, tasks: Tasks, random: Random
) -> Flask:
    """Build an order server; raise `StartRefused` when its disk cannot be used.

    `random` makes the ids of spans only: order ids are the leader's.
    """
    store = _open_store(settings.data_dir / FILE_NAME)
    signer = Signer(settings.node, settings.cluster_secret)
    metrics = Metrics()
    tracer = Tracer(settings.node, "order", clock=clock, random=random)

    def cluster() -> str:
        return store.place.cluster

    catalogs = {
        name: Peer(name, url, http=http, signer=signer, cluster=cluster, tracer=tracer)
        for name, url in settings.catalogs.items()
    }
    ledger = Ledger(catalogs, clock)
    follower = Follower(ledger, store, clock=clock, tasks=tasks, metrics=metrics)
    sales = Sales(catalogs, store, clock=clock, metrics=metrics, tracer=tracer)

    app = new_app(
        "order",
        clock=clock,
        signer=signer,
        cluster=cluster,
        internal=lambda path: path not in OPEN_PATHS,
        readiness=lambda: readiness(follower, ledger),
        registry=metrics.registry,
        tracer=tracer,
    )
    add_routes(
        app,
        sales=sales,
        tracer=tracer,
        follower=follower,
        store=store,
        status=lambda: status(settings.node, follower, sales),
    )
    add_desk(app, store, clock)
    app.extensions["bazar.follower"] = follower
    app.extensions["bazar"] = Service(
        flask=app,
        lanes=LANES,
        lane_of=lane_of,
        direct=direct_of(app).answer,
        tickers=export_tickers(settings.otlp_endpoint, tracer.spans, http, metrics.registry),
        loops={"follower": follower.run},
        stop=follower.stop,
        close=store.close,
    )
    return app


def _open_store(path: Path) -> Store:
    try:
        return Store(open_database(path))
    except (apsw.Error, OSError) as error:
        raise StartRefused(f"{path.name} cannot be used: {error}") from error


def lane_of(method: str, path: str) -> str:
    """Return the lane of a request: a sale may wait for the leader, health waits for nobody."""
    if path == "/sales":
        return "sales"
    return "health" if path == "/status" or path in OPEN_PATHS else "reads"


def readiness(follower: Follower, ledger: Ledger) -> Readiness:
    """Reads while log and ledger belong together; writes while some catalog answers."""
    if follower.refusing is not None:
        return Readiness(reads=False, writes=False, why=follower.refusing)
    if not ledger.reachable:
        return Readiness(reads=True, writes=False, why="no catalog server has answered lately")
    return Readiness(reads=True, writes=True, why="")


def status(node: str, follower: Follower, sales: Sales) -> dict[str, Any]:
    """Return what `/cluster` shows; the position is that of the last ledger that is all here."""
    seen, lag = follower.seen, follower.lag
    complete = seen is not None and lag == 0 and seen.epoch is not None and seen.as_of is not None
    return {
        "node": node,
        "role": "order",
        "epoch": None if seen is None else seen.epoch,
        "position": [seen.epoch, seen.as_of] if seen is not None and complete else None,
        "lag": lag,
        "lease": None,
        "state": state(follower),
        "leader": sales.leader,
        "why": follower.refusing or "",
    }


def state(follower: Follower) -> str:
    """Return one word for what the node does."""
    if follower.refusing is not None:
        return "refusing"
    if follower.lag is None:
        return "starting"
    return "following" if follower.lag == 0 else "catching up"
