"""How the cluster looks from here: every node's status; whether reads and writes are possible."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any

from common.peer import Http, Peer, Request
from common.survey import DOWN, Found, Survey
from common.web import Readiness

STATUS_WHOLE_S = 1.0
READY_WHOLE_S = 0.4
MEMBERS = ("role", "epoch", "position", "lag", "lease", "state", "leader", "why")


class Cluster:
    """Asks the nodes. `services` is service -> its nodes' names; `status()` is this node's own."""

    def __init__(
        self,
        name: str,
        services: Mapping[str, Collection[str]],
        peers: Mapping[str, Peer],
        catalog_urls: Mapping[str, str],
        *,
        status: Callable[[], Found],
        http: Http,
        survey: Survey,
    ) -> None:
        self._name = name
        self._services = services
        self._peers = peers
        self._catalog_urls = catalog_urls
        self._status = status
        self._http = http
        self._survey = survey

    def seen(self, more: Collection[str] = ()) -> dict[str, Any]:
        """Return every node's status; one that did not answer is down, and `why` says why. `more`
        are members of a status beside those that every node has.
        """
        found = self._survey.ask(list(self._peers), self._status_of, STATUS_WHOLE_S)
        found[self._name] = self._status()
        nodes = [
            _entry(service, name, found[name], (*MEMBERS, *more))
            for service, names in self._services.items()
            for name in names
        ]
        return {"seen_by": self._name, "leader": self._status()["leader"], "nodes": nodes}

    def readiness(self) -> Readiness:
        """Ask the catalogs what they can do: reads need one of them, writes the leader."""
        found = self._survey.ask(list(self._catalog_urls), self._readiness_of, READY_WHOLE_S)
        reads = any(bool(ready.get("reads")) for ready in found.values())
        writes = any(bool(ready.get("writes")) for ready in found.values())
        why = "; ".join(f"{name}: {ready.get('why')}" for name, ready in found.items())
        return Readiness(reads, writes, "" if reads and writes else why)

    def _status_of(self, name: str) -> Found:
        status = self._peers[name].call("GET", "/status", timeout_s=STATUS_WHOLE_S).json()
        return {member: status.get(member) for member in status}  # what is no object raises

    def _readiness_of(self, name: str) -> Found:
        # Not through `Peer`: "not ready" is an answer here, not an error.
        asked = Request(name, self._catalog_urls[name], "GET", "/readyz", {}, b"", READY_WHOLE_S)
        ready = self._http.send(asked).json()
        return {member: ready.get(member) for member in ("reads", "writes", "why")}


def _entry(service: str, name: str, found: Found, members: Iterable[str]) -> dict[str, Any]:
    entry = {"node": name, "service": service, "up": found.get("state") != DOWN}
    return entry | {member: found.get(member) for member in members}
