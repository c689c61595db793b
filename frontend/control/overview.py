"""The first tab: every node as this frontend sees it, and who answers how much."""

from __future__ import annotations

import threading
from typing import Any

from flask import Response

from common.clock import Clock, rfc3339
from common.web import json_answer, query
from frontend.cache import Cache
from frontend.cluster import Cluster
from frontend.control.recent import Recent
from frontend.control.room import Room
from frontend.gateway import Group

SEEN_FOR_S = 0.5
MORE = ("reads", "writes", "voters")  # of a catalog's status


class Overview:
    """The page `/ops` and its data; `lease_s` is how long a lease is when it is new."""

    def __init__(
        self,
        cluster: Cluster,
        catalogs: Group,
        orders: Group,
        cache: Cache[Any],
        *,
        lease_s: float,
        clock: Clock,
    ) -> None:
        self._catalogs = catalogs
        self._orders = orders
        self._cache = cache
        self._lease_s = lease_s
        self._clock = clock
        self._seen = Recent(
            lambda: cluster.seen(MORE), for_s=SEEN_FOR_S, clock=clock, lock=threading.Lock()
        )

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("overview", "Overview", "/ops")
        room.data("overview", self.overview)

    def overview(self) -> Response:
        """Answer every node's status, and how many calls each has answered."""
        query(())
        return json_answer(self._seen.get() | {
            "at": rfc3339(self._clock.wall()),
            "lease_s": self._lease_s,
            "answered": {
                "cache": self._cache.counters()["hits"],
                **self._catalogs.answered(),
                **self._orders.answered(),
            },
        })  # fmt: skip
