"""The control room in a real browser, over a real shop of six nodes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest
from playwright.sync_api import Locator, Page, expect

from catalog.bookfile import read_books
from tests.support.browser import Look, Visitor, Visitors, accessibility, overflow
from tests.support.real import RealShop, seed_csv

TABS = ("/ops", "/ops/cache", "/ops/stock", "/ops/orders")
TAKEOVER_MS, CHECKED_MS = 60_000, 40_000  # generous: a busy machine is no defect


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """Six nodes, a dozen books with nine copies each."""
    folder = tmp_path_factory.mktemp("room")
    with RealShop(folder, seed=seed_csv(books=12, stock=9), backup=True) as shop:
        yield shop


@pytest.fixture
def operator(shop: RealShop, visitors: Visitors) -> Visitor:
    """Somebody who has signed in."""
    return signed_in(shop, visitors)


def signed_in(shop: RealShop, visitors: Visitors, look: Look | None = None) -> Visitor:
    """Sign in with a profile of one's own."""
    visitor = visitors.arrive(shop.url("frontend-1"), look or Look())
    page = visitor.tab("/ops/login")
    page.get_by_label("Admin token").fill(shop.settings.admin_token)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url("**/ops")
    page.close()
    return visitor


def live(visitor: Visitor, path: str) -> Page:
    """Open a tab of the room, and wait until it is alive."""
    page = visitor.tab(path)
    expect(page.locator("#live")).to_have_attribute("data-kind", "live")
    return page


def verdict(page: Page, name: str) -> Locator:
    """Return where an invariant stands."""
    return page.locator(f"[data-name={name}]")


def node(page: Page, name: str) -> Locator:
    """Return a node in the drawing."""
    return page.locator(f"svg [data-node={name}]")


# --- the door ---


def test_the_token_lets_in_and_signing_out_leads_out(shop: RealShop, visitors: Visitors) -> None:
    """A wrong one is told kindly; the page asked for is the page got; without scripts, too."""
    visitor = visitors.arrive(shop.url("frontend-1"), javascript=False)
    page = visitor.expects("status of 403").tab("/ops/stock")
    field = page.get_by_label("Admin token")
    expect(field).to_be_focused()
    field.fill("not the token")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("not the token of this shop")
    page.get_by_label("Admin token").fill(shop.settings.admin_token)
    page.keyboard.press("Enter")
    page.wait_for_url("**/ops/stock")
    page.get_by_role("button", name="Sign out").click()
    page.wait_for_url("**/ops/login")
    page.goto("/ops")
    page.wait_for_url("**/ops/login?next=/ops")


def test_a_room_whose_login_has_ended_leads_to_the_form(operator: Visitor) -> None:
    """Also while a page is open."""
    page = live(operator.expects("status of 401"), "/ops/cache")
    operator.context.clear_cookies()
    page.wait_for_url("**/ops/login?next=/ops/cache")


# --- every page, every screen ---


@pytest.mark.parametrize("look", [Look("light"), Look("dark", phone=True)], ids=str)
def test_every_page_is_in_order_on_every_screen(
    shop: RealShop, visitors: Visitors, look: Look
) -> None:
    """Labels, landmarks, contrast; nothing scrolls sideways; nothing is complained of."""
    visitor = signed_in(shop, visitors, look)
    for path in TABS:
        page = live(visitor, path)
        if path == "/ops":
            expect(verdict(page, "orders")).to_be_visible(timeout=CHECKED_MS)
        if path == "/ops/stock":
            page.get_by_role("button", name="Book 1", exact=True).click()
            expect(page.locator("#movements tbody tr").first).to_be_visible()
        assert not accessibility(page), path
        assert overflow(page) == 0, path
        page.close()
    page = visitor.tab("/ops/login")
    assert not accessibility(page)
    assert overflow(page) == 0


def test_all_of_it_works_by_keyboard(shop: RealShop, operator: Visitor) -> None:
    """From tab to tab, to a book, and copies received without a mouse."""
    page = live(operator, "/ops")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Stock":
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/ops/stock")
    field = page.get_by_label("Title, author, sku or number")
    field.focus()
    page.keyboard.type("REAL-7")
    page.keyboard.press("Enter")
    expect(page.locator("#book")).to_be_focused()
    page.get_by_label("Receive", exact=True).focus()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("3")
    before = shop.stock(7)
    page.keyboard.press("Enter")
    expect(page.locator("#book-told")).to_contain_text("Received")
    assert shop.stock(7) == before + 3


# --- buttons: what they do, and how it is undone ---


def test_flush_empties_the_cache_and_a_look_fills_it(shop: RealShop, operator: Visitor) -> None:
    """The page shows both as they happen."""
    shop.hit("/lookup/5")
    page = live(operator, "/ops/cache")
    row = page.locator("#entries tr", has=page.get_by_role("link", name="5", exact=True))
    expect(row).to_be_visible()
    page.get_by_role("button", name="Forget all entries").click()
    expect(page.locator("#flush-told")).to_contain_text("forgotten")
    expect(row).to_be_hidden()
    shop.hit("/lookup/5")
    expect(row).to_be_visible()


