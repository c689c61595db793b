"""Looks at every node twice a second, past the links: who leads, and whether all is well."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from common.demo.client import NoAnswer, SignedClient
from common.demo.diary import LEADER, Diary

EVERY_S = 0.5
TIMEOUT_S = 0.4
WELL = {"caching", "cache off", "following", "leading", "watching"}
MEMBERS = ("role", "epoch", "position", "state", "lag", "why")


class Watch:
    """What each node said last, if it said anything."""

    def __init__(self, nodes: Mapping[str, SignedClient], diary: Diary) -> None:
        self._nodes = nodes
        self._diary = diary
        self._found: dict[str, dict[str, Any] | None] = dict.fromkeys(nodes)
        self.leader: str | None = None  # the last one known; it may just have died

    async def run(self) -> None:
        """Look, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(EVERY_S)

    async def look(self) -> None:
        """Ask every node."""
        answers = await asyncio.gather(*map(self._ask, self._nodes))
        self._found = dict(zip(self._nodes, answers, strict=True))
        leading = [node for node in self._nodes if self.leads(node)]
        leader = max(leading, key=self._epoch, default=None)
        if leader is not None and leader != self.leader:
            verb = "leads" if self.leader is None else "has taken over and leads"
            self.leader = leader
            self._diary.note(LEADER, f"{leader} {verb} in epoch {self._epoch(leader)}")

    async def _ask(self, name: str) -> dict[str, Any] | None:
        try:
            status = await self._nodes[name].get("/status", timeout_s=TIMEOUT_S)
            return {member: status.get(member) for member in MEMBERS}
        except (NoAnswer, AttributeError):
            return None

    def said(self, name: str) -> dict[str, Any] | None:
        """Return what a node said of itself; None if it did not answer."""
        return self._found[name]

    def leads(self, name: str) -> bool:
        """Tell whether a node has just said that it leads."""
        return (self._found[name] or {}).get("role") == "leader"

    @property
    def leading(self) -> str | None:
        """Return who leads, unless nobody has just said so."""
        return self.leader if self.leader is not None and self.leads(self.leader) else None

    def _epoch(self, name: str) -> int:
        return int((self._found[name] or {}).get("epoch") or 0)

    def is_whole(self) -> bool:
        """Tell whether every node does what it is there for."""
        return all((said or {}).get("state") in WELL for said in self._found.values())
