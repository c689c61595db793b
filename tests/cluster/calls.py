"""Public calls of a client at a simulated cluster, and what the tests ask of it again and again."""

from __future__ import annotations

from typing import Any

from common.errors import Problem
from common.peer import PeerDown, Response
from tests.support.cluster import Cluster

FRONTEND, OTHER = "frontend-1", "frontend-2"
ONE, TWO = "catalog-1", "catalog-2"
STEP_S = 0.05


def look(cluster: Cluster, book: int = 1, frontend: str = FRONTEND) -> Response:
    """Look a book up, as a client."""
    return cluster.do(lambda: cluster.ask(frontend, "GET", f"/lookup/{book}"))


def left(cluster: Cluster, book: int = 1, frontend: str = FRONTEND) -> int:
    """Return a book's stock, as a client sees it."""
    response = look(cluster, book, frontend)
    assert response.status == 200, response
    return int(response.json()["quantity"])


def buy(cluster: Cluster, key: str, book: int = 1, frontend: str = FRONTEND) -> Response:
    """Buy a copy, as a client."""
    return cluster.do(lambda: cluster.ask(frontend, "POST", f"/purchase/{book}", key=key))


def code(response: Response) -> str:
    """Return the code of a problem, or the status."""
    return response.json().get("code", str(response.status))


def same_everywhere(cluster: Cluster) -> None:
    """Both catalogs hold the same."""
    cluster.run_for(0.5)
    assert cluster.node("catalog-1").digest() == cluster.node("catalog-2").digest()


def back(cluster: Cluster, *names: str) -> None:
    """Restart nodes and wait until writes are possible; five seconds are allowed."""
    cluster.network.watch = lambda sender, request: None
    cluster.start(*names)
    # What a leader has adopted waits for the leases of the one before.
    cluster.run(lambda: cluster.ready() and not cluster.node(leader_of(cluster)).adopted, 5)
    cluster.run_for(0.5)


def leader_of(cluster: Cluster) -> str:
    """Return who leads in the highest epoch."""
    leading = [name for name in (ONE, TWO) if name in cluster.running and cluster.node(name).leads]
    return max(leading, key=lambda name: cluster.node(name).epoch)


def bought(cluster: Cluster, key: str, seconds: float) -> Response:
    """Buy under one key until it is sold, within some simulated seconds; return the answer."""
    began = cluster.scheduler.now
    while (answer := buy(cluster, key)).status != 201:
        assert code(answer) in ("writes-unavailable", "outcome-unknown", "unavailable"), answer
        assert cluster.scheduler.now - began < seconds, answer.json()
        cluster.run_for(STEP_S)
    assert cluster.scheduler.now - began < seconds
    return answer


def sold_within(cluster: Cluster, key: str, seconds: float) -> int:
    """Buy under one key until it is sold; return how many copies are left."""
    bought(cluster, key, seconds)
    return left(cluster)


def whole_again(cluster: Cluster, *names: str) -> None:
    """Start what is dead, heal what is cut, and wait until both catalogs serve side by side."""
    cluster.heal()
    cluster.network.watch = lambda sender, request: None
    cluster.start(*names)
    cluster.run(cluster.ready, 15)
    cluster.run_for(1.0)
    same_everywhere(cluster)


def order(
    cluster: Cluster,
    name: str,
    what: str,
    timeout_s: float = 5.0,
    document: Any = None,
    sender: str = "client",
) -> Any:
    """Have an operator ask a catalog for something; return the document, or the problem, or None
    when it does not answer.
    """
    peer = cluster.peer(name, sender)

    def asking() -> Any:
        try:
            return peer.call("POST", what, document=document or {}, timeout_s=timeout_s).json()
        except Problem as problem:
            return problem
        except PeerDown:
            return None

    return cluster.do(asking)