def test_copies_arrive_once_and_go_again(shop: RealShop, operator: Visitor) -> None:
    """A double click counts once; what is sold afterwards stands among the movements."""
    page = live(operator, "/ops/stock")
    before = shop.stock(2)
    page.get_by_label("fewer than").fill("1000")
    page.get_by_role("button", name="Book 2", exact=True).click()
    expect(page.locator("#stock-now")).to_have_text(str(before))
    page.get_by_label("Receive", exact=True).fill("4")
    page.locator("#restock-reason").fill("a parcel")
    page.locator("#restock button").dblclick()
    expect(page.locator("#stock-now")).to_have_text(str(before + 4))
    movements = page.locator("#movements tbody tr")
    expect(movements.first).to_contain_text("received: a parcel")
    assert shop.stock(2) == before + 4
    sold = shop.buy(2, 4).json()["order_id"]
    page.get_by_role("button", name="Book 2", exact=True).click()
    expect(page.locator("#stock-now")).to_have_text(str(before))
    expect(movements.first).to_contain_text(sold)


def test_a_price_is_changed_and_changed_back(shop: RealShop, operator: Visitor) -> None:
    """The shop shows it at once, also where it was cached."""
    page = live(operator, "/ops/stock")
    shop.hit("/lookup/3")
    page.get_by_label("fewer than").fill("1000")
    page.get_by_role("button", name="Book 3", exact=True).click()
    for price, cents in (("6.25", 625), ("5.00", 500)):
        page.locator("#price-amount").fill(price)
        page.get_by_role("button", name="Change price").click()
        expect(page.locator("#price-now")).to_have_text(price)
        assert shop.look(3)["price_cents"] == cents


def test_a_delivery_counts_once_and_its_bad_rows_are_named(
    shop: RealShop, operator: Visitor, tmp_path: Path
) -> None:
    """The same file again adds nothing; one that is too large is sent to `make import`."""
    file = tmp_path / "delivery.csv"
    file.write_text("sku,received\nREAL-4,6\nNOPE,1\nREAL-5,2\n", "utf-8")
    before = shop.stock(4), shop.stock(5)
    page = live(operator, "/ops/stock")
    for _ in range(2):
        page.locator("#file").set_input_files(file)
        page.get_by_role("button", name="Receive the delivery").click()
        said = page.locator("#delivery-told")
        expect(said).to_contain_text("2 rows received, 8 copies")
        expect(said).to_contain_text("line 3: sku: there is no book NOPE")
        page.locator("#delivery-told").evaluate("told => told.replaceChildren()")
    assert (shop.stock(4), shop.stock(5)) == (before[0] + 6, before[1] + 2)
    file.write_text("sku,received\n" + "REAL-4,6\n" * 9000, "utf-8")
    page.locator("#file").set_input_files(file)
    page.get_by_role("button", name="Receive the delivery").click()
    expect(said).to_contain_text("make import FILE=delivery.csv")


def test_all_books_are_downloaded_as_csv(shop: RealShop, operator: Visitor) -> None:
    """As `make import` reads them, with what is in stock now."""
    page = live(operator, "/ops/stock")
    with page.expect_download() as started:
        page.get_by_role("button", name="Download all books as CSV").click()
    books = read_books(started.value.path())
    assert [book["sku"] for book in books[:12]] == [f"REAL-{number}" for number in range(1, 13)]
    assert books[7]["quantity"] == shop.stock(8)
    assert (books[7]["title"], books[7]["authors"]) == ("Book 8", ["An Author"])


def test_an_order_is_seen_as_it_comes_and_found_by_its_number(
    shop: RealShop, operator: Visitor
) -> None:
    """The newest on top; a number that is none is told kindly."""
    page = live(operator.expects("status of 404"), "/ops/orders")
    order = shop.buy(1).json()["order_id"]
    expect(page.locator("#recent tbody tr").first).to_contain_text(order)
    page.get_by_label("Order number").fill(order)
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#found")).to_contain_text("Book 1, 5.00 each")
    page.get_by_label("Order number").fill("nothing")
    page.get_by_role("button", name="Find").click()
    expect(page.locator("#found")).to_contain_text("no order of this number")


def test_orders_are_leafed_through_and_back(shop: RealShop, operator: Visitor) -> None:
    """Older ones stand still while somebody buys; "Newest" leads back to what has come since."""
    assert shop.restock(9, 60).ok
    for _ in range(51):
        assert shop.buy(9).ok
    page = live(operator, "/ops/orders")
    rows = page.locator("#recent tbody tr")
    expect(rows).to_have_count(50)
    page.get_by_role("button", name="Older").click()
    oldest = rows.last.locator("td").first
    expect(oldest).to_have_text("1")
    expect(page.get_by_role("button", name="Older")).to_be_hidden()
    latest = shop.buy(9).json()["order_id"]
    with page.expect_response("**/ops/data/orders?*"):
        pass
    expect(oldest).to_have_text("1")
    page.get_by_role("button", name="Newest").click()
    expect(rows.first).to_contain_text(latest)
    expect(page.get_by_role("button", name="Newest")).to_be_hidden()


