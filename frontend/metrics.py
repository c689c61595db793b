"""What a frontend counts: requests, how long they took, and what the cache did.

A hit answered ahead of Flask costs one step of a plain count; whoever asks for the metrics finds
it among the other requests, in the shortest bucket.
"""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Iterable
from typing import Any

from flask import Flask, Response, g, request
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, Sample
from prometheus_client.registry import Collector

from common.clock import Clock
from frontend.cache import Cache

BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 0.9, 2.5, 5.0)
METHODS = ("GET", "HEAD", "POST", "PATCH", "OPTIONS")  # whatever else clients invent is one label
REFUSED = "refused "

Labels = tuple[str, str, int]  # route, method, status


class Count:
    """How many there were."""

    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


class Metrics:
    """Metrics in a registry of their own: two frontends fit into one process."""

    def __init__(self, cache: Cache[Any], clock: Clock) -> None:
        self.registry = CollectorRegistry()
        self._clock = clock
        self._requests = Counter(
            "bazar_requests",
            "Requests answered",
            ["route", "method", "status"],
            registry=None,
        )
        self._seconds = Histogram(
            "bazar_request_seconds",
            "How long requests took",
            ["route"],
            buckets=BUCKETS_S,
            registry=None,
        )
        self._hits: dict[Labels, Count] = {}
        self.registry.register(_RequestCollector(self._requests, self._seconds, self._hits))
        self.registry.register(_CacheCollector(cache))

    def watch(self, app: Flask) -> None:
        """Count the requests of an app."""
        app.before_request(self._begin)
        app.after_request(self._end)

    def hits(self, route: str, method: str, status: int) -> Count:
        """Return where to count requests answered ahead of the app; on one thread only."""
        return self._hits.setdefault((route, method, status), Count())

    def count(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request that was answered ahead of the app and took its time."""
        self._requests.labels(route, method, status).inc()
        self._seconds.labels(route).observe(seconds)

    def _begin(self) -> None:
        g.began_at = self._clock.now()

    def _end(self, response: Response) -> Response:
        route = request.url_rule.rule if request.url_rule else "none"
        method = request.method if request.method in METHODS else "other"
        self._requests.labels(route, method, response.status_code).inc()
        if "began_at" in g:
            self._seconds.labels(route).observe(self._clock.now() - g.began_at)
        return response


class _RequestCollector(Collector):
    """Adds the hits to what was counted at the app."""

    def __init__(self, requests: Counter, seconds: Histogram, hits: dict[Labels, Count]) -> None:
        self._requests = requests
        self._seconds = seconds
        self._hits = hits
        self._added: Tally[Labels] = Tally()
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        by_route: Tally[str] = Tally()
        with self._lock:
            counts = {labels: one.value for labels, one in dict(self._hits).items() if one.value}
            for labels, count in counts.items():
                self._requests.labels(*labels).inc(count - self._added[labels])
                self._added[labels] = count
                self._seconds.labels(labels[0])  # a route that nothing else has taken yet
                by_route[labels[0]] += count
        yield from self._requests.collect()
        for metric in self._seconds.collect():
            metric.samples = [_with_hits(sample, by_route) for sample in metric.samples]
            yield metric


def _with_hits(sample: Sample, by_route: Tally[str]) -> Sample:
    if not sample.name.endswith(("_bucket", "_count")):
        return sample  # a sum: they took no time worth adding
    return sample._replace(value=sample.value + by_route[sample.labels["route"]])


class _CacheCollector(Collector):
    """Reads the cache's own counters when somebody asks."""

    def __init__(self, cache: Cache[Any]) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        counts = self._cache.counters()
        lookups = CounterMetricFamily("bazar_cache_lookups", "Look-ups", labels=["result"])
        hits, misses = counts.get("hits", 0), counts.get("misses", 0)
        lookups.add_metric(["hit"], hits)
        lookups.add_metric(["miss"], misses)
        yield lookups
        yield GaugeMetricFamily(
            "bazar_cache_hit_ratio", "Hits among look-ups", hits / max(1, hits + misses)
        )
        yield GaugeMetricFamily("bazar_cache_entries", "Entries kept", counts["size"])
        yield GaugeMetricFamily(
            "bazar_cache_session_alive", "1 while a session is held", int(self._cache.alive())
        )
        refused = CounterMetricFamily("bazar_cache_fills_refused", "Fills refused", labels=["why"])
        for name, count in counts.items():
            if name.startswith(REFUSED):
                refused.add_metric([name.removeprefix(REFUSED)], count)
        yield refused
        for name in ("fills", "invalidations", "invalidated", "evictions"):
            yield CounterMetricFamily(f"bazar_cache_{name}", name, counts.get(name, 0))
