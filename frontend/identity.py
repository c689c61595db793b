"""Which cluster this frontend belongs to: learnt from the first catalog that answers, then fixed.

Law: answers of two clusters are never mixed. One that carries another id is no answer, and the
cache is dropped.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager

from common.auth import CLUSTER
from common.peer import Http, NoAnswer, Request, Response

log = logging.getLogger("bazar.frontend")


class Identity:
    """An `Http` that reads the cluster's id off every answer; it is learnt from `teachers`.

    `foreign()` is called when a node turns out to belong to another cluster.
    """

    def __init__(
        self,
        http: Http,
        teachers: Collection[str],
        *,
        lock: AbstractContextManager[object],
        foreign: Callable[[], None],
    ) -> None:
        self._http = http
        self._teachers = frozenset(teachers)
        self._lock = lock
        self._foreign = foreign
        self._cluster = ""

    def cluster(self) -> str:
        """Return the cluster's id, or the empty string while it is not known."""
        return self._cluster

    def send(self, request: Request) -> Response:
        """Send a request; raise `NoAnswer` when what comes back is another cluster's."""
        response = self._http.send(request)
        theirs = response.header(CLUSTER)
        if theirs and response.status < 300 and request.to in self._teachers:
            self._learn(theirs)
        ours = self._cluster
        if theirs and ours and theirs != ours:
            log.error(
                "%s belongs to cluster %s, this frontend to %s: the cache is dropped",
                request.to,
                theirs,
                ours,
            )
            self._foreign()
            # A refusal stays one (nothing happened there); the rest is not to be believed.
            if response.status < 300:
                raise NoAnswer(f"{request.to} belongs to cluster {theirs}, this frontend to {ours}")
        return response

    def _learn(self, cluster: str) -> None:
        with self._lock:
            self._cluster = self._cluster or cluster
