"""The operator's hand-over from the command line: it finds the leader, and says what came of it."""

from __future__ import annotations

from typing import Any

import pytest

from catalog.operate import hand_over
from common.errors import Problem
from common.peer import NoAnswer, NotSent, Request, Response
from tests.support.frontend_fakes import answer, dead, refusal, settings

ONE, TWO = "catalog-1", "catalog-2"


class Catalogs:
    """What each catalog answers."""

    def __init__(self, **replies: Any) -> None:
        self.replies = {name.replace("_", "-"): reply for name, reply in replies.items()}
        self.asked: list[tuple[str, str]] = []

    def send(self, request: Request) -> Response:
        self.asked.append((request.to, request.target))
        reply = self.replies[request.to](request)
        assert isinstance(reply, Response)
        return reply


def says(document: Any) -> Any:
    return lambda request: answer(document)


def test_whoever_leads_is_asked() -> None:
    """And says who leads then."""
    catalogs = Catalogs(catalog_1=refusal("not-leader"), catalog_2=says({"leader": ONE}))
    assert hand_over(settings(), catalogs) == ONE
    assert catalogs.asked == [(ONE, "/replication/handover"), (TWO, "/replication/handover")]


def test_a_leader_that_cannot_says_why() -> None:
    """Nobody else is asked: nobody else can."""
    catalogs = Catalogs(catalog_1=refusal("unavailable", "catalog-2 is not ready"))
    with pytest.raises(Problem, match="not ready"):
        hand_over(settings(), catalogs)
    assert len(catalogs.asked) == 1


def test_a_dead_catalog_is_passed_over() -> None:
    """When all are, that is what is said."""
    catalogs = Catalogs(catalog_1=dead, catalog_2=says({"leader": ONE}))
    assert hand_over(settings(), catalogs) == ONE
    with pytest.raises((NotSent, NoAnswer)):
        hand_over(settings(), Catalogs(catalog_1=dead, catalog_2=dead))
