"""The auditor's rules: what they let pass, and what each of them reports."""

from __future__ import annotations

import json
from collections.abc import Callable
from itertools import count

import pytest

from common.errors import Problem
from common.peer import NotSent, Request, Response
from tests.support.audit import Audit, Seen
from tests.support.auditor import Auditor

KEY = "book:1"
OLD, NEW = "old", "new"


class Story:
    """Reads one after the other, each a moment long, in one session."""

    def __init__(self) -> None:
        self.audit = Audit()
        self.audit.installed("s", {})
        self._moments = count(1.0)

    def told(self, seq: int, *keys: str, content: str = "c") -> None:
        assert self.audit.told("s", seq, content, keys)

    def read(
        self, node: str, as_of: int, document: str, *, life: int = 0, epoch: int = 1,
        lasts: float = 0.5, key: str = KEY,
    ) -> None:  # fmt: skip
        began = next(self._moments)
        self.audit.saw(Seen(key, node, life, epoch, as_of, document, began, began + lasts))

    def confirm(self) -> list[str]:
        """Return what was wrong, by rule, once the session is known to have lived on."""
        self.audit.confirmed(next(self._moments))
        return [violation.split(": ")[1] for violation in self.audit.violations]


def test_an_honest_shop_is_left_alone() -> None:
    """Both catalogs, one of them an entry behind where nothing has changed, before and after."""
    story = Story()
    story.read("catalog-1", 4, OLD)
    story.told(5, "book:9")
    story.read("catalog-1", 5, OLD)
    story.read("catalog-2", 4, OLD)
    story.told(6, KEY)
    story.read("catalog-2", 5, OLD)
    story.read("catalog-2", 6, NEW)
    story.read("catalog-1", 6, NEW)
    assert story.confirm() == []
    assert story.audit.compared > 0


def test_two_documents_as_of_one_entry_are_reported() -> None:
    """Whatever the order, whatever the session."""
    story = Story()
    story.audit.ended()
    story.read("catalog-1", 5, OLD)
    story.read("catalog-2", 5, NEW)
    assert story.confirm() == ["two documents as of one entry"]


def test_the_old_value_after_the_new_one_is_reported() -> None:
    """A replica that answers about a key that a prepared entry has made dirty."""
    story = Story()
    story.audit.ended()
    story.read("catalog-1", 6, NEW)
    story.read("catalog-2", 5, OLD)
    assert story.confirm() == ["old after new"]


def test_reads_that_overlap_may_come_in_any_order() -> None:
    """The later one to begin may be the one that is answered from before the write."""
    story = Story()
    story.told(6, KEY)
    story.read("catalog-1", 6, NEW, lasts=5)
    story.read("catalog-2", 5, OLD)
    assert story.confirm() == []


def test_a_key_that_was_dirty_and_readable_is_reported_though_it_looks_the_same() -> None:
    """A price changed there and back shows in no value; that the entry was told of does."""
    story = Story()
    story.told(5, "book:9")
    story.told(6, KEY)
    story.read("catalog-1", 6, OLD)
    story.read("catalog-2", 5, OLD)
    assert story.confirm() == ["answered from before an entry that was visible"]


def test_a_change_nobody_was_told_of_is_reported() -> None:
    """The keys of the entry did not name what it changed."""
    story = Story()
    story.read("catalog-1", 5, OLD)
    story.told(6, "book:9")
    story.read("catalog-1", 6, NEW)
    assert story.confirm() == ["changed, and nobody was told"]


@pytest.mark.parametrize("why", ["not told of all", "not confirmed", "session over"])
def test_what_the_session_does_not_cover_proves_nothing(why: str) -> None:
    """An entry from between two sessions may have changed anything."""
    story = Story()
    story.read("catalog-1", 4, OLD)
    if why != "not told of all":
        story.told(5, "book:9")
    story.told(6, "book:9")
    story.read("catalog-1", 6, NEW)
    if why == "session over":
        story.audit.ended()
    if why != "not confirmed":
        assert story.confirm() == []
    assert story.audit.violations == []


def test_an_entry_that_was_dropped_and_replaced_proves_nothing() -> None:
    """It never left; the one that took its number changes something else."""
    story = Story()
    story.read("catalog-1", 5, OLD)
    story.told(6, KEY, content="dropped")
    story.told(6, "book:9", content="kept")
    story.read("catalog-1", 6, OLD)
    story.read("catalog-2", 5, OLD)
    assert story.confirm() == []


def test_the_entry_pending_at_registration_counts_as_told() -> None:
    """It comes as floors, not as a message."""
    story = Story()
    story.audit.installed("s", {KEY: 6})
    story.read("catalog-1", 5, OLD)
    story.read("catalog-1", 6, NEW)
    assert story.confirm() == []


@pytest.mark.parametrize("what", ["position", "epoch"])
def test_a_node_that_goes_back_is_reported(what: str) -> None:
    """What it has shown was durable; the key does not matter."""
    story = Story()
    story.audit.ended()
    story.read("catalog-1", 7, OLD, epoch=2)
    story.read("catalog-1", 6 if what == "position" else 7, NEW, epoch=1, key="book:2")
    assert story.confirm() == ["a node went back"]


def test_a_node_with_a_new_disk_may_go_back() -> None:
    """It copies what the other one has."""
    story = Story()
    story.audit.ended()
    story.read("catalog-1", 7, OLD)
    story.read("catalog-1", 6, OLD, life=1)
    assert story.confirm() == []


