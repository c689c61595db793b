"""`make status`: the table and the verdict, from what nodes have answered."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from rich.console import Console

from common.status import (
    WAITS,
    WORKS,
    described,
    judge,
    leader_of,
    show,
    show_json,
    state,
    unknown_voters,
)

Node = dict[str, Any]
VOTERS = ["backup", "catalog-1", "catalog-2"]
NARROW, WIDE = 80, 140


def catalog(number: int, **changed: Any) -> Node:
    """Return what a catalog answers: the first leads, the second follows."""
    leads = number == 1
    return {
        "node": f"catalog-{number}", "service": "catalog", "role": "leader" if leads else "replica",
        "epoch": 12, "position": [12, 104_832], "lag": 0, "lease": 1.83,
        "state": "leading" if leads else "following", "leader": "catalog-1",
        "why": "epoch 12 with catalog-2" if leads else "catalog-1 leads",
        "disk": f"{number}9f31c0de77aa001", "reads": True, "writes": leads, "voters": VOTERS,
    } | changed  # fmt: skip


def plain(name: str, service: str, **changed: Any) -> Node:
    return {
        "node": name, "service": service, "role": service, "epoch": 12, "position": None,
        "lag": None, "lease": None, "state": "following", "why": "",
    } | changed  # fmt: skip


NOTHING = {"reads": False, "writes": False}
KEEPING = "keeping 312 entries for catalog-2"
WHOLE = [
    catalog(1),
    catalog(2),
    plain("backup", "backup", state="watching", why="watching: catalog-1 leads", disk="0badcafe11"),
    plain("order-1", "order", lag=0, position=[12, 104_832]),
    plain("order-2", "order", lag=3, state="catching up"),
    plain("frontend-1", "frontend", state="caching", lease=1.2),
]


def shop(**changed: Node | None) -> list[Node]:
    """Return what is found of six nodes, some of them changed (`catalog_2=..`), or away (None)."""
    found = []
    for node in WHOLE:
        name = node["node"].replace("-", "_")
        away = {"state": "down", "why": f"{node['node']} cannot be reached"}
        told = changed.get(name, {})
        found.append(
            node | told if told is not None
            else {"node": node["node"], "service": node["service"]} | away
        )  # fmt: skip
    return described(found)


def shown(nodes: list[Node], width: int = WIDE) -> tuple[int, list[str]]:
    """Return the exit code and the lines of what is printed."""
    console = Console(file=io.StringIO(), width=width)
    exit_code = show(nodes, console)
    assert isinstance(console.file, io.StringIO)
    return exit_code, [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_whole_shop_is_one_table_and_one_line() -> None:
    """One row for each node, in the order of a write; nothing is away."""
    assert shown(shop()) == (WORKS, [
        "node        role      state        epoch   position  lag  lease  disk      why",
        "catalog-1   leader    leading         12  12/104832    0  1.8 s  19f31c0d"
        "  epoch 12 with catalog-2",
        "catalog-2   replica   following       12  12/104832    0  1.8 s  29f31c0d"
        "  catalog-1 leads",
        "backup      backup    watching        12          -    -      -  0badcafe"
        "  watching: catalog-1 leads",
        "order-1     order     following       12  12/104832    0      -",
        "order-2     order     catching up     12          -    3      -",
        "frontend-1  frontend  caching         12          -    -  1.2 s",
        "",
        "reads and writes work",
    ])  # fmt: skip


@pytest.mark.parametrize("width", [NARROW, WIDE])
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    """Where the reasons have no room beside the rest they stand below it, each with its node."""
    backup = {"state": KEEPING, "why": KEEPING}
    _, lines = shown(shop(catalog_2=None, backup=backup), width)
    assert max(map(len, lines)) <= width
    assert any("keeping" in line and KEEPING not in line for line in lines) == (width == NARROW)
    assert sum(KEEPING in line for line in lines) == 1
    assert sum("catalog-2 cannot be reached" in line for line in lines) == 1


def test_a_dead_node_is_shown_as_such_with_the_error() -> None:
    """Among the others, in its place."""
    code, lines = shown(shop(backup=None))
    assert lines[3].split() == [
        "backup", "backup", "down", "-", "-", "-", "-", "backup", "cannot", "be", "reached",
    ]  # fmt: skip
    assert (code, lines[-1]) == (WORKS, "reads and writes work; backup is away")


def test_colours_are_for_terminals() -> None:
    """Into a file goes plain text."""
    assert "\033" not in "".join(shown(shop())[1])
    console = Console(file=io.StringIO(), width=WIDE, force_terminal=True, color_system="standard")
    show(shop(), console)
    assert isinstance(console.file, io.StringIO)
    assert "\033[1;32mleading" in console.file.getvalue()
    assert "\033[1;32m\u25cf reads and writes work" in console.file.getvalue()


@pytest.mark.parametrize(
    ("changed", "colour"),
    [({}, "bold green"), (NOTHING, "yellow"), ({"state": "down"}, "bold red")],
)
def test_a_leader_that_may_not_answer_is_not_green(changed: Node, colour: str) -> None:
    """It says that it leads, and cannot."""
    assert state(described([catalog(1, **changed)])[0]).style == colour


def test_the_lag_is_counted_from_the_leader() -> None:
    """A catalog does not know what it has not heard of."""
    nodes = {node["node"]: node for node in shop(catalog_2={"position": [12, 104_800], "lag": 0})}
    assert nodes["catalog-2"]["lag"] == 32
    assert nodes["order-2"]["lag"] == 3
    alone = {node["node"]: node for node in shop(catalog_1=None, catalog_2={"lag": 1})}
    assert alone["catalog-2"]["lag"] == 1


def test_of_two_that_say_they_lead_the_later_epoch_counts() -> None:
    """One that has slept does not know yet that it was replaced."""
    nodes = shop(catalog_2={"role": "leader", "epoch": 13})
    assert (leader_of(nodes) or {})["node"] == "catalog-2"
    assert leader_of(shop(catalog_1=None)) is None


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({}, "reads and writes work"),
        ({"order_1": None}, "reads and writes work; order-1 is away"),
        (
            {"catalog_2": None, "backup": None, "catalog_1": {"writes": False}},
            "writes wait: catalog-2 and backup are away",
        ),
        (
            {"catalog_2": None, "backup": None, "catalog_1": NOTHING},
            "reads and writes wait: catalog-2 and backup are away",
        ),
        ({"order_1": None, "order_2": None}, "writes wait: order-1 and order-2 are away"),
        ({"frontend_1": None}, "reads and writes wait: frontend-1 is away"),
        (
            {"catalog_1": {"writes": False, "state": "alone", "why": "starting"}},
            "writes wait: catalog-1 is alone: starting; catalog-2 is following: catalog-1 leads",
        ),
    ],
)
def test_what_the_shop_can_do_is_said_in_plain_words(
    found: dict[str, Node | None], words: str
) -> None:
    """And why it cannot."""
    verdict = judge(shop(**found))
    assert verdict.words == words
    assert (verdict.reads and verdict.writes) == words.startswith("reads and writes work")
    assert shown(shop(**found))[0] == (WORKS if verdict.reads and verdict.writes else WAITS)


def test_a_voter_that_is_not_in_the_settings_is_named() -> None:
    """The shop runs with a backup server, and whoever asks has not been told so."""
    nodes = [node for node in shop() if node["node"] != "backup"]
    assert unknown_voters(nodes) == ["backup"]
    assert shown(nodes)[1][-1].startswith("backup has a vote but is not in the settings")
    assert unknown_voters(shop()) == []


def test_the_same_as_json() -> None:
    """With all that the nodes said."""
    console = Console(file=io.StringIO(), width=20)
    nodes = shop(catalog_1={"writes": False}, backup=None)
    assert show_json(nodes, console) == WAITS
    assert isinstance(console.file, io.StringIO)
    document = json.loads(console.file.getvalue())
    assert (document["reads"], document["writes"]) == (True, False)
    assert document["summary"] == "writes wait: backup is away"
    assert document["nodes"] == nodes
