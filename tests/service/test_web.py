"""The rules that every service's app keeps, whatever its routes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
from flask import Flask, Response, g
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Counter

from common.auth import CLUSTER, Signer
from common.errors import PUBLIC, TABLE
from common.peer import TIMEOUT_HEADER
from common.service import INTERNAL_BODY_BYTES_MAX, PUBLIC_BODY_BYTES_MAX
from common.web import Readiness, json_answer, json_body, new_app, query, raw_target
from tests.support.tracing import tracer

SECRET = "s" * 32
NOW = 1000.0
OURS = "cluster-a"


class Stopped:
    """A clock that stands still."""

    def now(self) -> float:
        return NOW

    def wall(self) -> datetime:
        return datetime(2026, 1, 31, tzinfo=UTC)


def make_app(readiness: Readiness) -> Flask:
    """An app with a route of each kind."""
    registry = CollectorRegistry()
    Counter("sold", "Copies sold", registry=registry).inc(3)
    app = new_app(
        "catalog-1",
        clock=Stopped(),
        signer=Signer("catalog-1", SECRET),
        cluster=lambda: OURS,
        internal=lambda path: path.startswith("/internal/"),
        readiness=lambda: readiness,
        registry=registry,
        tracer=tracer(Stopped()),
    )

    @app.post("/things")
    def add() -> Response:
        return json_answer(json_body(), 201)

    @app.post("/maybe")
    def maybe() -> Response:
        return json_answer(json_body(optional=True))

    @app.get("/things")
    def things() -> Response:
        return json_answer(query(("limit", "after")))

    @app.route("/broken", methods=["GET", "POST"])
    def broken() -> Response:
        raise RuntimeError("the secret inside")

    @app.route("/internal/<path:rest>", methods=["GET", "POST"])
    def internal(rest: str) -> Response:
        return json_answer({"sender": g.sender, "until": g.until, "target": raw_target()})

    return app


APP = make_app(Readiness(reads=True, writes=False, why="the other catalog is away"))


@pytest.fixture
def client() -> Iterator[FlaskClient]:
    """A client of the app."""
    with APP.test_client() as client:
        yield client


def problem(answer: Any) -> str:
    """Return an answer's code, after checking that it is a whole problem document."""
    assert answer.content_type == "application/problem+json"
    assert answer.headers["Cache-Control"] == "no-store"
    document = json.loads(answer.get_data())
    assert (document["status"], document["title"]) == TABLE[document["code"]]
    assert answer.status_code == document["status"]
    return str(document["code"])


def signed(method: str, target: str, body: bytes = b"", cluster: str = OURS) -> dict[str, str]:
    return Signer("order-1", SECRET).headers("catalog-1", method, target, cluster, body)


@pytest.mark.parametrize("kind", ["application/json", "application/x-www-form-urlencoded", "x"])
def test_a_body_is_json_whatever_its_content_type(client: FlaskClient, kind: str) -> None:
    """`curl -d` says it sends a form."""
    answer = client.post("/things", data='{"title":"Ünï"}'.encode(), content_type=kind)
    assert (answer.status_code, answer.get_json(force=True)) == (201, {"title": "Ünï"})
    assert answer.get_data() == '{"title":"Ünï"}'.encode()


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"{} {}", "not JSON"),
        (b'{"a":1,"a":1}', "twice"),
        (b'{"a":{"b":1,"b":2}}', "twice"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b"[" * 60_000, "not JSON"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "not JSON"),
        (b'{"a":' + b"9" * 5000 + b"}", "not JSON"),
        (b'{"a":"\xff"}', "not UTF-8"),
        (b"\xef\xbb\xbf{}", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b'"a"', "must be a JSON object"),
    ],
)
def test_what_is_not_strict_json_is_refused(client: FlaskClient, body: bytes, detail: str) -> None:
    """With a 400 that says what is wrong."""
    answer = client.post("/things", data=body)
    assert problem(answer) == "invalid-request"
    assert detail in answer.get_data(as_text=True)


def test_an_optional_body_may_be_absent(client: FlaskClient) -> None:
    """Absent or blank is {}; present it must be right all the same."""
    assert client.post("/maybe").get_json() == {}
    assert client.post("/maybe", data=b" \n").get_json() == {}
    assert problem(client.post("/maybe", data=b"[]")) == "invalid-request"


def test_a_body_has_a_limit(client: FlaskClient) -> None:
    """64 KiB for everybody, more for signed calls."""
    assert (
        client.post("/things", data=b" " * (PUBLIC_BODY_BYTES_MAX - 2) + b"{}").status_code == 201
    )
    assert problem(client.post("/things", data=b" " * PUBLIC_BODY_BYTES_MAX + b"{}")) == "too-large"
    body = b" " * (PUBLIC_BODY_BYTES_MAX + 1)
    headers = signed("POST", "/internal/x", body)
    assert client.post("/internal/x", data=body, headers=headers).status_code == 200
    length = {"CONTENT_LENGTH": str(INTERNAL_BODY_BYTES_MAX + 1)}
    assert problem(client.post("/internal/x", environ_overrides=length)) == "too-large"


def test_query_parameters_are_known_and_given_once(client: FlaskClient) -> None:
    """An unknown one would silently do nothing."""
    assert client.get("/things?limit=5&after=%C3%BC").get_json() == {"limit": "5", "after": "ü"}
    assert problem(client.get("/things?limt=5")) == "invalid-request"
    assert problem(client.get("/things?limit=5&limit=6")) == "invalid-request"


