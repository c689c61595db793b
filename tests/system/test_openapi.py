"""The API keeps what its description says, and the page of it works in a browser."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.support.browser import LOOKS, Look, Visitors, accessibility, overflow
from tests.support.processes import ROOT
from tests.support.real import RealShop

SETTINGS = ROOT / "tests" / "support" / "schemathesis.toml"
WHOLE_S = 240  # it takes some 20 s on two free cores
# What Swagger UI itself does: a heading left out, a landmark in ours, buttons beside links.
ITS_OWN = (
    "heading-order", "landmark-main-is-top-level", "landmark-no-duplicate-main", "landmark-unique",
    "nested-interactive",
)  # fmt: skip


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """A shop with the seed that ships: the description's examples are about its books."""
    seed = (ROOT / "config" / "catalog.csv").read_text("utf-8")
    with RealShop(tmp_path_factory.mktemp("openapi"), seed=seed) as shop:
        yield shop


def test_the_api_does_what_its_description_says(shop: RealShop, tmp_path: Path) -> None:
    """Schemathesis, all checks: statuses, types, documents, headers, bad requests, methods, the
    token; the same requests each time, and what one answers goes into the next.
    """
    token = shop.settings.admin_token
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(SETTINGS), "--no-color",
        "run", shop.url("frontend-1") + "/openapi.json", "-H", f"Authorization: Bearer {token}",
    ]  # fmt: skip
    told = {"SCHEMATHESIS_HOOKS": "tests.support.openapi_hooks", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        command, cwd=tmp_path, env=os.environ | told, capture_output=True, text=True,
        timeout=WHOLE_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    counted = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
    assert counted, done.stdout
    assert counted[1] == counted[2]
    assert int(counted[1]) > 500


def test_a_call_is_tried_out_on_the_page(shop: RealShop, visitors: Visitors) -> None:
    """With an example that is there already; the answer is shown."""
    page = visitors.arrive(shop.url("frontend-1")).tab("/docs")
    page.locator("#operations-Reading-look_up .opblock-summary-control").click()
    page.locator("#operations-Reading-look_up .btn.execute").click()
    answer = page.locator("#operations-Reading-look_up .live-responses-table")
    expect(answer).to_contain_text('"id": 1,')
    expect(answer).to_contain_text("cache-status: bazar;")


def test_an_operators_call_is_tried_out_with_the_token(shop: RealShop, visitors: Visitors) -> None:
    """Refused without it, answered with it; the token does not outlive the page."""
    page = visitors.arrive(shop.url("frontend-1")).expects("401").tab("/docs")
    call = page.locator(".opblock").filter(has_text="/cluster")
    answer = call.locator(".live-responses-table")
    call.locator(".opblock-summary-control").click()
    call.locator(".btn.execute").click()
    expect(answer).to_contain_text("unauthorized")
    page.locator(".btn.authorize").click()
    page.locator("#auth-bearer-value").fill(shop.settings.admin_token)
    page.locator(".auth-btn-wrapper .btn.authorize").click()
    page.locator(".auth-btn-wrapper .btn-done").click()
    call.locator(".btn.execute").click()
    expect(answer).to_contain_text('"seen_by": "frontend-1"')
    assert page.evaluate("[localStorage.length, sessionStorage.length]") == [0, 0]


@pytest.mark.parametrize("look", LOOKS, ids=str)
def test_the_page_is_readable_in_every_look(shop: RealShop, visitors: Visitors, look: Look) -> None:
    """Contrast and labels, and nothing wider than the window."""
    page = visitors.arrive(shop.url("frontend-1"), look).tab("/docs")
    page.wait_for_selector(".opblock")
    assert not accessibility(page, *ITS_OWN)
    assert overflow(page) == 0


def test_without_javascript_the_page_lists_the_calls(shop: RealShop, visitors: Visitors) -> None:
    """And leads to the description itself."""
    page = visitors.arrive(shop.url("frontend-1"), javascript=False).tab("/docs")
    assert page.get_by_text("POST /purchase/{book}").is_visible()
    assert page.get_by_role("link", name="openapi.json").first.is_visible()
