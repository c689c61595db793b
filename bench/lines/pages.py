"""The shop's pages in a real browser: how long until one has loaded, and what it weighs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from statistics import median
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote, quote_plus

from bench import machine, ours
from bench.books import Book, catalogue
from bench.demand import Demand
from bench.lines.sizes import LARGE
from bench.nginx import PLAIN, nginx
from bench.run import CACHED, Run

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VISITS = 5  # a round: the median of so many
# From the start of the navigation until everything on the page is there; what came over the wire.
LOADED_MS = """new Promise(tell => setTimeout(() =>
  tell(performance.getEntriesByType("navigation")[0].loadEventEnd)))"""
BYTES = """["navigation", "resource"].flatMap(kind => performance.getEntriesByType(kind))
  .reduce((sum, entry) => sum + entry.transferSize, 0)"""

PAGES: dict[str, Callable[[Book], str]] = {
    "welcome": lambda book: "/",
    "topic": lambda book: f"/topic/{quote(book.topics[0])}",
    "book": lambda book: f"/book/{book.id}",
    "find": lambda book: f"/find?q={quote_plus(max(book.title.split(), key=len))}",
    "basket": lambda book: "/basket",
}


class Visit(NamedTuple):
    """What a visitor saw who came with an empty browser cache, and came again."""

    first_ms: float
    again_ms: float
    kb: float


def pages(run: Run) -> None:
    """Visitors of a shop of 75,000 books, each with a browser profile of their own, in a browser
    that already runs; nothing is pinned, and no GPU draws. Beside them a plain page of nginx's:
    what that browser takes for any page.
    """
    from tests.support.chromium import launched  # playwright is asked for first (bench.machine)

    books = catalogue(LARGE)
    wanted = iter(Demand(books).draw(run.rounds_wanted * VISITS * len(PAGES)))
    with (
        ours.shop(run.folder / "pages", books, CACHED, run.say) as shop,
        nginx(shop.main, run.folder) as peer,
        launched(machine.program("chromium")) as browser,
    ):
        _visit(browser, shop.main)  # a browser's first page ever is slower than any other
        for _ in run.rounds("pages"):
            urls = {
                name: [shop.main + path(next(wanted)) for _ in range(VISITS)]
                for name, path in PAGES.items()
            }
            seen = {name: _visits(browser, each) for name, each in urls.items()}
            worst = Visit(*map(max, zip(*seen.values(), strict=True)))
            for name, visit in (*seen.items(), ("worst", worst)):
                run.record("pages", name, "bazar", **visit._asdict())
            plain = _visits(browser, [peer.url + PLAIN] * VISITS)
            run.record("pages", "plain", "nginx", **plain._asdict())


def _visits(browser: Browser, urls: Iterable[str]) -> Visit:
    """Return the medians of some visits."""
    return Visit(*map(median, zip(*(_visit(browser, url) for url in urls), strict=True)))


def _visit(browser: Browser, url: str) -> Visit:
    with browser.new_context() as profile:
        page = profile.new_page()
        first_ms = _loaded_ms(page, url)
        kb = page.evaluate(BYTES) / 1000
        return Visit(first_ms, _loaded_ms(page, url), kb)


def _loaded_ms(page: Page, url: str) -> float:
    page.goto(url)
    loaded_ms: float = page.evaluate(LOADED_MS)
    return loaded_ms
