"""What is seen in the control room while a leader dies: pictures of `/ops` and `/ops/faults`.

A demo of its own, played the same each time: shoppers come, the leader dies, it comes back, other
faults are on. `make pictures` takes them with the others.
"""

from __future__ import annotations

import re
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from playwright.sync_api import Page, expect

from common.config import load_cluster
from tests.support.browser import LOOKS, Look, Visitors, chromium
from tests.support.demo import free_range
from tests.support.pictures import save, screenshot
from tests.support.processes import ROOT, Process
from tests.support.wait import wait_until

START_S, PATIENCE_MS = 90.0, 60_000.0
RATE, SOLD, SOLD_LATER = "100", 250, 450


def main() -> None:
    """Play, and take the pictures."""
    with TemporaryDirectory() as name, chromium() as browser:
        folder, port = Path(name) / "demo", free_range()
        arguments = ["-m", "common.demo", "--folder", str(folder), "--port", str(port)]
        with Process(arguments, Path(name) / "log") as process:
            process.wait_for("Ctrl-C ends it all", START_S)
            token = load_cluster(folder / "cluster.env", {}).admin_token
            visitors, shop = Visitors(browser), f"http://127.0.0.1:{port}"
            first = visitors.arrive(shop, LOOKS[0])
            page = first.tab("/ops/faults")
            page.get_by_label("Admin token").fill(token)
            page.keyboard.press("Enter")
            expect(page.locator("#live-text")).to_contain_text("live")
            cookies: Any = first.context.cookies()
            watchers = {look: visitors.arrive(shop, look) for look in LOOKS}
            for watcher in watchers.values():
                watcher.context.add_cookies(cookies)
            _play(page, {look: watcher.tab("/ops") for look, watcher in watchers.items()})
            for look, watcher in watchers.items():
                _take(watcher.tab("/ops/faults"), look)
            visitors.leave()
            process.popen.terminate()
            process.ends(START_S)


def _play(page: Page, rooms: dict[Look, Page]) -> None:
    page.get_by_label("how many a second").fill(RATE)
    page.get_by_role("button", name="Let them in").click()
    _sold(page, SOLD)
    page.get_by_role("button", name="Kill the leader").click()
    expect(page.locator("#verdict")).to_contain_text("catalog-2 leads", timeout=PATIENCE_MS)
    _sold(page, SOLD_LATER)
    for look, room in rooms.items():
        room.get_by_text("catalog-2 leads, after catalog-1").first.wait_for()
        print(save(screenshot(room, whole=True), "ops-failover", look).relative_to(ROOT))
    page.get_by_role("button", name="Start catalog-1 again").click()
    expect(page.locator("#verdict")).to_contain_text("All is well", timeout=PATIENCE_MS)
    _sold(page, SOLD_LATER + 100)
    page.get_by_role("button", name="Pause order-2").click()
    page.get_by_role("button", name="Cut between catalog-1 and backup").click()
    page.get_by_label("Delay order-1").select_option("50")
    expect(page.locator("#node-order-1")).to_contain_text("50 ms late")


def _sold(page: Page, orders: int) -> None:
    def sold() -> bool:
        return int(re.sub(r"\D", "", page.locator("#sold").inner_text()) or 0) >= orders

    wait_until(sold, PATIENCE_MS / 1000, f"{orders} orders")


def _take(page: Page, look: Look) -> None:
    expect(page.locator("#live-text")).to_contain_text("live")
    expect(page.locator("#chart svg")).to_be_visible()
    expect(page.locator("#invariants li")).to_have_count(3)
    print(save(screenshot(page, whole=True), "ops-faults", look).relative_to(ROOT))