def test_an_unknown_address_is_a_problem(client: FlaskClient) -> None:
    """404, and no page of Flask's."""
    assert problem(client.get("/nowhere")) == "not-found"
    assert problem(client.get("/things/")) == "not-found"
    assert problem(client.get("//things//")) == "not-found"


def test_a_method_that_is_not_taken_names_those_that_are(client: FlaskClient) -> None:
    """RFC 9110 wants Allow with every 405."""
    answer = client.delete("/things")
    assert problem(answer) == "method-not-allowed"
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}


@pytest.mark.parametrize(("method", "code"), [("GET", "unavailable"), ("POST", "outcome-unknown")])
def test_an_unexpected_error_gives_no_traceback_and_is_no_500(
    client: FlaskClient, caplog: pytest.LogCaptureFixture, method: str, code: str
) -> None:
    """The log has it; the client learns whether to ask again, and with which key."""
    answer = client.open("/broken", method=method, headers={"Idempotency-Key": "k1"})
    assert problem(answer) == code
    assert "the secret inside" not in answer.get_data(as_text=True)
    assert "the secret inside" in caplog.text
    assert answer.headers["Retry-After"]
    if method == "POST":
        assert answer.get_json(force=True)["idempotency_key"] == "k1"


def test_a_signed_call_finds_its_sender_and_its_deadline(client: FlaskClient) -> None:
    """`g.until` is on this node's clock: only durations cross processes."""
    target = "/internal/a%2Fb?x=%20"
    headers = signed("GET", target) | {TIMEOUT_HEADER: "2400"}
    answer = client.get(target, headers=headers)
    assert answer.get_json() == {"sender": "order-1", "until": NOW + 2.4, "target": target}
    assert answer.headers[CLUSTER] == OURS


@pytest.mark.parametrize("text", ["", "-1", "x", "1e3", "²", "9" * 30])
def test_a_broken_timeout_is_a_second(client: FlaskClient, text: str) -> None:
    """A caller that does not say how long it waits gets a default."""
    headers = signed("GET", "/internal/x") | {TIMEOUT_HEADER: text}
    assert client.get("/internal/x", headers=headers).get_json()["until"] == NOW + 1.0


def test_an_unsigned_or_altered_call_is_refused(client: FlaskClient) -> None:
    """Before any route sees it, whether there is one or not."""
    assert problem(client.get("/internal/x")) == "unauthorized"
    assert (
        problem(client.get("/internal/y", headers=signed("GET", "/internal/x"))) == "unauthorized"
    )
    headers = signed("POST", "/internal/x", b"{}")
    assert problem(client.post("/internal/x", data=b"[]", headers=headers)) == "unauthorized"
    assert problem(client.delete("/internal/x")) == "unauthorized"


@pytest.mark.parametrize("path", ["//internal/x", "internal/x", "/internal/../internal/x"])
def test_no_spelling_of_a_path_goes_around_the_signature(client: FlaskClient, path: str) -> None:
    """The check and the routing read the same path."""
    assert problem(client.get("/", environ_overrides={"PATH_INFO": path})) == "unauthorized"


def test_a_call_of_another_cluster_is_refused(client: FlaskClient) -> None:
    """But one that knows no cluster yet may ask."""
    headers = signed("GET", "/internal/x", cluster="cluster-b")
    answer = client.get("/internal/x", headers=headers)
    assert problem(answer) == "foreign-cluster"
    assert answer.headers[CLUSTER] == OURS
    assert (
        client.get("/internal/x", headers=signed("GET", "/internal/x", cluster="")).status_code
        == 200
    )


def test_health_and_metrics_are_open(client: FlaskClient) -> None:
    """They carry no secret and every monitor reads them."""
    assert client.get("/livez").get_json() == {"alive": True}
    ready = client.get("/readyz")
    assert (ready.status_code, ready.get_json()["writes"]) == (200, False)
    assert "sold_total 3.0" in client.get("/metrics").get_data(as_text=True)


def test_a_node_that_cannot_read_is_not_ready() -> None:
    """503 with the reason, for people and for load balancers."""
    app = make_app(Readiness(reads=False, writes=False, why="recovering"))
    answer = app.test_client().get("/readyz")
    assert answer.status_code == 503
    assert answer.get_json() == {"reads": False, "writes": False, "why": "recovering"}


def test_head_is_get_without_a_body(client: FlaskClient) -> None:
    """With the same headers."""
    assert client.head("/livez").headers == client.get("/livez").headers
    assert client.head("/livez").get_data() == b""


LATIN = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF, exclude_characters="\x7f"))


@given(
    method=st.sampled_from(["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"]),
    path=st.sampled_from(["/things", "/maybe", "/internal/x", "/livez", "/x"]) | LATIN,
    query_string=LATIN,
    body=st.binary(max_size=200) | st.sampled_from([b"{}", b'{"a":[1e999]}']),
    headers=st.dictionaries(
        st.sampled_from(["Host", "Content-Type", "Content-Length", "Bazar-Signature", "Accept"]),
        LATIN,
    ),
)
def test_nothing_a_client_sends_is_a_500(
    method: str, path: str, query_string: str, body: bytes, headers: dict[str, str]
) -> None:
    """Every answer is a success or one of our problems."""
    environ = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": query_string,
        "CONTENT_LENGTH": str(len(body)),
        **{f"HTTP_{name.upper().replace('-', '_')}": value for name, value in headers.items()},
    }
    answer = APP.test_client().open(environ_overrides=environ, data=body)
    if answer.status_code >= 400 and method != "HEAD":
        assert problem(answer) in PUBLIC
