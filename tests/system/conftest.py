"""What system tests share: a browser, started when a test first asks for it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import Visitors, chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for a module (not for the session: while playwright runs, nobody else in this
    thread can run an event loop).
    """
    with chromium() as running:
        yield running


@pytest.fixture
def visitors(browser: Browser) -> Iterator[Visitors]:
    """Visitors with profiles of their own; their pages may complain of nothing unannounced."""
    found = Visitors(browser)
    yield found
    found.leave()