# --- the subscriber, at a shop that is pretended ---


class PretendedShop:
    """Two catalogs behind the send port; `answer` decides what a read shows."""

    def __init__(self) -> None:
        self.as_of = {"catalog-1": 1, "catalog-2": 1}
        self.prices = {"catalog-1": 500, "catalog-2": 500}
        self.sessions = 0
        self.renewable = True
        self.dirty: set[str] = set()

    def send(self, request: Request) -> Response:
        if request.to == "catalog-2" and request.method == "POST":
            return _problem(Problem("not-leader", "it follows", leader="catalog-1"))
        if request.target == "/sessions":
            self.sessions += 1
            return _json({"session": f"s{self.sessions}", "floors": {}, "lease_s": 1, "epoch": 1})
        if request.target.endswith("/renew"):
            gone = Problem("unknown-session", "it has ended")
            return _json({"lease_s": 1}) if self.renewable else _problem(gone)
        if request.to in self.dirty:
            return _problem(Problem("dirty", "a write is under way", leader="catalog-1"))
        headers = {"bazar-epoch": "1", "bazar-as-of": str(self.as_of[request.to])}
        return Response(200, headers, b'{"price_cents":%d}' % self.prices[request.to])


def _json(document: object) -> Response:
    return Response(200, {}, json.dumps(document).encode())


def _problem(problem: Problem) -> Response:
    return Response(problem.status, {}, json.dumps(problem.body()).encode())


def auditor_at(shop: object) -> Auditor:
    """Return an auditor that listens nowhere and runs no thread: the test turns its handle."""
    catalogs = {name: f"http://{name}" for name in ("catalog-1", "catalog-2")}
    auditor = Auditor("auditor", "", 0, catalogs, "secret", shop)  # type: ignore[arg-type]
    auditor.tick()
    return auditor


def invalidation(seq: int, *keys: str, session: str = "s1") -> dict[str, object]:
    return {"session": session, "epoch": 1, "seq": seq, "hash": f"h{seq}", "keys": list(keys)}


def write(shop: PretendedShop, auditor: Auditor, where: set[str]) -> None:
    """Change the price at some of the catalogs, as entry 2, after telling the auditor."""
    assert auditor.invalidate(invalidation(2, KEY))["acknowledged"]
    for node in where:
        shop.as_of[node], shop.prices[node] = 2, 700


def test_the_auditor_reads_again_at_both_catalogs_what_it_was_told_of() -> None:
    """Until the entry shows; an honest shop passes."""
    shop = PretendedShop()
    auditor = auditor_at(shop)
    for node in shop.as_of:
        auditor.read(node, KEY)
    write(shop, auditor, {"catalog-1"})
    shop.dirty = {"catalog-2"}
    assert auditor.read_next("catalog-1")
    assert not auditor.read_next("catalog-2")  # dirty: it is asked again
    shop.dirty, shop.as_of["catalog-2"], shop.prices["catalog-2"] = set(), 2, 700
    assert auditor.read_next("catalog-2")
    assert not auditor.read_next("catalog-2")  # nothing is left
    auditor.tick()
    assert auditor.violations == []
    assert auditor.figures()["reads"] == 4


@pytest.mark.parametrize(
    ("misbehave", "rule"),
    [
        (lambda shop: None, "old after new"),  # no dirty keys at the replica
        (lambda shop: shop.as_of.update({"catalog-2": 2}), "two documents"),  # lost an update
        (lambda shop: shop.as_of.update({"catalog-1": 1, "catalog-2": 1}), "went back"),
    ],
)
def test_the_auditor_catches_a_shop_that_misbehaves(
    misbehave: Callable[[PretendedShop], object], rule: str
) -> None:
    """Each in its own way, after a write that one of the catalogs has shown."""
    shop = PretendedShop()
    auditor = auditor_at(shop)
    write(shop, auditor, {"catalog-1"})
    assert auditor.read_next("catalog-1")
    misbehave(shop)
    auditor.read("catalog-2", KEY)
    auditor.read("catalog-1", KEY)
    assert any(rule in violation for violation in auditor.violations)


def test_the_auditor_catches_a_change_it_was_not_told_of() -> None:
    """An entry whose keys do not name the book it changes; the renewal makes it certain."""
    shop = PretendedShop()
    auditor = auditor_at(shop)
    auditor.read("catalog-1", KEY)
    auditor.invalidate(invalidation(2, "book:9"))
    shop.as_of["catalog-1"], shop.prices["catalog-1"] = 2, 700
    auditor.read("catalog-1", KEY)
    assert auditor.violations == []
    auditor.tick()
    assert "nobody was told" in auditor.violations[0]


def test_the_auditor_acknowledges_only_its_own_session() -> None:
    """And gets a new one when that is over."""
    shop = PretendedShop()
    auditor = auditor_at(shop)
    assert not auditor.invalidate(invalidation(2, KEY, session="other"))["acknowledged"]
    shop.renewable = False
    auditor.tick()
    assert not auditor.invalidate(invalidation(2, KEY))["acknowledged"]
    auditor.tick()
    assert auditor.invalidate(invalidation(2, KEY, session="s2"))["acknowledged"]


def test_a_shop_that_is_away_is_no_violation() -> None:
    """Nobody answers: nothing can be said."""

    class Away:
        def send(self, request: Request) -> Response:
            raise NotSent(request.to)

    auditor = auditor_at(Away())
    assert auditor.read("catalog-1", KEY) is None
    assert auditor.violations == []
