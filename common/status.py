"""`make status`: asks every node directly how it is, shows it, and says what the shop can do.

Law: what it says rests only on what the nodes answered just now; who does not answer is away.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from common.auth import Signer
from common.clock import SystemClock
from common.config import ConfigError, Settings, add_config_argument, load_cluster
from common.peer import Http, Peer, RequestsHttp
from common.survey import DOWN, Found, Survey
from common.tasks import Threads

WHOLE_S = 1.5
WORKS, WAITS, USAGE = 0, 1, 2  # exit codes
COLUMNS = ("node", "role", "state", "epoch", "position", "lag", "lease", "disk", "why")
NUMBERS = ("epoch", "position", "lag", "lease")
DISK_CHARS = 8
WIDE_CHARS = 110
GOOD, POOR, BAD, FAINT = "green", "yellow", "bold red", "dim"
COLOURS = {
    "leading": "bold green", "following": GOOD, "caching": GOOD, "cache off": GOOD,
    "watching": GOOD, "keeping": POOR, DOWN: BAD, "refusing": BAD, "diverged": BAD,
}  # fmt: skip

Nodes = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Verdict:
    """What the shop can do, and that in plain words."""

    reads: bool
    writes: bool
    words: str


def ask(settings: Settings, survey: Survey, http: Http) -> list[dict[str, Any]]:
    """Return what every configured node says of itself, each with its service and `up`."""
    services = _services(settings)
    signer = Signer("status", settings.cluster_secret)
    peers = {
        name: Peer(name, settings.url_of(name), http=http, signer=signer, cluster=lambda: "")
        for name in services
    }

    def status_of(name: str) -> Found:
        found = peers[name].call("GET", "/status", timeout_s=WHOLE_S).json()
        return {member: found.get(member) for member in found}

    found = survey.ask(list(services), status_of, WHOLE_S)
    return described(
        [{"node": name, "service": services[name]} | dict(found[name]) for name in services]
    )


def _services(settings: Settings) -> dict[str, str]:
    """Return node -> its service, in the order they are shown."""
    groups = {
        "catalog": settings.catalogs, "backup": settings.backup,
        "order": settings.orders, "frontend": settings.frontends,
    }  # fmt: skip
    return {name: service for service, names in groups.items() for name in names}


def described(found: Nodes) -> list[dict[str, Any]]:
    """Add to what was found of each node whether it is up, and how far behind it is."""
    nodes = [dict(node) | {"up": node.get("state") != DOWN} for node in found]
    leader = leader_of(nodes)
    return [node | {"lag": _lag(node, leader)} for node in nodes]


def leader_of(nodes: Nodes) -> Mapping[str, Any] | None:
    """Return the node that leads, by what it says itself; of several the one in the last epoch."""
    leading = [node for node in nodes if node.get("role") == "leader"]
    return max(leading, key=lambda node: int(node["epoch"]), default=None)


def _lag(node: Mapping[str, Any], leader: Mapping[str, Any] | None) -> int | None:
    """Return how many entries a catalog is behind the leader; others know it themselves."""
    position = node.get("position")
    if node["service"] != "catalog" or leader is None or position is None:
        return node.get("lag")
    return max(0, int(leader["position"][1]) - int(position[1]))


def judge(nodes: Nodes) -> Verdict:
    """Say whether the shop can read and write: that takes a frontend, a catalog with the right to
    answer, an order server, and a leader whose entries another one keeps.
    """
    fronts = any(node["up"] for node in nodes if node["service"] == "frontend")
    orders = any(node["up"] for node in nodes if node["service"] == "order")
    reads = fronts and any(node.get("reads") for node in nodes)
    writes = fronts and orders and any(node.get("writes") for node in nodes)
    away = [str(node["node"]) for node in nodes if not node["up"]]
    why = _are(away) or "; ".join(
        f"{node['node']} is {node.get('state')}: {node.get('why')}"
        for node in nodes if node["service"] == "catalog"
    )  # fmt: skip
    if reads and writes:
        return Verdict(reads, writes, "reads and writes work" + (f"; {why}" if away else ""))
    waits = "writes wait" if reads else "reads wait" if writes else "reads and writes wait"
    return Verdict(reads, writes, f"{waits}: {why}")


def _are(names: Sequence[str]) -> str:
    if len(names) < 2:
        return "".join(f"{name} is away" for name in names)
    return f"{', '.join(names[:-1])} and {names[-1]} are away"


def unknown_voters(nodes: Nodes) -> list[str]:
    """Return who has a vote among the catalogs but does not stand in the settings."""
    known = {node["node"] for node in nodes}
    return sorted({name for node in nodes for name in node.get("voters") or ()} - known)


# --- as people see it ---


def table(nodes: Nodes, columns: Sequence[str]) -> Table:
    """Draw the nodes, one row each."""
    drawn = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style=FAINT)
    for name in columns:
        drawn.add_column(
            name, justify="right" if name in NUMBERS else "left", no_wrap=name != "why"
        )
    for node in nodes:
        drawn.add_row(*(cell(name, node) for name in columns))
    return drawn


def tables(nodes: Nodes, width: int) -> list[Table]:
    """Draw one table, or two below each other where the reasons have no room beside the rest."""
    if width >= WIDE_CHARS:
        return [table(nodes, COLUMNS)]
    reasons = [node for node in nodes if node.get("why")]
    return [table(nodes, COLUMNS[:-1])] + [table(reasons, ("node", "why"))] * bool(reasons)


def cell(name: str, node: Mapping[str, Any]) -> Text:
    """Return what stands in one column of a node's row."""
    value = node.get(name)
    if name == "role":
        return Text(str(value or node["service"]), style="bold" if value == "leader" else "")
    if name == "state":
        return state(node)
    if name == "why":
        return Text(str(value or ""), style=FAINT if node["up"] else "red")
    if value is None:
        return Text("-" if name in NUMBERS else "", style=FAINT)
    return Text(_plain(name, value), style=POOR if name == "lag" and value else "")


