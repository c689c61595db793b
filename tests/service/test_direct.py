"""Signed calls without Flask: to the byte what Flask answers, after the same checks."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask import Flask
from prometheus_client import CollectorRegistry

from common.auth import CLUSTER, Signer
from common.direct import Asked
from common.errors import Problem
from common.peer import TIMEOUT_HEADER
from common.service import Call
from common.web import Readiness, direct_of, new_app
from tests.support.frontend_fakes import FakeClock, by_flask
from tests.support.tracing import tracer

SECRET, OURS = "s" * 40, "cluster-a"
SENDER = Signer("order-1", SECRET)


def make_app() -> Flask:
    app = new_app(
        "catalog", clock=FakeClock(), signer=Signer("catalog-1", SECRET), cluster=lambda: OURS,
        internal=lambda path: True, readiness=lambda: Readiness(True, True, ""),
        registry=CollectorRegistry(), tracer=tracer(FakeClock()),
    )  # fmt: skip

    @direct_of(app).post(app, "/echo")
    def echo(asked: Asked) -> str:
        return json.dumps([asked.sender, asked.until, dict(asked.query), asked.body.decode()])

    @direct_of(app).post(app, "/refuse")
    def refuse(asked: Asked) -> str:
        raise Problem("writes-unavailable", "not now", more="\u00e9")

    return app


@pytest.fixture
def app() -> Flask:
    return make_app()


def signed(target: str, body: bytes = b"", cluster: str = OURS, **changed: str | None) -> Call:
    """Return a signed call, with some headers changed or left out afterwards."""
    headers: dict[str, Any] = SENDER.headers("catalog-1", "POST", target, cluster, body)
    headers |= {"Host": "catalog", TIMEOUT_HEADER: "1500"}
    headers |= {name.replace("_", "-"): value for name, value in changed.items()}
    raw = {name.lower().encode(): str(v).encode() for name, v in headers.items() if v is not None}
    return Call("POST", target.encode(), raw, body)


@pytest.mark.parametrize(
    "call",
    [
        signed("/echo"),
        signed("/echo", b'{"a":"\xc3\xa9"}'),
        signed("/echo?a=1&b=%20c+d&e="),
        signed("/echo", cluster=""),
        signed("/echo", Bazar_Timeout_Ms="x"),
        signed("/echo", Bazar_Timeout_Ms=None),
        signed("/refuse"),
    ],
)
def test_a_call_in_order_is_answered_as_flask_answers_it(app: Flask, call: Call) -> None:
    """Status, headers, body; and the function is told the same."""
    answer, flasks = direct_of(app).answer(call), by_flask(app, call)
    assert answer is not None
    assert (answer.status, answer.body) == (flasks.status, flasks.body)
    assert sorted(answer.headers) == sorted(flasks.headers)


@pytest.mark.parametrize(
    ("call", "status"),
    [
        (signed("/echo", Bazar_Signature="0" * 64), 401),
        (signed("/echo", Bazar_Signature=None), 401),
        (signed("/echo", Bazar_From="order-2"), 401),
        (signed("/echo", Bazar_To="order-2"), 200),  # what counts is whom it was signed for
        (signed("/echo", b"a")._replace(body=b"b"), 401),
        (signed("/echo?a=1")._replace(target=b"/echo?a=2"), 401),
        (signed("/echo", cluster="cluster-b"), 409),
        (signed("/echo?a=1&a=2"), 200),
        (signed("/echo")._replace(method="GET"), 405),
        (signed("/echo/"), 404),
        (signed("/other"), 404),
    ],
)
def test_what_is_not_in_order_is_left_to_flask(app: Flask, call: Call, status: int) -> None:
    """It says what is wrong, or knows what it means."""
    answer = direct_of(app).answer(call)
    assert answer is None or (status, answer.status) == (200, 200)
    if call.method == "POST":
        assert by_flask(app, call).status == status
    if call.headers.get(b"bazar-cluster") == b"cluster-b":
        assert CLUSTER.lower().encode() in dict(by_flask(app, call).headers)


def test_a_defect_is_not_hidden() -> None:
    """The gate logs it and says that the outcome is not known."""
    app = make_app()

    @direct_of(app).post(app, "/break")
    def broken(asked: Asked) -> str:
        raise RuntimeError("a defect")

    with pytest.raises(RuntimeError):
        direct_of(app).answer(signed("/break"))
