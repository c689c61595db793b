"""Addresses on the loopback: a free one, and waiting until somebody answers there."""

from __future__ import annotations

from pathlib import Path

import requests

from tests.support.processes import free_ports
from tests.support.wait import wait_until

ANSWER_S = 20


def free_port() -> int:
    """Return a port that nobody listens on."""
    return free_ports(1)[0]


def answers(url: str, log: Path) -> None:
    """Wait until a URL answers 200; whoever gives up shows the log."""

    def asked() -> bool:
        try:
            return requests.get(url, timeout=2).status_code == 200
        except requests.RequestException:
            return False

    wait_until(asked, ANSWER_S, f"an answer from {url}", lambda: log.read_text("utf-8", "replace"))
