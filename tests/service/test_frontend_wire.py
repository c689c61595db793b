"""The frontend over the real `requests` client, its peers pretended by `responses`."""

import json
from collections.abc import Iterator
from random import Random

import pytest
import requests
import responses
from flask.testing import FlaskClient

from common.errors import Problem
from common.peer import RequestsHttp
from frontend.app import create_app
from tests.support.frontend_fakes import CLUSTER, FakeClock, InlineTasks, settings

LABELS = {"Bazar-Cluster": CLUSTER, "Bazar-Epoch": "1", "Bazar-As-Of": "10", "ETag": '"v1"'}
C1, C2, O1, O2 = "http://c1:8101", "http://c2:8102", "http://o1:8201", "http://o2:8202"


@pytest.fixture
def peers() -> Iterator[responses.RequestsMock]:
    with responses.RequestsMock(assert_all_requests_are_fired=False) as mock:
        yield mock


@pytest.fixture
def client(peers: responses.RequestsMock) -> FlaskClient:
    """A frontend whose leader has granted it a session."""
    granted = {"session": "s1", "epoch": 1, "lease_s": 2.0, "floors": {}, "leader": "catalog-1"}
    peers.post(f"{C1}/sessions", json=granted, headers=LABELS)
    clock = FakeClock()
    app = create_app(
        settings(), clock=clock, http=RequestsHttp(), tasks=InlineTasks(clock), random=Random(1)
    )
    app.extensions["bazar"].tickers[0].run()
    return app.test_client()


def problem(code: str) -> dict[str, object]:
    return {"json": Problem(code, "said so").body(), "status": Problem(code, "").status}


def test_a_miss_then_a_hit(client: FlaskClient, peers: responses.RequestsMock) -> None:
    """Headers are read whatever their case; the body comes through byte for byte."""
    body = '{"id":1,"title":"Süß"}'.encode()
    for url in (C1, C2):
        peers.get(f"{url}/books/1", body=body, headers=LABELS)
    miss, hit = client.get("/lookup/1"), client.get("/lookup/1")
    assert (miss.data, hit.data) == (body, body)
    assert (miss.headers["ETag"], hit.headers["ETag"]) == ('"v1"', '"v1"')
    assert hit.headers["Cache-Status"] == "bazar; hit"


def test_a_topic_travels_in_the_query(client: FlaskClient, peers: responses.RequestsMock) -> None:
    """Encoded as the signature has it."""
    for url in (C1, C2):
        peers.get(f"{url}/search", json={"items": []}, headers=LABELS)
    assert client.get("/search/Süß & sauer").status_code == 200
    asked = peers.calls[-1].request.url
    assert asked is not None
    assert asked.endswith("/search?topic=s%C3%BCss+%26+sauer&limit=50")


def test_a_refused_connection_is_failed_over(
    client: FlaskClient, peers: responses.RequestsMock
) -> None:
    """`responses` refuses what it was not told of, as a dead node does."""
    peers.get(f"{C2}/topics", json={"items": []}, headers=LABELS)
    assert [client.get("/topics").status_code for _ in range(2)] == [200, 200]


def test_a_timeout_is_failed_over(client: FlaskClient, peers: responses.RequestsMock) -> None:
    """As a stopped process gives."""
    peers.get(f"{C1}/topics", body=requests.ReadTimeout())
    peers.get(f"{C2}/topics", json={"items": []}, headers=LABELS)
    assert [client.get("/topics").status_code for _ in range(2)] == [200, 200]


def test_a_dirty_key_is_read_at_the_leader(
    client: FlaskClient, peers: responses.RequestsMock
) -> None:
    """The problem's `leader` comes through the wire."""
    peers.get(f"{C1}/books/1", json={"id": 1}, headers=LABELS)
    said = problem("dirty")
    said["json"] = {**said["json"], "leader": "catalog-1"}  # type: ignore[dict-item]
    peers.get(f"{C2}/books/1", **said)
    for _ in range(2):
        assert client.get("/lookup/1").status_code == 200


def test_a_purchase_is_tried_at_the_other_server_with_the_same_key(
    client: FlaskClient, peers: responses.RequestsMock
) -> None:
    """The first timed out: it may have sold."""
    peers.post(f"{O1}/sales", body=requests.ReadTimeout())
    peers.post(f"{O2}/sales", json=[{"status": 201, "answer": {"order_id": "o1"}}])
    response = client.post("/purchase/1")
    assert response.status_code == 201
    keys = {
        json.loads(call.request.body or "")[0]["key"]
        for call in peers.calls
        if call.request.url is not None and "/sales?" in call.request.url
    }
    assert keys == {response.headers["Idempotency-Key"]}


def test_a_purchase_that_timed_out_and_was_then_refused_is_unknown(
    client: FlaskClient, peers: responses.RequestsMock
) -> None:
    """The race of the protocol: the first may sell after the second was refused."""
    peers.post(f"{O1}/sales", body=requests.ReadTimeout())
    peers.post(f"{O2}/sales", **problem("writes-unavailable"))
    response = client.post("/purchase/1", headers={"Idempotency-Key": "k"})
    assert response.get_json()["code"] == "outcome-unknown"
    assert response.get_json()["idempotency_key"] == "k"
