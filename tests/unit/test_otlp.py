"""Spans as a collector of OpenTelemetry's wants them, and what happens when it does not."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from common.otlp import BATCH_MAX, WAITING_MAX, Exporter, export_tickers
from common.peer import NoAnswer, NotSent, Request, Response
from common.trace import CLIENT, INTERNAL, SERVER, Span, Spans
from tests.support.collector import check


class Collector:
    """Takes spans, or does what a test wants instead."""

    def __init__(self) -> None:
        self.spans: list[dict[str, Any]] = []
        self.asked: list[Request] = []
        self.fails: Exception | None = None
        self.status = 200

    def send(self, request: Request) -> Response:
        self.asked.append(request)
        if self.fails:
            raise self.fails
        if self.status == 200:
            self.spans += check(json.loads(request.body))
        return Response(self.status, {}, b"{}")


def a_span(number: int = 1, kind: str = SERVER, parent: str = "", error: str = "") -> Span:
    attributes = {"text": "ü", "yes": True, "number": 7, "share": 0.5}
    return Span(
        "4bf92f3577b34da6a3ce929d0e0e4736", f"{number:016x}", parent, "GET /books", kind,
        "catalog-1", "catalog", 1_767_225_600_000_000_000, 1_500, error, attributes,
    )  # fmt: skip


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def exporter(collector: Collector, registry: CollectorRegistry) -> Exporter:
    return Exporter("http://collector:4318", collector, registry)


def counted(registry: CollectorRegistry, end: str) -> float:
    return registry.get_sample_value("bazar_spans_total", {"end": end}) or 0.0


def test_spans_are_sent_as_the_specification_wants_them(
    exporter: Exporter, collector: Collector, registry: CollectorRegistry
) -> None:
    """Hex ids, times as strings, kinds as numbers, every sort of attribute."""
    for number, kind in enumerate((SERVER, CLIENT, INTERNAL), start=1):
        exporter.take(a_span(number, kind, parent=f"{number - 1:016x}" if number > 1 else ""))
    exporter.take(a_span(9, error="sold-out"))
    exporter.tick()
    (asked,) = collector.asked
    assert (asked.method, asked.url, asked.target) == (
        "POST",
        "http://collector:4318",
        "/v1/traces",
    )
    assert asked.headers["Content-Type"] == "application/json"
    assert [span["kind"] for span in collector.spans] == [2, 3, 1, 2]
    assert ["parentSpanId" in span for span in collector.spans] == [False, True, True, False]
    assert collector.spans[3]["status"] == {"code": 2, "message": "sold-out"}
    assert collector.spans[0]["endTimeUnixNano"] == "1767225600000001500"
    assert counted(registry, "exported") == 4
    exporter.tick()
    assert len(collector.asked) == 1  # nothing waits: nothing is sent


def test_an_endpoint_may_have_a_path(collector: Collector, registry: CollectorRegistry) -> None:
    """Then the specification's comes behind it."""
    exporter = Exporter("http://collector:4318/otlp/", collector, registry)
    exporter.take(a_span())
    exporter.tick()
    assert collector.asked[0].target == "/otlp/v1/traces"


def test_batches_are_bounded(exporter: Exporter, collector: Collector) -> None:
    """And all of what waits is sent."""
    for number in range(1, BATCH_MAX + 10):
        exporter.take(a_span(number))
    exporter.tick()
    assert len(collector.asked) == 2
    assert len(collector.spans) == BATCH_MAX + 9


@pytest.mark.parametrize("fails", [NotSent("down"), NoAnswer("late"), None])
def test_a_collector_that_fails_is_logged_once_and_what_it_misses_is_counted(
    exporter: Exporter, collector: Collector, registry: CollectorRegistry,
    caplog: pytest.LogCaptureFixture, fails: Exception | None,
) -> None:  # fmt: skip
    """And once more when it works again."""
    collector.fails, collector.status = fails, 503
    with caplog.at_level(logging.INFO, "bazar"):
        for number in range(1, 4):
            exporter.take(a_span(number))
            exporter.tick()
        assert len(caplog.records) == 1
        assert "spans are not exported" in caplog.text
        assert counted(registry, "failed") == 3
        collector.fails, collector.status = None, 200
        exporter.take(a_span(4))
        exporter.tick()
        assert len(caplog.records) == 2
    assert len(collector.spans) == 1


def test_what_waits_is_bounded(
    exporter: Exporter, collector: Collector, registry: CollectorRegistry
) -> None:
    """A collector that sleeps costs no memory."""
    for number in range(1, WAITING_MAX + 6):
        exporter.take(a_span(number))
    assert counted(registry, "dropped") == 5
    exporter.tick()
    assert len(collector.spans) == WAITING_MAX


def test_without_an_endpoint_there_is_nothing_to_do(
    collector: Collector, registry: CollectorRegistry
) -> None:
    """And with one, what a node keeps is sent."""
    spans = Spans(threading.Lock())
    assert export_tickers("", spans, collector, registry) == []
    (ticker,) = export_tickers("http://collector:4318", spans, collector, registry)
    spans.add([a_span()], entry=False)
    ticker.run()
    assert len(collector.spans) == 1
