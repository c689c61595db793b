"""The tab of requests in a real browser, over real processes: buy, open it, see every hop."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import LOOKS, PLAIN, Look, Visitors, accessibility, overflow
from tests.support.collector import Received, listening
from tests.support.real import RealShop

HOPS = (
    "POST /purchase/1 frontend-1", "wait for a message frontend-1",
    r"ask order-\d to sell frontend-1", r"sell order-\d", r"ask catalog-1 to write order-\d",
    "take the operation catalog-1",
    "wait in the queue catalog-1", "transaction catalog-1", "prepare at catalog-2 catalog-1",
    "prepare catalog-2", "store and sync catalog-2", "invalidate at frontend-1 catalog-1",
    "invalidate: forget what changes frontend-1", "commit catalog-1",
    r"write the order log order-\d",
)  # fmt: skip


@pytest.fixture(scope="module")
def collector() -> Iterator[Received]:
    with listening() as received:
        yield received


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory, collector: Received) -> Iterator[RealShop]:
    more = f"OTLP_ENDPOINT={collector.url}\n"
    with RealShop(tmp_path_factory.mktemp("traces"), more=more) as shop:
        yield shop


def enter(visitors: Visitors, shop: RealShop, path: str, look: Look = PLAIN) -> Page:
    """Sign in to the control room and open one of its pages."""
    tab = visitors.arrive(shop.url("frontend-1"), look).tab("/ops/login")
    tab.get_by_label("token").fill(shop.settings.admin_token)
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/ops")
    tab.goto(path)
    return tab


def traced() -> tuple[str, dict[str, str]]:
    """Return the id of a new trace, and the header that asks for it."""
    trace = uuid4().hex
    return trace, {"traceparent": f"00-{trace}-{uuid4().hex[:16]}-01"}


def buy(shop: RealShop, book: int = 1) -> str:
    """Buy a copy; return the id of the trace, which the answer says, too."""
    trace, headers = traced()
    answer = shop.buy(book, key=f"of {trace}", headers=headers)
    assert (answer.status_code, answer.headers["Trace-Id"]) == (201, trace)
    return trace


def row(tab: Page, trace: str) -> Page:
    """Return the line of a request on the list."""
    return tab.locator(f"#rows tr[data-trace='{trace}']")  # type: ignore[return-value]


def test_a_purchase_is_opened_by_keyboard_and_shows_every_hop(
    visitors: Visitors, shop: RealShop
) -> None:
    """From the list to its waterfall, to what one hop says of itself, and back shut."""
    tab = enter(visitors, shop, "/ops/requests")
    trace = buy(shop)
    link = row(tab, trace).get_by_role("link")
    expect(link).to_have_text("POST /purchase/1")
    link.focus()
    tab.keyboard.press("Enter")
    heading = tab.get_by_role("heading", name="POST /purchase/1")
    expect(heading).to_be_visible()
    expect(tab.locator("#detail")).to_be_focused()
    assert trace in tab.url
    table = tab.get_by_role("table", name=re.compile("What the request caused"))
    for hop in HOPS:
        expect(
            table.get_by_role("button", name=re.compile(f"^{hop.replace('/', '[/]')}$"))
        ).to_be_visible()
    first = table.get_by_role("button").first
    first.focus()
    tab.keyboard.press("ArrowDown")
    tab.keyboard.press("ArrowUp")
    tab.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-expanded", "true")
    expect(tab.get_by_text("http.response.status_code").first).to_be_visible()
    tab.keyboard.press("Enter")
    expect(first).to_have_attribute("aria-expanded", "false")


def test_every_node_exports_its_spans(shop: RealShop, collector: Received) -> None:
    """To a collector that takes nothing which the specification does not allow."""
    trace = buy(shop)

    def told() -> bool:
        nodes = collector.nodes(trace)
        orders, others = nodes & set(shop.orders), nodes - set(shop.orders)
        return len(orders) == 1 and others == {"frontend-1", *shop.catalogs}

    shop.wait_until(told, 20, "spans of every node")
    assert collector.wrong == []
    assert shop.metric('bazar_spans_total{end="exported"}') > 0


def test_the_list_is_live_and_keeps_still_when_it_is_told_to(
    visitors: Visitors, shop: RealShop
) -> None:
    """New requests appear by themselves; filters and the button that holds do what they say."""
    tab = enter(visitors, shop, "/ops/requests")
    trace, headers = traced()
    shop.get("/lookup/99", headers=headers)
    expect(row(tab, trace)).to_contain_text("404")
    tab.get_by_label("Show").select_option("write")
    expect(row(tab, trace)).to_have_count(0)
    sold = buy(shop)
    expect(row(tab, sold)).to_be_visible()
    tab.get_by_label("Show").select_option("failed")
    expect(row(tab, trace)).to_be_visible()
    expect(row(tab, sold)).to_have_count(0)
    tab.get_by_label("Show").select_option("all")
    tab.get_by_role("button", name="Hold still").click()
    held = tab.locator("#rows tr").count()
    later = buy(shop)
    with tab.expect_response("**/ops/data/requests"):
        pass
    with tab.expect_response("**/ops/data/requests"):
        pass
    assert tab.locator("#rows tr").count() == held
    tab.get_by_role("button", name="Go on").click()
    expect(row(tab, later)).to_be_visible()


@pytest.mark.parametrize("look", LOOKS, ids=lambda look: f"{look.theme}-{look.phone}")
def test_the_page_is_in_order_light_and_dark_on_desk_and_phone(
    visitors: Visitors, shop: RealShop, look: Look
) -> None:
    """Labels, landmarks, contrast; nothing scrolls sideways."""
    tab = enter(visitors, shop, f"/ops/requests?trace={buy(shop)}", look)
    expect(tab.get_by_role("heading", name="POST /purchase/1")).to_be_visible()
    expect(tab.locator("#rows tr").first).to_be_visible()
    tab.locator(".hop").nth(2).click()
    assert accessibility(tab) == []
    assert overflow(tab) == 0


def test_a_node_that_is_down_is_missing_and_what_is_known_is_shown(
    visitors: Visitors, shop: RealShop, tmp_path: Path
) -> None:
    """Last, for it kills: the failover is in the trace, and the dead node named."""
    tab = enter(visitors, shop, "/ops/requests")
    before = buy(shop)
    shop.kill("order-1")
    tab.goto(f"/ops/requests?trace={before}")
    expect(
        tab.get_by_text("order-1 did not answer: what happened there is missing")
    ).to_be_visible()
    for _ in range(2):  # one of them begins with the one that is dead
        trace = buy(shop)
        tab.goto(f"/ops/requests?trace={trace}")
        expect(tab.get_by_role("heading", name="POST /purchase/1")).to_be_visible()
        asks = tab.get_by_role("button", name=re.compile("^ask order-. to sell"))
        if asks.count() == 2:
            break
    expect(asks.first).to_have_text(re.compile("ask order-1 to sell frontend-1 failed"))
    expect(asks.last).to_have_text(re.compile("ask order-2 to sell frontend-1$"))
    tab.goto(f"/ops/requests?trace={'f' * 32}")
    expect(tab.get_by_role("heading", name="This request is forgotten")).to_be_visible()
