"""Holds what the shoppers were told against the list of all orders, as the shop gives it out.

Law: each walk goes through the whole list, so what vanished after it was seen is missed, too. An
order that a walk missed is asked for by name before it is called lost.
"""

from __future__ import annotations

import asyncio
from urllib.parse import urlencode

from common.demo.client import Answer, Client, NoAnswer
from common.demo.receipts import Receipts

PAGE = 200
TIMEOUT_S = 2.0
PAUSE_S = 1.0
PAUSE_PER_WALK = 2  # a long list is walked less often
ASKED_MAX = 50


class Check:
    """Walks the list again and again."""

    def __init__(self, shop: Client, token: str, receipts: Receipts) -> None:
        self._shop = shop
        self._headers = {"Authorization": f"Bearer {token}"}
        self._receipts = receipts
        self.reachable = True  # whether the list could be had the last time

    async def run(self) -> None:
        """Walk, for ever."""
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            try:
                await self.walk()
                self.reachable = True
            except NoAnswer:
                self.reachable = False
            await asyncio.sleep(PAUSE_S + PAUSE_PER_WALK * (loop.time() - began))

    async def walk(self) -> None:
        """Walk the list once; raise `NoAnswer`, having changed nothing, if it cannot be had."""
        wanted = self._receipts.told_so_far()
        listed: list[str] = []
        after: str | None = ""
        while after is not None:
            query = {"limit": PAGE} | ({"after": after} if after else {})
            page = (await self._get(f"/orders?{urlencode(query)}")).json()
            listed += [order["order_id"] for order in page["items"]]
            after = page["next"]
        missed = self._receipts.walked(wanted, listed)
        for order_id in sorted(missed)[:ASKED_MAX]:
            if (await self._get(f"/orders/{order_id}")).status == 404:
                self._receipts.lost(order_id)

    async def _get(self, target: str) -> Answer:
        answer = await self._shop.ask("GET", target, self._headers, timeout_s=TIMEOUT_S)
        if answer.status not in (200, 404):
            raise NoAnswer(f"status {answer.status}")
        return answer
