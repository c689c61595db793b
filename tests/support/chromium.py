"""The browser itself: Debian's chromium, run without a screen and driven by playwright. Where the
engine without its desktop is installed that is taken: half of the processor time.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, sync_playwright

PROGRAMS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
ARGUMENTS = [
    "--disable-background-networking", "--disable-component-update", "--disable-gpu",
    "--disable-quic", "--disable-sync", "--no-first-run",
]  # fmt: skip


def find_chromium() -> str | None:
    """Return the browser's program, or None."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def can_drive() -> bool:
    """Tell whether playwright's driver runs here: it brings a node of its own, which wants Debian's
    libatomic1.
    """
    command = [sys.executable, "-m", "playwright", "--version"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def launched(program: str) -> Iterator[Browser]:
    """Run a browser."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()
