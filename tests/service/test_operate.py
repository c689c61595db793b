"""The operator's orders from the command line: who is asked, what is said before it is confirmed,
and what came of it.
"""

from __future__ import annotations

import io
from typing import Any

import pytest

from catalog.operate import Unchanged, hand_over, promote
from catalog.replication import Promise, Record, View
from common.errors import Problem
from common.peer import NoAnswer, NotSent, Request, Response
from common.position import Position
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


# --- promote ---

RECORD = Record(3, ONE, {ONE: "disk-1", TWO: "disk-2"}, 2.0)


def left(record: Record | None = RECORD, prepared: Position | None = None) -> Any:
    """A catalog that says this of itself, and is promoted when it is told to be."""
    end = Position(3, 120, "h" * 64)
    view = View(
        TWO, "disk-2", "c", record, Promise(3, ONE), end, prepared, 1, "alone", True
    )  # fmt: skip

    def reply(request: Request) -> Response:
        promoted = request.target == "/replication/promotion"
        return answer({"epoch": 4} if promoted else view.document())

    return reply


def test_a_promotion_is_done_when_it_is_confirmed(capsys: pytest.CaptureFixture[str]) -> None:
    """After what it means was said: a member has all that was answered."""
    catalogs = Catalogs(catalog_2=left(prepared=Position(3, 121, "i" * 64)))
    told = promote(settings(), catalogs, TWO, TWO)
    assert told.startswith(
        f"{TWO} leads epoch 4 as soon as there are two copies again: start {ONE}"
    )
    assert [target for _, target in catalogs.asked] == [
        "/replication/state", "/replication/promotion",
    ]  # fmt: skip
    said = capsys.readouterr().err
    assert "every entry up to 120, and 121, which catalog-1 may have answered" in said
    assert "all that was ever answered" in said
    assert "LOST" not in said


def test_what_a_copy_that_is_no_member_loses_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    """With the entry after which it is."""
    catalogs = Catalogs(catalog_2=left(Record(3, ONE, {ONE: "disk-1", TWO: "old"}, 2.0)))
    promote(settings(), catalogs, TWO, TWO)
    assert "what was sold after entry 120 IS LOST" in capsys.readouterr().err


@pytest.mark.parametrize("typed", ["", "yes\n", "catalog-1\n"])
def test_nothing_is_promoted_without_its_name(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by another word nor by a closed input."""
    monkeypatch.setattr("sys.stdin", io.StringIO(typed))
    catalogs = Catalogs(catalog_2=left())
    with pytest.raises(Unchanged, match="not confirmed"):
        promote(settings(), catalogs, TWO, None)
    assert [target for _, target in catalogs.asked] == ["/replication/state"]


def test_a_name_that_is_typed_confirms(monkeypatch: pytest.MonkeyPatch) -> None:
    """As it is, with or without a line's end."""
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{TWO}\n"))
    assert promote(settings(), Catalogs(catalog_2=left()), TWO, None).startswith(TWO)


def test_who_cannot_be_promoted_is_not_asked() -> None:
    """Nobody by that name, or a disk that holds nothing."""
    with pytest.raises(Unchanged, match="order-1 is no catalog: catalog-1, catalog-2"):
        promote(settings(), Catalogs(), "order-1", "order-1")
    catalogs = Catalogs(catalog_2=left(record=None))
    with pytest.raises(Unchanged, match="its disk is empty"):
        promote(settings(), catalogs, TWO, TWO)
    assert len(catalogs.asked) == 1
