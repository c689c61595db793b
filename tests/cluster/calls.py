"""Public calls of a client at a simulated cluster, and what the tests ask of it again and again."""

from __future__ import annotations

from common.peer import Response
from tests.support.cluster import Cluster

FRONTEND, OTHER = "frontend-1", "frontend-2"


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
    cluster.run(cluster.ready, 5)
    cluster.run_for(0.5)
