"""What a demo does by rule: its schedule of faults, its figures, its receipts, its layout."""

from __future__ import annotations

from itertools import islice, pairwise
from pathlib import Path

import pytest

from common.config import load_cluster
from common.demo.figures import PURCHASE, READ, SECONDS_KEPT, Figures, percentiles
from common.demo.layout import MODULES, PORTS, Layout
from common.demo.receipts import Receipts
from common.demo.schedule import CUT, DELAY, DELAYS_MS, KINDS, LEADER, Step, steps

LAYOUT = Layout(Path("unused"), 21_000)
NODES = [name for name in LAYOUT.names if name != "frontend-1"]


def drawn(seed: int, count: int = 200, *, rough: bool = False) -> list[Step]:
    return list(islice(steps(seed, NODES, LAYOUT.talking, rough=rough), count))


# --- the schedule ---


@pytest.mark.parametrize("rough", [False, True])
def test_the_same_seed_is_the_same_sequence(rough: bool) -> None:
    """And another seed another one."""
    assert drawn(7, rough=rough) == drawn(7, rough=rough)
    assert drawn(7, rough=rough) != drawn(8, rough=rough)


def test_the_sequence_does_not_depend_on_the_machine() -> None:
    """Its beginning, written down once."""
    assert [step.words for step in drawn(1, 5)] == BEGINNING


BEGINNING = [
    "kill catalog-2",
    "cut between frontend-1 and backup",
    "kill catalog-1",
    "cut between catalog-2 and order-2",
    "kill the leader",
]


def test_every_step_hurts_somebody_for_a_while_and_then_leaves_them_alone() -> None:
    """Every kind comes up; nobody is named twice in a row; only those who talk are cut apart."""
    found = drawn(3)
    assert {step.kind for step in found} == set(KINDS)
    assert all(step.hold_s > 0 and step.calm_s > 0 for step in found)
    assert all(one.node != other.node for one, other in pairwise(found))
    assert {step.node for step in found} == {*NODES, LEADER, "frontend-1"}
    for step in found:
        assert ((step.node, step.other) in LAYOUT.talking) == (step.kind == CUT)
        assert (step.amount_ms in DELAYS_MS) == (step.kind == DELAY)


def test_the_frontend_is_never_hurt_alone() -> None:
    """It serves the page on which the schedule is watched."""
    assert {step.kind for step in drawn(3, 500) if step.node == "frontend-1"} == {CUT}


# --- the figures ---


def test_percentiles_are_by_nearest_rank() -> None:
    """In milliseconds; of nothing there are none."""
    hundred = [number / 1000 for number in range(100, 0, -1)]
    assert percentiles(hundred) == {"p50": 50.0, "p95": 95.0, "p99": 99.0}
    assert percentiles([0.25]) == {"p50": 250.0, "p95": 250.0, "p99": 250.0}
    assert percentiles([]) is None


def test_only_full_seconds_are_shown() -> None:
    """Also those in which nothing happened."""
    figures = Figures()
    figures.took(READ, 0.010, 1.2)
    figures.took(PURCHASE, 0.020, 1.9)
    figures.answered("unavailable", 3.1, good=False)
    figures.advance(4.5)
    first, second, third = figures.series(4.5)
    assert (first["at"], first["reads"], first["purchases"]) == (1, 1, 1)
    assert first["read_ms"] == {"p50": 10.0, "p95": 10.0, "p99": 10.0}
    assert (second["reads"], second["read_ms"], second["failed"]) == (0, None, 0)
    assert (third["at"], third["failed"]) == (3, 1)


def test_the_figures_of_now_are_of_the_last_seconds() -> None:
    """What is older does not count."""
    figures = Figures()
    for second in range(20):
        figures.took(READ, 1.0 if second < 10 else 0.002, second + 0.5)
    recent = figures.recent(20.0)
    assert recent["reads_per_s"] == 1.0
    assert recent["read_ms"] == {"p50": 2.0, "p95": 2.0, "p99": 2.0}
    assert recent["purchase_ms"] is None


def test_two_minutes_are_kept() -> None:
    """However long it ran, and however long nobody looked."""
    figures = Figures()
    for moment in (0.0, 500.0, 501.0, 10_000.0):
        figures.took(READ, 0.001, moment)
    assert len(figures.series(10_001.0)) <= SECONDS_KEPT
    assert figures.series(10_001.0)[-1]["at"] == 10_000


# --- the receipts ---


