"""The first tab: every node as this frontend sees it."""

from __future__ import annotations

from flask import Response

from common.web import json_answer, query
from frontend.cluster import Cluster
from frontend.control.room import Room


class Overview:
    """The page `/ops` and its data."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def register(self, room: Room) -> None:
        """Add the tab."""
        room.tab("overview", "Overview", "/ops")
        room.data("overview", self.overview)

    def overview(self) -> Response:
        """Answer every node's status."""
        query(())
        return json_answer(self._cluster.seen())
