"""One demo as a whole: nodes, links, watch, shoppers, schedule; and how it looks.

Law: everything here lives on one event loop, so nothing has a lock.
"""

from __future__ import annotations

import asyncio
import csv
from collections.abc import Callable
from random import Random
from typing import Any

from common.auth import Signer
from common.config import SEED_NAME, Settings
from common.demo.check import Check
from common.demo.client import Client, SignedClient
from common.demo.diary import NOTE, Diary
from common.demo.faults import Faults
from common.demo.figures import Figures
from common.demo.layout import CONTROLLER, MODULES, PAGES, Layout
from common.demo.load import RATE_MAX, Load
from common.demo.nemesis import Nemesis
from common.demo.network import DELAYS_MS, Network
from common.demo.nodes import Node
from common.demo.receipts import Receipts
from common.demo.watch import Watch

READY_S = 60.0
LOOK_S = 0.1


class Demo:
    """Builds all parts; starts nothing. `group` is where nodes' processes belong."""

    def __init__(
        self, layout: Layout, settings: Settings, group: int, tell: Callable[[str], object]
    ) -> None:
        self._layout = layout
        self.diary = Diary(tell)
        self.network = Network(layout)
        self.nodes = {
            name: Node(
                name, layout.command(name), layout.node_port(name), layout.environ(name),
                layout.log(name),
            )
            for name in layout.names
        }  # fmt: skip
        self.faults = Faults(self.nodes, self.network, self.diary, group)
        self.watch = Watch(_signed(layout, settings), self.diary)
        self.nemesis = Nemesis(layout, self.faults, self.watch, self.diary, sleep=asyncio.sleep)
        self.figures, self.receipts = Figures(), Receipts()
        shop = layout.node_port(PAGES[0])
        self.load = Load(
            Client(shop), settings.admin_token, _books(layout),
            figures=self.figures, receipts=self.receipts, diary=self.diary, random=Random(),
        )  # fmt: skip
        self._check = Check(Client(shop), settings.admin_token, self.receipts)
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start the nodes, and watch them."""
        await self.faults.start_all()
        self._tasks = [asyncio.create_task(self.watch.run())]

    async def open(self) -> None:
        """Wait until the shop is whole, then begin to check its list; raise TimeoutError."""
        async with asyncio.timeout(READY_S):
            while not self.watch.is_whole():
                await asyncio.sleep(LOOK_S)
        await self.load.learn_topics()
        self._tasks.append(asyncio.create_task(self._check.run()))
        self.diary.note(NOTE, "the shop is open")

    async def close(self) -> None:
        """End everything."""
        await self.nemesis.stop()
        await self.load.close()
        for task in self._tasks:
            task.cancel()
        self.network.heal()
        await self.faults.end_all()
        self.network.close()

    async def heal(self) -> None:
        """Stop the schedule and undo whatever was done."""
        await self.nemesis.stop()
        await self.faults.heal()

    def shown(self) -> dict[str, Any]:
        """Return everything a page shows."""
        now = self.diary.now()
        self.figures.advance(now)
        return {
            "now": round(now, 2), "leader": self.watch.leading, "whole": self.watch.is_whole(),
            "nodes": [self._node(name) for name in self._layout.names],
            "pairs": self.network.shown(self._layout.talking),
            "restarts": self.faults.restarts, "delays_ms": DELAYS_MS,
            "schedule": self.nemesis.shown(),
            "load": {
                "rate": self.load.rate, "rate_max": RATE_MAX,
                "recent": self.figures.recent(now), "series": self.figures.series(now),
                "codes": dict(self.figures.codes.most_common()),
            },
            "receipts": self.receipts.shown() | {"listed": self._check.reachable},
            "diary": self.diary.shown(),
        }  # fmt: skip

    def _node(self, name: str) -> dict[str, Any]:
        node = self.nodes[name]
        return {
            "node": name, "service": name.partition("-")[0], "state": node.state,
            "pid": node.pid, "starts": node.starts, "leads": self.watch.leads(name),
            "cut_off": self.network.is_cut_off(name), "delay_ms": self.network.delay_ms(name),
            "returns": name in PAGES, "said": self.watch.said(name),
        }  # fmt: skip


def _signed(layout: Layout, settings: Settings) -> dict[str, SignedClient]:
    signer = Signer(CONTROLLER, settings.cluster_secret)
    return {
        name: SignedClient(name, Client(layout.node_port(name)), signer)
        for name in MODULES
        if name in layout.names
    }


def _books(layout: Layout) -> int:
    with (layout.folder / SEED_NAME).open(encoding="utf-8", newline="") as seed:
        return sum(1 for _ in csv.DictReader(seed))
