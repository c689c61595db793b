"""The log of `make run`: the nodes' lines as people read them on a terminal, as they are elsewhere.

Law: no line of a node is lost or put in another order; what is added stands between them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.text import Text

_LINE = re.compile(r"\S+T(\d\d:\d\d:\d\d\.\d{3})\d*Z (\S+) ([A-Z]+) (.*)", re.ASCII)
_UP = re.compile(r"listening on (\S+)")
LEADS = "leading"
COLOURS = ("cyan", "blue", "magenta", "bright_cyan", "bright_blue", "bright_magenta")
LOUD = {"WARNING": "yellow", "ERROR": "bold red", "CRITICAL": "bold red"}
FAINT = "dim"
PAGES = (("shop", "/"), ("control room", "/ops"), ("API", "/docs"))


@dataclass
class RunLog:
    """What is shown of one run: `nodes` are their names, `shop` the first frontend's URL."""

    nodes: Sequence[str]
    shop: str
    console: Console
    now: Callable[[], float]
    began: float = field(init=False)
    _waited_for: set[str] = field(init=False)

    def __post_init__(self) -> None:
        self.began = self.now()
        # The shop is open when every node listens and a catalog leads.
        self._waited_for = {*self.nodes, LEADS}

    def start(self) -> None:
        """Say what is started."""
        if self.console.is_terminal:
            count = len(self.nodes)
            self.console.print(f"Starting {count} nodes: {', '.join(self.nodes)}", highlight=False)

    def line(self, name: str, text: str) -> None:
        """Show one line of a node, or of the run itself."""
        found = _LINE.fullmatch(text)
        up = _UP.fullmatch(found[4]) if found else None
        if not self.console.is_terminal:
            self.console.out(text, highlight=False)
        elif found:
            at, node, level, said = found.groups()
            self._show(at, node, self._up(node, up[1]) if up else _said(level, said))
        else:
            self._show("", name, Text(text, FAINT))
        if found:
            self._heard(found[2], up is not None, found[4])

    def _show(self, at: str, name: str, said: Text) -> None:
        width = max(map(len, self.nodes), default=0)
        parts = [(f"{at:12}  ", FAINT), (f"{name:{width}}  ", self._colour(name))]
        self.console.print(Text.assemble(*parts, said), soft_wrap=True)

    def _colour(self, name: str) -> str:
        if name not in self.nodes:
            return FAINT
        return COLOURS[self.nodes.index(name) % len(COLOURS)]

    def _up(self, name: str, url: str) -> Text:
        again = name not in self._waited_for
        took = "" if again else f" after {self.now() - self.began:.1f} s"
        return Text.assemble(("up", "bold green"), f"{took}  ", (url, FAINT))

    def _heard(self, name: str, up: bool, said: str) -> None:
        """Note what the shop waited for; when that was the last, say that it is open."""
        if not self._waited_for:
            return
        if up:
            self._waited_for.discard(name)
        if said.startswith(f"{LEADS}:"):
            self._waited_for.discard(LEADS)
        if not self._waited_for:
            self._open()

    def _open(self) -> None:
        took_s = self.now() - self.began
        if not self.console.is_terminal:
            where = ", ".join(f"{what} {self.shop}{path}" for what, path in PAGES)
            self.console.out(f"the shop is open after {took_s:.1f} s: {where}", highlight=False)
            return
        self.console.print(Text.assemble(
            "\n", (f"The shop is open, {took_s:.1f} s after its start.", "bold green"), "\n",
            *_places(self.shop), (f"  {'end it':14}Ctrl-C, or `make stop` from elsewhere\n", FAINT),
        ), soft_wrap=True)  # fmt: skip


def _places(shop: str) -> list[str | tuple[str, str]]:
    return [
        part
        for what, path in PAGES
        for part in (f"  {what:14}", (f"{shop}{path}", "bold underline"), "\n")
    ]


def _said(level: str, said: str) -> Text:
    if level in LOUD:
        return Text(said, LOUD[level])
    return Text(said, FAINT if level == "KEEP" else "")