def test_a_purchase_is_open_until_it_is_told() -> None:
    """One that was unknown in between is counted as resolved."""
    receipts = Receipts()
    receipts.begun("a")
    receipts.begun("b")
    receipts.unclear("a")
    assert (receipts.shown()["open"], receipts.shown()["unknown"]) == (2, 1)
    receipts.told("a", "order-a")
    receipts.refused("b")
    shown = receipts.shown()
    assert (shown["open"], shown["unknown"], shown["resolved"]) == (0, 0, 1)
    assert (shown["sold"], shown["sold_out"]) == (1, 1)


def test_an_order_that_the_list_lacks_is_missed_and_lost_once_the_shop_says_so() -> None:
    """One that was told after the list was begun is not missed."""
    receipts = Receipts()
    receipts.told("a", "order-a")
    receipts.told("b", "order-b")
    wanted = receipts.told_so_far()
    receipts.told("c", "order-c")
    assert receipts.walked(wanted, ["order-a"]) == {"order-b"}
    assert receipts.shown()["lost"] == 0
    receipts.lost("order-b")
    assert receipts.shown()["lost"] == 1
    receipts.walked(wanted, ["order-a", "order-b"])
    assert receipts.shown()["lost"] == 1, "what was lost once is not forgotten"


def test_one_purchase_that_became_two_orders_is_doubled() -> None:
    """Whether the answers say so or the list."""
    receipts = Receipts()
    receipts.told("a", "order-a")
    receipts.told("a", "order-a")
    assert (receipts.shown()["again"], receipts.shown()["doubled"]) == (1, 0)
    receipts.told("a", "order-x")
    assert receipts.shown()["doubled"] == 1
    receipts.walked(receipts.told_so_far(), ["order-a", "order-x", "order-x"])
    assert receipts.shown()["doubled"] == 2


def test_a_refusal_after_a_sale_is_a_loss() -> None:
    """The same key must be answered the same."""
    receipts = Receipts()
    receipts.told("a", "order-a")
    receipts.refused("a")
    assert (receipts.shown()["lost"], receipts.shown()["sold_out"]) == (1, 0)


def test_what_others_buy_is_counted_apart() -> None:
    """They were not told by us."""
    receipts = Receipts()
    receipts.told("a", "order-a")
    receipts.walked(receipts.told_so_far(), ["order-a", "order-y"])
    shown = receipts.shown()
    assert (shown["found"], shown["others"], shown["lost"]) == (1, 1, 0)


# --- the layout ---


def test_every_port_is_in_its_range_and_used_once() -> None:
    """Nodes, controller, links."""
    ports = [LAYOUT.node_port(name) for name in LAYOUT.names]
    ports += [LAYOUT.link_port(*pair) for pair in LAYOUT.pairs]
    ports.append(LAYOUT.controller_port)
    assert len(set(ports)) == len(ports)
    assert set(ports) <= set(range(21_000, 21_000 + PORTS))


@pytest.mark.parametrize("backup", [True, False])
def test_each_node_is_told_the_others_behind_links_and_itself_as_it_is(
    backup: bool, tmp_path: Path
) -> None:
    """Whatever the terminal had in its environment."""
    layout = Layout(tmp_path / "demo", 21_000, backup=backup)
    settings = layout.prepare()
    assert settings.url_of("catalog-2") == "http://127.0.0.1:21002"
    assert bool(settings.backup) == backup
    for name in layout.names:
        outer = {"BACKUP": "backup=http://elsewhere:1", "CONFIG": "other", "PATH": "/bin"}
        told = load_cluster(layout.config, layout.environ(name, outer))
        for other in layout.names:
            port = layout.node_port(name) if other == name else layout.link_port(name, other)
            assert told.url_of(other) == f"http://127.0.0.1:{port}"
        assert told.demo == f"http://127.0.0.1:{layout.controller_port}"
        assert told.catalogs.keys() == settings.catalogs.keys()
    assert set(MODULES) - set(layout.names) == (set() if backup else {"backup"})


def test_a_demo_begins_with_a_new_shop_and_keeps_its_secrets(tmp_path: Path) -> None:
    """What is not a demo's own stays."""
    layout = Layout(tmp_path, 21_000)
    first = layout.prepare()
    (tmp_path / "data" / "catalog-1").mkdir(parents=True)
    (tmp_path / "mine.txt").write_text("mine")
    assert layout.prepare() == first
    assert not (tmp_path / "data").exists()
    assert (tmp_path / "mine.txt").exists()
    assert ",400\n" in (tmp_path / "catalog.csv").read_text("utf-8")
