"""Puts the control room together: its tabs in their order."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from random import Random
from typing import Any

from flask import Flask

from common.clock import Clock
from common.config import Settings
from common.peer import Peer
from common.tasks import Tasks
from frontend.cache import Cache
from frontend.cluster import Cluster
from frontend.control.arrivals import Arrivals
from frontend.control.audit import Audit
from frontend.control.cache_tab import CacheTab
from frontend.control.faults import Faults
from frontend.control.login import Login
from frontend.control.orders import Orders
from frontend.control.overview import Overview
from frontend.control.requests import Requests, Traces
from frontend.control.room import Room
from frontend.control.stock import Stock
from frontend.gateway import Group
from frontend.writes import Operations


@dataclass(frozen=True)
class Parts:
    """What the control room shows and uses of a frontend."""

    cluster: Cluster
    catalogs: Group
    orders: Group
    cache: Cache[Any]
    operations: Operations
    traces: Traces
    demo: Peer | None  # the controller of the demo that this frontend is in


def add_control_room(
    app: Flask, parts: Parts, settings: Settings, *, clock: Clock, tasks: Tasks, random: Random
) -> None:
    """Give an app the control room."""
    login = Login(settings.admin_token, clock=clock, lock=threading.Lock())
    room = Room(app, login, settings.node)
    Overview(
        parts.cluster, parts.catalogs, parts.orders, parts.cache,
        lease_s=settings.cache_lease_s, clock=clock,
    ).register(room)  # fmt: skip
    Audit(parts.catalogs, parts.orders, clock=clock, tasks=tasks).register(room)
    Requests(parts.traces).register(room)
    CacheTab(parts.cache, clock).register(room)
    Stock(parts.catalogs, parts.operations, clock=clock, random=random).register(room)
    Arrivals(parts.catalogs, parts.operations, clock).register(room)
    Orders(parts.orders, clock).register(room)
    if parts.demo is not None:
        Faults(parts.demo).register(room)
