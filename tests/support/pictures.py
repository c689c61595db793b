"""Takes pictures of pages, small enough to be kept in the repository."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

from PIL import Image
from playwright.sync_api import Error, Page

from tests.support.browser import Look
from tests.support.processes import ROOT

PICTURES = ROOT / "docs" / "pictures"
TRIES = 5
COLOURS = 160  # a page has few


def save(taken: bytes, name: str, look: Look) -> Path:
    """Keep a picture, small; return where."""
    path = PICTURES / f"{name}-{look.theme}{'-phone' if look.phone else ''}.png"
    plain = Image.open(io.BytesIO(taken)).convert("RGB")
    plain.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
    return path


def screenshot(page: Page, *, whole: bool) -> bytes:
    """Take a picture; a browser on a busy machine cannot always do it at once."""
    for _ in range(TRIES - 1):
        with contextlib.suppress(Error):
            return page.screenshot(full_page=whole)
    return page.screenshot(full_page=whole)
