"""`make pictures`: takes a picture of every page, light and dark, desktop and phone, into
docs/pictures/. Whoever adds a page adds a scene to `SCENES`; what is seen while a leader dies is in
`demo_pictures.py`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from playwright.sync_api import Browser, Page

from tests import demo_pictures
from tests.support.browser import LOOKS, Look, Visitor, chromium
from tests.support.pictures import save, screenshot
from tests.support.processes import ROOT
from tests.support.real import RealShop

SEED = ROOT / "config" / "catalog.csv"
SPELLED = {"雪国": "Snow Country", "道德經": "Tao Te Ching"}  # not every machine has these letters
SCARCE = {30: 2, 57: 1}  # of the seed's books: how many copies to leave


class Scene(NamedTuple):
    """A page to be seen: its picture's name, and how a visitor gets there."""

    name: str
    go: Callable[[Page, RealShop], object]
    whole: bool = False  # also what is below the window


def _basket(page: Page, *books: int) -> None:
    for book in books:
        page.goto(f"/book/{book}")
        page.get_by_role("button", name="Put into the basket").click()


def _search(page: Page, text: str) -> None:
    page.goto("/")
    page.get_by_role("combobox").press_sequentially(text)
    page.get_by_role("option").first.wait_for()
    page.keyboard.press("ArrowDown")


def _till(page: Page, *books: int) -> None:
    _basket(page, *books)
    page.goto("/checkout")


def _order(page: Page, *books: int) -> None:
    _till(page, *books)
    page.get_by_role("button", name="Place the order").click()
    page.wait_for_url("**/order/*")


def _too_late(page: Page, shop: RealShop) -> None:
    """Sell what somebody has in the basket to somebody else, and put it back afterwards."""
    _till(page, 41, 39)
    left = shop.stock(41)
    assert shop.buy(41, left).ok
    page.get_by_role("button", name="Place the order").click()
    page.get_by_text("Somebody was quicker").wait_for()
    assert shop.restock(41, left).ok


def _closed(page: Page, shop: RealShop) -> None:
    """Have one catalog out of reach: the till cannot sell."""
    _till(page, 43)
    shop.kill("catalog-2")
    page.get_by_role("button", name="Place the order").click()
    page.get_by_role("button", name="Try again").wait_for()
    shop.start("catalog-2")
    shop.wait_ready()


def _control(page: Page, shop: RealShop, path: str) -> None:
    """Go to a page of the control room once something has happened in the shop."""
    shop.look(41)
    assert shop.buy(30 + len(shop.listing("order-1")) % 20).status_code in (201, 409)
    page.goto("/ops/login")
    page.get_by_label("Admin token").fill(shop.settings.admin_token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ops")
    page.goto(path)
    page.locator("#live[data-kind=live]").wait_for()


def _traced(page: Page, shop: RealShop) -> None:
    """See what one purchase caused."""
    _control(page, shop, "/ops/requests")
    for book in (8, 44, 45):
        shop.look(book)
    trace = shop.buy(8).headers["Trace-Id"]
    assert shop.restock(8, 1).ok
    page.goto(f"/ops/requests?trace={trace}")
    page.get_by_text("write the order log").first.wait_for()


def _desk(page: Page, shop: RealShop) -> None:
    """See how the copies of a book came and went."""
    _control(page, shop, "/ops/stock")
    page.locator("#low button").first.click()
    page.locator("#movements tbody tr").first.wait_for()


SHOP = (
    Scene("shop-welcome", lambda page, shop: page.goto("/"), whole=True),
    Scene("shop-topics", lambda page, shop: page.goto("/all-topics")),
    Scene("shop-topic", lambda page, shop: page.goto("/topic/science%20fiction")),
    Scene("shop-search", lambda page, shop: _search(page, "the")),
    Scene("shop-book", lambda page, shop: page.goto("/book/8")),
    Scene("shop-basket", lambda page, shop: _basket(page, 8, 30, 42)),
    Scene("shop-till", lambda page, shop: _till(page, 8, 30, 42)),
    Scene("shop-order", lambda page, shop: _order(page, 8, 42)),
    Scene("shop-sold-out", _too_late),
    Scene("shop-till-closed", _closed),
)
CONTROL_ROOM = (
    Scene("ops-login", lambda page, shop: page.goto("/ops/login")),
    Scene("ops-overview", lambda page, shop: _control(page, shop, "/ops"), whole=True),
    Scene("ops-requests", lambda page, shop: _traced(page, shop), whole=True),
    Scene("ops-cache", lambda page, shop: _control(page, shop, "/ops/cache")),
    Scene("ops-stock", lambda page, shop: _desk(page, shop), whole=True),
    Scene("ops-orders", lambda page, shop: _control(page, shop, "/ops/orders")),
    Scene("api-docs", lambda page, shop: page.goto("/docs")),
)
SCENES: tuple[Scene, ...] = (*SHOP, *CONTROL_ROOM)


def main(names: Sequence[str]) -> int:
    """Take the pictures whose names begin like one of `names`, or all."""
    seed = SEED.read_text("utf-8")
    for title, spelled in SPELLED.items():
        seed = seed.replace(title, spelled)
    scenes = [scene for scene in SCENES if not names or scene.name.startswith(tuple(names))]
    if not names or "ops-failover".startswith(tuple(names)):
        demo_pictures.main()
    if not scenes:
        return 0
    with (
        TemporaryDirectory() as folder,
        RealShop(Path(folder), seed=seed) as shop,
        chromium() as browser,
    ):
        for book, left in SCARCE.items():
            assert shop.buy(book, shop.stock(book) - left).ok
        for scene in scenes:
            for look in LOOKS:
                print(_take(browser, shop, scene, look).relative_to(ROOT))
    return 0


def _take(browser: Browser, shop: RealShop, scene: Scene, look: Look) -> Path:
    visitor = Visitor(browser, shop.url(shop.frontends[0]), look)
    page = visitor.tab()
    scene.go(page, shop)
    taken = screenshot(page, whole=scene.whole)
    visitor.leave()
    return save(taken, scene.name, look)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
