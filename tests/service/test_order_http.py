"""The order server over `requests`: what it makes of real HTTP answers and failures."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
import responses
import urllib3.exceptions

from common.auth import Signer
from common.errors import MEDIA_TYPE, Problem
from common.peer import RequestsHttp
from tests.support.order_fakes import CLUSTER_ID, SECRET, URLS, FakeClock, OrderServer, order

LEADER, REPLICA = URLS.values()
LABELS = {"Bazar-Cluster": CLUSTER_ID, "Bazar-Epoch": "1", "Bazar-As-Of": "1"}


@pytest.fixture
def web() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as web:
        yield web


@pytest.fixture
def server(tmp_path: Path, web: responses.RequestsMock) -> Iterator[OrderServer]:
    server = OrderServer(tmp_path, RequestsHttp(), FakeClock())
    yield server
    server.close()


def add(web: responses.RequestsMock, url: str, document: Any, status: int = 200) -> None:
    method = "GET" if "/ledger" in url else "POST"
    web.add(method, url, json=document, status=status, headers=LABELS)


def add_problem(web: responses.RequestsMock, url: str, problem: Problem) -> None:
    web.add("POST", url, json.dumps(problem.body()), status=problem.status, content_type=MEDIA_TYPE)


def refused_connection() -> requests.ConnectionError:
    """Return what `requests` raises when nobody listens."""
    reason = urllib3.exceptions.NewConnectionError(None, "connection refused")  # type: ignore[arg-type]
    return requests.ConnectionError(urllib3.exceptions.MaxRetryError(None, "/", reason))  # type: ignore[arg-type]


def test_a_sale_is_signed_and_carries_its_deadline(
    server: OrderServer, web: responses.RequestsMock
) -> None:
    """The leader can check who asks, and when it may give up."""
    add(web, f"{LEADER}/operations", [{"status": 201, "answer": order(1) | {"number": 1}}])
    assert server.buy("k1").status == 201
    sent = web.calls[0].request
    body = sent.body if isinstance(sent.body, bytes) else b""
    checker = Signer("catalog-1", SECRET)
    assert checker.check(sent.headers, "POST", "/operations", body) == "order-1"
    assert 0 < int(sent.headers["Bazar-Timeout-Ms"]) <= 1200


def test_a_refused_connection_sends_the_sale_to_the_other(
    server: OrderServer, web: responses.RequestsMock
) -> None:
    """Nothing was sent, so nothing is unknown."""
    web.add("POST", f"{LEADER}/operations", body=refused_connection())
    add_problem(web, f"{REPLICA}/operations", Problem("not-leader", "recovering", leader=None))
    refused = server.buy()
    assert (refused.status, refused.json["code"]) == (503, "writes-unavailable")


@pytest.mark.parametrize(
    "failure", [requests.ReadTimeout("slow"), requests.ConnectionError("reset by peer")]
)
def test_a_connection_that_broke_leaves_the_outcome_unknown(
    failure: Exception, server: OrderServer, web: responses.RequestsMock
) -> None:
    """The leader may have sold."""
    web.add("POST", f"{LEADER}/operations", body=failure)
    add_problem(web, f"{REPLICA}/operations", Problem("not-leader", "recovering", leader=None))
    unknown = server.buy("k5")
    assert (unknown.json["code"], unknown.json["idempotency_key"]) == ("outcome-unknown", "k5")


def test_a_strangers_error_page_proves_nothing(
    server: OrderServer, web: responses.RequestsMock
) -> None:
    """A proxy's 502 says neither that it was sold nor that it was not."""
    for url in (LEADER, REPLICA):
        web.add("POST", f"{url}/operations", "<h1>Bad Gateway</h1>", status=502)
    assert server.buy().json["code"] == "outcome-unknown"


def test_the_ledger_is_followed_over_http(server: OrderServer, web: responses.RequestsMock) -> None:
    """Rows come in, and the cluster's id with them."""
    add(web, f"{LEADER}/ledger", {"end": 1, "rows": [{"number": 1, "order": order(1)}]})
    server.tick()
    found = server.call("GET", "/orders/order-1", cluster=CLUSTER_ID)
    assert found.json == order(1)
    assert len(web.calls) == 1
