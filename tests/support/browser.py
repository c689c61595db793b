"""A real browser for system tests: Debian's chromium, driven by playwright, watched while it works.

Law: whatever a page complains of (console errors, exceptions, requests that fail, breaches of its
Content Security Policy, which the browser writes to the console) fails the test at its end, unless
the test has announced it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, NamedTuple, Self

import pytest
from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Browser, BrowserContext, Page, Request, expect

from tests.support.chromium import can_drive, find_chromium, launched

DESKTOP = {"width": 1280, "height": 800}
PHONE = {"width": 390, "height": 844}
PATIENCE_MS = 20_000.0  # generous: a busy machine is no defect
MISSING = (
    "no browser to drive; on Debian: apt install"
    " chromium-headless-shell (or chromium) fonts-dejavu-core libatomic1"
)
STANDARDS = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "best-practice"]

Theme = Literal["light", "dark"]


class Look(NamedTuple):
    """What a visitor's screen is like."""

    theme: Theme = "light"
    phone: bool = False


PLAIN = Look()
LOOKS = [Look(theme, phone) for phone in (False, True) for theme in ("light", "dark")]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Run a browser; where there is none the test is left out."""
    program = find_chromium()
    if program is None or not can_drive():
        pytest.skip(MISSING)
    expect.set_options(timeout=PATIENCE_MS)
    with launched(program) as browser:
        yield browser


class Visitor:
    """Somebody with a browser profile of their own (cookies, cache) and any number of tabs."""

    def __init__(
        self, browser: Browser, shop: str, look: Look = PLAIN, *, javascript: bool = True
    ) -> None:
        self.complaints: list[str] = []
        self._expected: list[str] = []
        self.context: BrowserContext = browser.new_context(
            base_url=shop,
            color_scheme=look.theme,
            viewport=PHONE if look.phone else DESKTOP,
            is_mobile=look.phone,
            has_touch=look.phone,
            java_script_enabled=javascript,
            reduced_motion="reduce",
        )
        self.context.set_default_timeout(PATIENCE_MS)
        self.context.on("console", lambda message: self._said(message.type, message.text))
        self.context.on("weberror", lambda error: self._complain(f"exception: {error.error}"))
        self.context.on("requestfailed", self._failed)

    def tab(self, path: str | None = None) -> Page:
        """Open a tab, and a page of the shop in it."""
        page = self.context.new_page()
        if path is not None:
            page.goto(path)
        return page

    def expects(self, *patterns: str) -> Self:
        """Announce complaints: regular expressions that are found in them."""
        self._expected.extend(patterns)
        return self

    def leave(self) -> list[str]:
        """Close all tabs; return what pages complained of that was not announced."""
        self.context.close()
        return [
            complaint
            for complaint in self.complaints
            if not any(re.search(pattern, complaint) for pattern in self._expected)
        ]

    def _said(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._complain(f"console {kind}: {text}")

    def _failed(self, request: Request) -> None:
        why = request.failure or ""
        if "ERR_ABORTED" not in why:  # that is what the page, or the visitor, gave up itself
            self._complain(f"request failed: {request.method} {request.url}: {why}")

    def _complain(self, what: str) -> None:
        self.complaints.append(what)


class Visitors:
    """Makes visitors of one shop after another, and at its end asks all of them for complaints."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._visitors: list[Visitor] = []

    def arrive(self, shop: str, look: Look = PLAIN, *, javascript: bool = True) -> Visitor:
        """Return a new visitor of the shop at this URL."""
        visitor = Visitor(self._browser, shop, look, javascript=javascript)
        self._visitors.append(visitor)
        return visitor

    def leave(self) -> None:
        """Send all home; fail if a page complained."""
        complaints = [found for visitor in self._visitors for found in visitor.leave()]
        assert not complaints, "pages complained:\n" + "\n".join(complaints)


def accessibility(page: Page, *left_out: str) -> list[str]:
    """Return what axe-core finds wrong with a page, landmarks, labels and contrast among it, but
    for the rules `left_out`. (It comes in by the debugger, which no policy of the page's binds.)
    """
    page.evaluate(AXE_SCRIPT)
    wanted: dict[str, Any] = {
        "resultTypes": ["violations"],
        "runOnly": {"type": "tag", "values": STANDARDS},
        "rules": {rule: {"enabled": False} for rule in left_out},
    }
    found = page.evaluate("wanted => axe.run(document, wanted)", wanted)
    return [
        f"{violation['id']}: {violation['help']}: {node['html'][:200]} ({node['failureSummary']})"
        for violation in found["violations"]
        for node in violation["nodes"]
    ]


def overflow(page: Page) -> int:
    """Return by how many pixels a page is wider than its window: more than 0 scrolls sideways."""
    wider: int = page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )
    return wider
