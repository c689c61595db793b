"""A pretended collector of OpenTelemetry: it takes what the specification allows, and no more."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

NANOS, ID, TRACE = re.compile("[0-9]{1,20}"), re.compile("[0-9a-f]{16}"), re.compile("[0-9a-f]{32}")
VALUES = {"stringValue": str, "boolValue": bool, "doubleValue": float, "intValue": str}


def check_attributes(attributes: list[dict[str, Any]]) -> dict[str, Any]:
    """Check a list of KeyValue; return it as a mapping."""
    found = {}
    for attribute in attributes:
        assert set(attribute) == {"key", "value"}
        ((kind, value),) = attribute["value"].items()
        assert type(value) is VALUES[kind]
        assert kind != "intValue" or re.fullmatch("-?[0-9]+", value)
        found[attribute["key"]] = value
    assert len(found) == len(attributes)
    return found


def check(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Check an ExportTraceServiceRequest by the specification; return its spans."""
    (resource_spans,) = document["resourceSpans"]
    resource = check_attributes(resource_spans["resource"]["attributes"])
    assert {"service.name", "service.instance.id"} <= set(resource)
    (scope_spans,) = resource_spans["scopeSpans"]
    assert scope_spans["scope"]["name"]
    for span in scope_spans["spans"]:
        assert TRACE.fullmatch(span["traceId"])
        assert ID.fullmatch(span["spanId"])
        assert "parentSpanId" not in span or ID.fullmatch(span["parentSpanId"])
        assert span["kind"] in (1, 2, 3)
        assert span["name"]
        for time in ("startTimeUnixNano", "endTimeUnixNano"):
            assert isinstance(span[time], str)
            assert NANOS.fullmatch(span[time])
        assert int(span["startTimeUnixNano"]) <= int(span["endTimeUnixNano"])
        check_attributes(span["attributes"])
        assert span["status"] == {} or span["status"]["code"] == 2
    found: list[dict[str, Any]] = scope_spans["spans"]
    return found


class Received:
    """What a collector that listens has received, checked."""

    def __init__(self) -> None:
        self.url = ""
        self.wrong: list[str] = []
        self.documents: list[dict[str, Any]] = []

    def take(self, path: str, kind: str | None, body: bytes) -> None:
        """Take what was posted."""
        document = json.loads(body)
        try:
            assert (path, kind) == ("/v1/traces", "application/json")
            check(document)
        except AssertionError as error:
            self.wrong.append(f"{path}: {error}")
        self.documents.append(document)

    def nodes(self, trace_id: str) -> set[str]:
        """Return which nodes have told of a trace."""
        return {
            check_attributes(one["resource"]["attributes"])["service.instance.id"]
            for document in list(self.documents)
            for one in document["resourceSpans"]
            if any(span["traceId"] == trace_id for span in one["scopeSpans"][0]["spans"])
        }


@contextmanager
def listening() -> Iterator[Received]:
    """Listen for spans."""
    received = Received()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.take(self.path, self.headers["Content-Type"], body)
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of a request."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        received.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield received
        finally:
            server.shutdown()
            thread.join()