def test_low_stock_is_leafed_through_and_back(shop: RealShop, operator: Visitor) -> None:
    """Twenty at a time, those with the fewest copies first."""
    for number in range(21):
        body = {"title": f"Gone {number:02}", "authors": ["A. N. Other"], "topics": ["gone"]}
        body |= {"price_cents": 100, "quantity": 0}
        assert shop.call("POST", "/books", body, operator=True).ok
    page = live(operator, "/ops/stock")
    titles = page.locator("#low tbody .choose")
    expect(titles).to_have_count(20)
    first = titles.all_inner_texts()
    page.get_by_role("button", name="More").click()
    expect(titles.first).to_have_text("Gone 20")
    page.get_by_role("button", name="From the beginning").click()
    expect(titles).to_have_text(first)
    assert first == [f"Gone {number:02}" for number in range(20)]
    expect(page.get_by_role("button", name="From the beginning")).to_be_hidden()


# --- watching ---


def test_a_breach_is_shown_in_red_with_its_numbers_and_goes_when_it_is_mended(
    shop: RealShop, operator: Visitor
) -> None:
    """A copy that appears in the replica's file while nobody sells."""
    page = live(operator, "/ops")
    for name in ("stock", "catalogs", "orders"):
        expect(verdict(page, name)).to_have_attribute("data-state", "holds", timeout=CHECKED_MS)
    leader = shop.status("catalog-1")["leader"]
    replica = next(name for name in shop.catalogs if name != leader)
    for change, state in (("+ 1", "broken"), ("- 1", "holds")):
        file = apsw.Connection(str(shop.data(replica) / "catalog.db"))
        file.set_busy_timeout(5000)
        file.execute(f"UPDATE books SET quantity = quantity {change} WHERE id = 12")
        file.close()
        for name in ("stock", "catalogs"):
            expect(verdict(page, name)).to_have_attribute("data-state", state, timeout=CHECKED_MS)
        if state == "broken":
            expect(verdict(page, "stock")).to_contain_text(f"{replica}: ")
            expect(verdict(page, "stock")).to_contain_text("1 too many")
            expect(verdict(page, "stock").get_by_role("table")).to_be_visible()
            assert not accessibility(page)


def test_the_button_reads_every_row_again(operator: Visitor) -> None:
    """And says so."""
    page = live(operator, "/ops")
    page.get_by_role("button", name="Read every row again").click()
    expect(page.locator("#again-told")).to_contain_text("Every row was read again")
    expect(verdict(page, "orders")).to_have_attribute("data-state", "holds", timeout=CHECKED_MS)


def test_failover_is_watched_without_a_reload(shop: RealShop, operator: Visitor) -> None:
    """The leader is killed: it is shown dead, the other one leads in a later epoch, books are sold;
    it comes back, and at the end everything that must be true still is.
    """
    page = live(operator, "/ops")
    dies = shop.status("catalog-1")["leader"]
    leads = next(name for name in shop.catalogs if name != dies)
    epoch = shop.status(dies)["epoch"]
    expect(node(page, dies)).to_contain_text("LEADER")
    page.evaluate("window.stillHere = true")
    shop.kill(dies)
    expect(node(page, dies)).to_have_attribute("data-state", "down", timeout=TAKEOVER_MS)
    expect(node(page, leads)).to_contain_text("LEADER", timeout=TAKEOVER_MS)
    sentence = page.locator("#sentence")
    expect(sentence).to_contain_text(f"{dies} does not answer")
    expect(sentence).to_contain_text(re.compile(f"{leads} leads in epoch {epoch + 1}"))
    expect(sentence).to_contain_text("Reads and purchases work", timeout=TAKEOVER_MS)
    expect(page.locator("#events")).to_contain_text(f"{leads} leads, after {dies}")
    expect(page.locator("#timeline .epoch-word").first).to_contain_text(leads)
    sold = shop.decided(lambda: shop.buy(6, key="while it is dead"), 30)
    assert sold.status_code == 201
    shop.start(dies)
    expect(page.locator("#events")).to_contain_text(f"{dies} is back", timeout=TAKEOVER_MS)
    expect(node(page, dies)).to_have_attribute("data-state", "well", timeout=TAKEOVER_MS)
    for name in ("stock", "catalogs", "orders"):
        expect(verdict(page, name)).to_have_attribute("data-state", "holds", timeout=TAKEOVER_MS)
    assert page.evaluate("window.stillHere")
    shop.wait_ready()


def test_a_frontend_that_does_not_answer_is_said_to(shop: RealShop, operator: Visitor) -> None:
    """What is shown then is what was known; it goes on by itself when the frontend is back."""
    page = live(operator.expects("ERR_", "request failed"), "/ops")
    shop.kill("frontend-1")
    expect(page.locator("#live")).to_have_attribute("data-kind", "silent")
    expect(page.locator("#live-text")).to_contain_text("does not answer")
    shop.start("frontend-1")
    expect(page.locator("#live")).to_have_attribute("data-kind", "live", timeout=TAKEOVER_MS)
    shop.wait_ready()
