"""What an order server counts, in a registry of its own (two nodes fit into one process)."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge


class Metrics:
    """Sales by outcome, rows followed, rows missing."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.sales = Counter(
            "bazar_order_sales", "Sales asked for, by outcome", ["outcome"], registry=self.registry
        )
        self.followed = Counter(
            "bazar_order_followed_rows",
            "Rows of the sales ledger stored by following",
            registry=self.registry,
        )
        self.lag = Gauge(
            "bazar_order_lag_rows",
            "Rows of the sales ledger, as last seen, missing here",
            registry=self.registry,
        )