def state(node: Mapping[str, Any]) -> Text:
    """Return a node's state, in its colour; what stands under `why` in full by its first word."""
    whole = str(node.get("state"))
    word = whole.split(" ", 1)[0] if whole == node.get("why") else whole.partition(":")[0]
    answers = node.get("reads", True)  # only catalogs say whether they do
    return Text(word, style=COLOURS.get(word, POOR) if answers or not node["up"] else POOR)


def _plain(name: str, value: Any) -> str:
    if name == "position":
        return "/".join(map(str, value))
    if name == "lease":
        return f"{value:.1f} s"
    return str(value)[:DISK_CHARS] if name == "disk" else str(value)


def show(nodes: Nodes, console: Console) -> int:
    """Print the table and the verdict; return the exit code."""
    verdict = judge(nodes)
    works = verdict.reads and verdict.writes
    for drawn in tables(nodes, console.width):
        console.print(drawn)
        console.print()
    mark = "\u25cf " if console.is_terminal else ""
    console.print(Text(mark + verdict.words, "bold green" if works else BAD), soft_wrap=True)
    for name in unknown_voters(nodes):
        hint = f"{name} has a vote but is not in the settings: set BACKUP, or give WITH_BACKUP=1"
        console.print(Text(hint, style=POOR), soft_wrap=True)
    return WORKS if works else WAITS


def show_json(nodes: Nodes, console: Console) -> int:
    """Print the same as JSON; return the exit code."""
    verdict = judge(nodes)
    document = {
        "reads": verdict.reads, "writes": verdict.writes, "summary": verdict.words,
        "nodes": list(nodes),
    }  # fmt: skip
    console.out(json.dumps(document, indent=2), highlight=False)
    return WORKS if verdict.reads and verdict.writes else WAITS


def main(argv: Sequence[str] | None = None, *, console: Console | None = None) -> int:
    """Ask every node how it is; exit code 0 if the shop can read and write, 1 if not."""
    parser = argparse.ArgumentParser(prog="python -m common.status", description=main.__doc__)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    add_config_argument(parser)
    given = parser.parse_args(argv)
    try:
        settings = load_cluster(given.config)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return USAGE
    survey = Survey(clock=SystemClock(), tasks=Threads(), lock=threading.Lock())
    nodes = ask(settings, survey, RequestsHttp())
    shown = partial(show_json if given.json else show, nodes)
    return shown(console or Console())


if __name__ == "__main__":
    sys.exit(main())
