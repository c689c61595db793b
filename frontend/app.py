"""Wires one frontend: `create_app` builds its parts and returns, and starts nothing."""

from __future__ import annotations

import threading
from collections.abc import Collection, Mapping
from functools import partial
from random import Random
from typing import Any

from flask import Flask

from common.auth import Signer
from common.clock import Clock
from common.config import Settings
from common.otlp import export_tickers
from common.peer import Http, Peer
from common.service import INTERNAL_BODY_BYTES_MAX, PUBLIC_BODY_BYTES_MAX, Lane, Service, Ticker
from common.survey import Survey
from common.tasks import Tasks
from common.tracer import Tracer
from common.web import OPEN_PATHS, direct_of, new_app
from frontend import hook, page, traced
from frontend.api import Api
from frontend.apidocs import ApiDocs
from frontend.balancer import Balancer
from frontend.cache import Cache
from frontend.cluster import Cluster
from frontend.control.faults import controller_of
from frontend.control.requests import Traces
from frontend.control.tabs import Parts, add_control_room
from frontend.counter import Counter
from frontend.gateway import Group
from frontend.hits import Hits
from frontend.identity import Identity
from frontend.lease import HEARTBEAT_S, Lease
from frontend.metrics import Metrics
from frontend.operator_calls import OperatorCalls
from frontend.purchases import STUCK_S, Purchases
from frontend.reads import Answer, Reads
from frontend.serving import Serving
from frontend.shop import mistakes, storefront
from frontend.writes import Operations

LANES = {
    "hook": Lane(workers=4, waiting_max=256, body_bytes_max=INTERNAL_BODY_BYTES_MAX),
    "reads": Lane(workers=64, waiting_max=1024, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
    "purchases": Lane(workers=64, waiting_max=512, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
    "operator": Lane(workers=8, waiting_max=64, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
    "health": Lane(workers=4, waiting_max=64, body_bytes_max=PUBLIC_BODY_BYTES_MAX),
}
OPERATOR_READS, CONTROL_ROOM = ("/cluster", "/orders"), "/ops"


def create_app(
    settings: Settings, *, clock: Clock, http: Http, tasks: Tasks, random: Random
) -> Flask:
    """Build a frontend."""
    node = settings.node
    cache = Cache[Answer](settings.cache_capacity, now=clock.now, lock=threading.Lock())
    identity = Identity(http, settings.catalogs, lock=threading.Lock(), foreign=cache.end)
    signer = Signer(node, settings.cluster_secret)
    tracer = Tracer(node, "frontend", clock=clock, random=random, per_s=settings.traces_per_s)
    peers = _peers(settings, identity, signer, tracer)
    catalog_peers = {name: peers[name] for name in settings.catalogs}
    lease = Lease(node, cache, catalog_peers, clock=clock, lock=threading.Lock())
    status = partial(status_of, node, cache, lease, clock)
    cluster = Cluster(
        node, services_of(settings), peers, settings.catalogs,
        status=status, http=http,
        survey=Survey(clock=clock, tasks=tasks, lock=threading.Lock()),
    )  # fmt: skip
    metrics = Metrics(cache, clock)
    app = new_app(
        "frontend",
        clock=clock,
        signer=signer,
        cluster=identity.cluster,
        internal=lambda path: path in hook.PATHS,
        readiness=cluster.readiness,
        registry=metrics.registry,
        tracer=tracer,
        entry=partial(traced.begun, tracer),
    )
    metrics.watch(app)
    page.register(app)
    orders = _group(settings.orders, peers, clock)
    catalogs = _group(settings.catalogs, peers, clock)
    reads = Reads(
        node, catalogs, cache, clock=clock, tasks=tasks, lock=threading.Lock(), tracer=tracer
    )
    purchases = Purchases(
        orders, clock=clock, tasks=tasks, random=random, lock=threading.Lock(), tracer=tracer
    )
    operations = Operations(catalog_peers, lease, clock, random)
    counter = Counter(purchases, metrics, clock=clock, random=random, tracer=tracer)
    serving = Serving(reads, purchases, orders, clock, random)
    Api(serving).register(app)
    storefront.register(app, serving)
    OperatorCalls(
        operations, orders, cluster, token=settings.admin_token, clock=clock, random=random
    ).register(app)
    survey = Survey(clock=clock, tasks=tasks, lock=threading.Lock())
    traces = Traces(tracer, peers, settings.frontends, survey)
    add_control_room(
        app,
        Parts(
            cluster, catalogs, orders, cache, operations, traces,
            controller_of(settings, http, signer),
        ),
        settings,
        clock=clock, tasks=tasks, random=random,
    )  # fmt: skip
    hooked = hook.Hook(app, cache, status)
    ApiDocs(app).register()
    hits = Hits(cache, metrics.hits, tracer)
    app.extensions["bazar"] = Service(
        flask=app,
        lanes=LANES,
        lane_of=lane_of,
        tickers=(
            Ticker("lease", HEARTBEAT_S, lease.tick),
            Ticker("purchases", STUCK_S, purchases.tick),
            *export_tickers(settings.otlp_endpoint, tracer.spans, http, metrics.registry),
        ),
        leave=lease.stop,
        later=lambda call, reply: hooked.take(call, reply) or counter.take(call, reply),
        direct=direct_of(app).answer,
        explained=mistakes.at_the_door(app),
        at_once=hits.answer,
        again=hits,
        one_core=True,
    )
    return app


def _peers(
    settings: Settings, identity: Identity, signer: Signer, tracer: Tracer
) -> dict[str, Peer]:
    others = {**settings.frontends, **settings.catalogs, **settings.orders, **settings.backup}
    others.pop(settings.node, None)
    return {
        name: Peer(name, url, http=identity, signer=signer, cluster=identity.cluster, tracer=tracer)
        for name, url in others.items()
    }


def _group(names: Collection[str], peers: Mapping[str, Peer], clock: Clock) -> Group:
    balancer = Balancer(list(names), lock=threading.Lock())
    return Group({name: peers[name] for name in names}, balancer, clock)


def services_of(settings: Settings) -> dict[str, list[str]]:
    """Return service -> its nodes, as `/cluster` lists them."""
    return {
        "frontend": list(settings.frontends),
        "catalog": list(settings.catalogs),
        "order": list(settings.orders),
        "backup": list(settings.backup),
    }


def status_of(node: str, cache: Cache[Answer], lease: Lease, clock: Clock) -> dict[str, Any]:
    """Return what `/cluster` shows of this frontend."""
    held = cache.session()
    left_s = max(0.0, held.ends_at - clock.now()) if held else None
    return {
        "node": node,
        "role": "frontend",
        "epoch": held.epoch if held else None,
        "position": None,
        "lag": None,
        "lease": left_s,
        "state": state(cache),
        "leader": lease.leader(),
    }


def state(cache: Cache[Answer]) -> str:
    """Return in a word or two what this frontend does with its cache."""
    if cache.capacity <= 0:
        return "cache off"
    return "caching" if cache.alive() else "no lease: cache unused"


def lane_of(method: str, path: str) -> str:
    """Return the lane of a request: an invalidation waits for no other kind, health for nobody."""
    if path == hook.INVALIDATE:
        return "hook"
    if path in OPEN_PATHS or path == hook.STATUS:
        return "health"
    if method == "POST" and (path in ("/orders", "/checkout") or path.startswith("/purchase/")):
        return "purchases"
    if path == "/basket":
        return "reads"
    operator = path in OPERATOR_READS or path.startswith(CONTROL_ROOM)
    return "reads" if method in ("GET", "HEAD") and not operator else "operator"
