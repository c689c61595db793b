"""What a request leaves behind at every node it touches, in a whole shop."""

from __future__ import annotations

from collections.abc import Callable

from common.peer import Response
from common.trace import Span
from common.tracer import NOT_WAITED_FOR
from tests.cluster.calls import FRONTEND, ONE, TWO, buy, look
from tests.support.cluster import Cluster
from tests.support.tracing import ASKED, PARENT, spans_at, tree

Build = Callable[..., Cluster]

PURCHASE = """\
frontend-1: POST /purchase/<book>
  frontend-1: POST /sales
    order: POST /sales
      order: POST /operations
        catalog-1: POST /operations
          catalog-1: POST /internal/invalidate
            frontend-1: POST /internal/invalidate
          catalog-1: POST /replication/commit
            catalog-2: POST /replication/commit
              catalog-2: apply
          catalog-1: POST /replication/prepare
            catalog-2: POST /replication/prepare
              catalog-2: store and sync
          catalog-1: commit
          catalog-1: transaction
          catalog-1: wait in the queue
      order: write the order log
  frontend-1: wait for a message"""


def spans(cluster: Cluster, trace_id: str) -> list[Span]:
    """Return what all nodes that run know of a trace."""
    peers = [cluster.peer(name) for name in cluster.running]
    found: list[Span] = cluster.do(lambda: spans_at(peers, trace_id))
    return found


def shown(span: Span) -> str:
    """Return a span in words that are the same whichever order server it was."""
    return f"{'order' if span.service == 'order' else span.node}: {span.name}"


def test_a_purchase_is_seen_at_every_node_it_touches(build: Build) -> None:
    """From the frontend down to what the replica synced and the frontend forgot."""
    cluster = build()
    look(cluster)
    answer = buy(cluster, "one key")
    cluster.run_for(0.1)
    found = spans(cluster, answer.header("trace-id"))
    assert "\n".join(tree(found, shown, lambda span: span.name)) == PURCHASE
    root = next(span for span in found if not span.parent_id)
    assert (root.attributes["bazar.key"], root.error) == ("one key", "")
    assert all(root.started_ns <= span.started_ns for span in found)


def test_what_a_batch_does_is_told_in_each_trace_that_shares_it(build: Build) -> None:
    """Two purchases that travel in one message; the backup's part is seen, too."""
    cluster = build(backup=True)
    cluster.kill(TWO)
    cluster.run(lambda: cluster.node(ONE).second == "backup", 10)
    cluster.run_for(2.5)
    answers: list[Response] = []

    def buying(key: str) -> None:
        answers.append(cluster.ask(FRONTEND, "POST", "/purchase/1", key=key))

    clients = [cluster.client(key, lambda key=key: buying(key)) for key in ("a", "b", "c")]  # type: ignore[misc]
    cluster.run(lambda: all(job.done for job in clients), 10)
    traces = [spans(cluster, answer.header("trace-id")) for answer in answers]
    sizes = [
        (span.attributes["bazar.batch_size"], span.attributes["bazar.position"])
        for trace in traces for span in trace if span.name == "transaction"
    ]  # fmt: skip
    assert sorted(size for size, _ in sizes) in ([1, 2, 2], [3, 3, 3])
    assert len(set(sizes)) < len(sizes)
    for trace in traces:
        assert "backup: keep and sync" in [shown(span) for span in trace]
        assert len({span.trace_id for span in trace}) == 1
        assert len({span.span_id for span in trace}) == len(trace)


def test_a_failover_shows_both_attempts(build: Build) -> None:
    """A read whose first catalog is dead: the attempt that failed, and the one that answered."""
    cluster = build()
    cluster.kill(TWO)
    for book in (1, 2):
        found = spans(cluster, look(cluster, book).header("trace-id"))
        asked = [span for span in found if span.name == "GET /books/<>"]
        if len(asked) == 2:
            break
    failed, answered = sorted(asked, key=lambda span: span.started_ns)
    assert (failed.attributes["server.address"], failed.error) == (
        TWO,
        f"{TWO} refused the connection",
    )
    assert (answered.attributes["server.address"], answered.error) == (ONE, "")
    assert answered.attributes["http.request.resend_count"] == 1
    assert [span.parent_id for span in found if span.node == ONE] == [answered.span_id]


def test_an_answer_that_nobody_waited_for_is_told(build: Build) -> None:
    """A frontend is cut off: its lease runs out, the sale goes on, and the trace says why late."""
    cluster = build(frontends=2)
    look(cluster, 1, "frontend-2")
    cluster.cut(ONE, "frontend-2")
    answer = buy(cluster, "k")
    assert answer.status == 201
    told = [span for span in spans(cluster, answer.header("trace-id")) if span.node == ONE]
    late = [span for span in told if span.attributes.get("server.address") == "frontend-2"]
    assert late
    assert all("did not answer" in span.error or span.error == NOT_WAITED_FOR for span in late)


def test_a_caller_that_traces_is_the_parent(build: Build) -> None:
    """Its trace goes on here, below its own span."""
    cluster = build()

    def asking() -> Response:
        headers = {"traceparent": PARENT}
        return cluster.send(FRONTEND, "GET", "/lookup/1", headers)

    assert cluster.do(asking).header("trace-id") == ASKED
    assert cluster.do(asking).header("cache-status") == "bazar; hit"
    found = spans(cluster, ASKED)
    entries = [span for span in found if span.parent_id == PARENT.split("-")[2]]
    assert [span.node for span in entries] == [FRONTEND, FRONTEND]
    assert {span.node for span in found} > {FRONTEND}
