"""What a leader asks its voters, and when: while it sells, and while nobody answers."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count

import pytest

from common.peer import PeerDown
from tests.cluster.calls import OTHER
from tests.support.cluster import Cluster

ONE, TWO, BACKUP = "catalog-1", "catalog-2", "backup"
SLOW_S = 0.02  # of an answer: a sync may take that long


def test_a_leader_that_sells_is_not_taken_for_one_that_has_lost_entries(
    build: Callable[..., Cluster], caplog: pytest.LogCaptureFixture
) -> None:
    """It tells the backup of each commit; what it says to hold when it asks for a vote is not less
    than that: no disk has lost anything here.
    """
    caplog.set_level(logging.INFO, "bazar")
    six = build(backup=True, frontends=2)
    six.network.hold_reply = lambda sender, request: (
        SLOW_S if request.target == "/replication/state" else 0.0
    )
    over: list[bool] = []

    def receive() -> None:
        for number in count():
            if over:
                return
            with suppress(PeerDown):
                six.ask(
                    OTHER, "POST", "/books/1/restock", {"quantity": 1}, key=f"{number}",
                    operator=True, timeout_s=3,
                )  # fmt: skip

    job = six.client("receiver", receive)
    for _ in range(2):
        six.kill(TWO)
        six.run_for(3.0)
        six.start(TWO)
        six.run(six.ready, 15)
    over.append(True)
    six.run(lambda: job.done, 10)
    assert "has lost entries" not in caplog.text


def test_a_leader_that_hears_nobody_promises_itself_one_epoch_and_waits(
    build: Callable[..., Cluster],
) -> None:
    """Not another one five times a second, each with a sync and a line in the log, for as long as
    two of the three are away.
    """
    six = build(backup=True)
    six.kill(TWO)
    six.kill(BACKUP)
    six.run_for(10.0)
    record = six.node(ONE).record
    assert record.promise.epoch <= record.record.epoch + 1
