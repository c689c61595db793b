"""What `make run` shows: each node's lines, who came up when, and where the shop is."""

from __future__ import annotations

import io

from rich.console import Console

from common.runlog import RunLog

NODES = ["catalog-1", "order-1", "frontend-1"]
SHOP = "http://127.0.0.1:8000"
AT = "2026-11-23T01:46:59.324Z"


class Shown:
    """A run of three nodes, ten seconds after the machine's start."""

    def __init__(self, *, terminal: bool) -> None:
        self.out = io.StringIO()
        self.seconds = 10.0
        console = Console(
            file=self.out, force_terminal=terminal, color_system="standard", width=80, _environ={}
        )
        self.log = RunLog(NODES, SHOP, console, lambda: self.seconds)
        self.log.start()

    def say(self, node: str, said: str, level: str = "INFO") -> str:
        """Have a node say something half a second later; return what is printed."""
        self.seconds += 0.5
        before = len(self.out.getvalue())
        self.log.line(node, f"{AT} {node} {level} {said}")
        return self.out.getvalue()[before:]

    def open(self) -> str:
        """Have all come up and one lead; return what the last of it prints."""
        for number, node in enumerate(NODES):
            self.say(node, f"listening on http://127.0.0.1:{8100 + number}")
        return self.say("catalog-1", "leading: epoch 3 (epoch 3)")


def test_a_node_that_is_up_is_shown_with_its_time_and_its_address() -> None:
    """Counted from the start; once it was up, without."""
    shown = Shown(terminal=True)
    first = shown.say("order-1", "listening on http://127.0.0.1:8201")
    again = shown.say("order-1", "listening on http://127.0.0.1:8201")
    assert "01:46:59.324" in first
    assert "after 0.5 s" in first
    assert "http://127.0.0.1:8201" in first
    assert "after" not in again


def test_the_shop_is_open_when_all_nodes_listen_and_one_leads() -> None:
    """Then it says where the shop, the control room and the API are; once."""
    shown = Shown(terminal=True)
    opened = shown.open()
    assert "The shop is open, 2.0 s after its start." in opened
    for path in ("/", "/ops", "/docs"):
        assert SHOP + path in opened
    assert "is open" not in shown.open()


def test_a_shop_without_a_leader_is_not_open() -> None:
    """Nor is one without a frontend."""
    shown = Shown(terminal=True)
    for node in ("catalog-1", "order-1", "frontend-1"):
        assert "is open" not in shown.say(node, "listening on http://127.0.0.1:1")
    shown = Shown(terminal=True)
    assert "is open" not in shown.say("catalog-1", "leading: founded the cluster (epoch 1)")


def test_elsewhere_than_on_a_terminal_each_line_is_as_it_came() -> None:
    """One line is added: where the shop is."""
    shown = Shown(terminal=False)
    long = "x" * 300 + " [bold]no markup[/bold]"
    assert shown.say("order-1", long) == f"{AT} order-1 INFO {long}\n"
    assert shown.open().splitlines() == [
        f"{AT} catalog-1 INFO leading: epoch 3 (epoch 3)",
        f"the shop is open after 2.5 s: shop {SHOP}/, control room {SHOP}/ops, API {SHOP}/docs",
    ]
    assert "\033" not in shown.out.getvalue()


def test_nodes_have_colours_and_troubles_are_loud() -> None:
    """What is no line of ours, a traceback say, is shown as it is."""
    shown = Shown(terminal=True)
    assert "\033[34morder-1" in shown.say("order-1", "well")
    assert "\033[33mnot well" in shown.say("order-1", "not well", "WARNING")
    assert "\033[1;31mill" in shown.say("order-1", "ill", "ERROR")
    shown.log.line("order-1", '  File "[red]x[/red].py", line 1')
    assert '  File "[red]x[/red].py", line 1' in shown.out.getvalue()
