"""The shop as people use it, in a real browser: looking around, buying, and what is said when
something is broken. No page may complain of anything (tests/support/browser.py).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Look, Visitor, Visitors, accessibility, overflow
from tests.support.processes import ROOT
from tests.support.real import RealShop

PAGE_BYTES_MAX = 60_000
PATIENCE_MS = 20_000.0
DUNE = 41  # of config/catalog.csv
LOOKS = (Look("light"), Look("dark", phone=True))
KILLED = "Failed to load resource.*503"
LOST = "Failed to load resource.*404"
REFUSED = "Failed to load resource.*409"
PAGES = ["/", "/all-topics", "/topic/novels", "/find", "/find?q=the", "/find?q=zzzz", "/book/8",
         "/basket", "/checkout"]  # fmt: skip
TITLES = {
    "markup": "<script>alert(1)</script> & \"quotes\" 'n' {{ 7*7 }} </title>",
    "right to left": "كتاب ألف ليلة وليلة",
    "both ways": "Über תנ״ך and الجبر 1, 2, 3",
    "Chinese": "紅樓夢與其他很長很長的書名以及更多更多的字",
    "emoji": "👩‍👩‍👧‍👦 The 🇳🇱 Family 🎉",
    "accents": "Z̷̧̛͓͔̈́a̸̢͑l̵̰͂g̶̜̎o̷̦͠",
    "one long word": "W" * 1000,
    "many words": ("a very long title " * 60)[:1000].strip(),
}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealShop]:
    """One shop with the seed that Bazar ships, and as many "serial" novels as need two pages."""
    seed = (ROOT / "config" / "catalog.csv").read_text("utf-8")
    more = [
        f",SER-{n},Serial number {n},Penny Dreadful,en,serials,serials,,,100,9" for n in range(60)
    ]
    text = seed.rstrip() + "\n" + "\n".join(more) + "\n"
    with RealShop(tmp_path_factory.mktemp("storefront"), seed=text) as shop:
        yield shop


@pytest.fixture
def shop(running: RealShop) -> RealShop:
    """The shop, mended after the test before."""
    for name in running.alive():
        running.resume(name)
    running.start(*(name for name in running.names if name not in running.alive()))
    running.wait_ready()
    return running


def come(visitors: Visitors, shop: RealShop, look: Look = LOOKS[0], **options: Any) -> Visitor:
    return visitors.arrive(shop.url(shop.frontends[0]), look, **options)


def new_book(shop: RealShop, quantity: int = 10, title: str = "A Test's Own") -> int:
    """Add a book for one test and return its id."""
    body = {"title": title, "authors": ["Test, Ann"], "topics": ["tests"], "price_cents": 700}
    added = shop.call("POST", "/books", body | {"quantity": quantity}, operator=True)
    assert added.status_code == 201, added.text
    return int(added.json()["id"])


def put(page: Page, book: int, copies: int = 1) -> None:
    """Put copies of a book into the basket."""
    page.goto(f"/book/{book}")
    page.get_by_label("Copies", exact=True).fill(str(copies))
    page.get_by_role("button", name="Put into the basket").click()
    expect(page).to_have_url(re.compile(r"/basket$"))


def order(page: Page) -> None:
    """Press the button at the till."""
    page.get_by_role("button", name="Place the order").click()


def order_number(page: Page) -> str:
    """Return the number on the page that an order leads to."""
    page.wait_for_url(re.compile(r"/order/[^/]+$"), timeout=PATIENCE_MS)
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    number = page.locator(".order-number").inner_text()
    assert page.url.endswith(f"/order/{number}")
    return number


def sold(shop: RealShop, book: int) -> int:
    """Return how many copies of a book both order logs, which must be equal, say were sold."""
    lines = [line for found in shop.check_copies() for line in found["items"]]
    return sum(line["quantity"] for line in lines if line["book_id"] == book)


# --- what a shop is for ---


@pytest.mark.parametrize(("look", "javascript"), [(LOOKS[0], True), (LOOKS[1], False)])
def test_a_visitor_finds_a_book_and_orders_it(
    visitors: Visitors, shop: RealShop, look: Look, javascript: bool
) -> None:
    """From the search to the order's number; the basket is empty then. Also without JavaScript."""
    left = shop.stock(DUNE)
    page = come(visitors, shop, look, javascript=javascript).tab("/")
    page.get_by_label("Search titles and authors").fill("herbert du")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("main").get_by_role("link", name="Dune").click()
    expect(page.get_by_role("heading", name="Dune")).to_be_visible()
    expect(page.get_by_text("$18.99").first).to_be_visible()
    put(page, DUNE, 2)
    page.get_by_label("Copies of Dune").fill("3")
    page.get_by_role("button", name="Change").click()
    expect(page.locator(".count")).to_have_text("3 copies in it")
    put(page, new_book(shop, title="Second Thoughts"))
    page.get_by_role("button", name="Remove Second Thoughts").click()
    expect(page.locator(".count")).to_have_text("3 copies in it")
    page.get_by_role("link", name="To the till").click()
    order(page)
    number = order_number(page)
    bought = shop.get(f"/orders/{number}").json()
    assert [(line["book_id"], line["quantity"]) for line in bought["items"]] == [(DUNE, 3)]
    expect(page.get_by_text("$56.97").first).to_be_visible()
    page.get_by_role("link", name="Basket").click()
    expect(page.get_by_text("There is nothing in it yet")).to_be_visible()
    assert shop.stock(DUNE) == left - 3


def test_a_book_page_says_who_answered_and_whether_from_the_cache(
    visitors: Visitors, shop: RealShop
) -> None:
    """A catalog at first, then the frontend; after a sale a catalog again."""
    book = new_book(shop)
    page = come(visitors, shop).tab(f"/book/{book}")
    served = page.locator(".served")
    expect(served).to_have_text(re.compile(r"catalog-[12], from its own shelves"))
    page.reload()
    expect(served).to_have_text("Answered by frontend-1, from its cache.")
    assert shop.buy(book, 8).ok
    page.reload()
    expect(served).to_have_text(re.compile(r"catalog-[12], from its own shelves"))
    expect(page.get_by_text("Only 2 left")).to_be_visible()


def test_the_pages_of_a_topic_show_every_book_once(visitors: Visitors, shop: RealShop) -> None:
    """Page after page, and back by the browser's own button."""
    page = come(visitors, shop).tab("/topic/serials")
    titles = page.locator(".shelf .title")
    seen, pages = list[str](), 1
    first = titles.all_inner_texts()
    seen += first
    while page.get_by_role("link", name="More books").count():
        page.get_by_role("link", name="More books").click()
        page.wait_for_load_state()
        seen, pages = seen + titles.all_inner_texts(), pages + 1
    assert sorted(seen) == sorted(f"Serial number {n}" for n in range(60))
    assert pages == 3
    page.go_back()
    page.go_back()
    assert titles.all_inner_texts() == first


def test_books_are_suggested_while_somebody_types(visitors: Visitors, shop: RealShop) -> None:
    """Arrows choose one and come round, Escape closes the list, Enter opens the book."""
    page = come(visitors, shop).tab("/")
    box, options = page.get_by_role("combobox"), page.get_by_role("option")
    box.press_sequentially("tolst")
    expect(options).to_have_count(1)
    expect(box).to_have_attribute("aria-expanded", "true")
    expect(page.get_by_role("status").filter(has_text="1 book found")).to_be_attached()
    assert accessibility(page) == []
    box.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "true")
    expect(box).to_have_attribute("aria-activedescendant", "suggestion-0")
    box.press("ArrowDown")
    expect(options.first).to_have_attribute("aria-selected", "false")
    box.press("ArrowUp")
    expect(options.first).to_have_attribute("aria-selected", "true")
    box.press("Escape")
    expect(options).to_have_count(0)
    expect(box).to_have_attribute("aria-expanded", "false")
    box.press_sequentially("o")
    expect(options).to_have_count(1)
    box.press("ArrowDown")
    box.press("Enter")
    expect(page).to_have_url(re.compile(r"/book/33$"))


def test_enter_searches_when_nothing_was_chosen(visitors: Visitors, shop: RealShop) -> None:
    """The list of suggestions is in nobody's way."""
    page = come(visitors, shop).tab("/")
    page.get_by_role("combobox").press_sequentially("ursula")
    expect(page.get_by_role("option")).to_have_count(1)
    page.get_by_role("combobox").press("Enter")
    expect(page).to_have_url(re.compile(r"/find\?q=ursula$"))
    expect(page.get_by_text("1 book found").last).to_be_visible()


def test_the_keyboard_alone_is_enough_to_order(visitors: Visitors, shop: RealShop) -> None:
    """Tab, typing, arrows and Enter, nothing else."""
    page = come(visitors, shop).tab("/")
    tab_to(page, "Search titles and authors")
    page.keyboard.type("solaris")
    expect(page.get_by_role("option")).to_have_count(1)
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Solaris")).to_be_visible()
    tab_to(page, "Put into the basket")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/basket$"))
    tab_to(page, "To the till")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/checkout$"))
    tab_to(page, "Place the order")
    page.keyboard.press("Enter")
    order_number(page)


def tab_to(page: Page, name: str) -> None:
    """Press Tab until what is called so has the focus, which must be visible."""
    wanted = page.get_by_role("main").or_(page.get_by_role("banner")).get_by_label(name).or_(
        page.get_by_role("button", name=name)).or_(page.get_by_role("link", name=name))  # fmt: skip
    for _ in range(60):
        page.keyboard.press("Tab")
        if wanted.evaluate("element => element === document.activeElement"):
            assert wanted.evaluate("element => getComputedStyle(element).outlineStyle") != "none"
            return
    raise AssertionError(f"no way by Tab to {name}")


# --- never twice ---


def test_the_last_copy_goes_to_one_of_two_tabs(visitors: Visitors, shop: RealShop) -> None:
    """The other is told kindly, and keeps the rest of the basket."""
    last, other = new_book(shop, 1, "The Last Copy"), new_book(shop, 5, "Another One")
    tabs = []
    for _ in range(2):
        page = come(visitors, shop).expects(REFUSED).tab()
        put(page, last)
        put(page, other)
        page.goto("/checkout")
        tabs.append(page)
    order(tabs[0])
    order_number(tabs[0])
    late = tabs[1]
    order(late)
    expect(late.get_by_role("heading", name="Somebody was quicker")).to_be_visible()
    expect(late.get_by_text("The last copy of The Last Copy has just been sold")).to_be_visible()
    assert accessibility(late) == []
    late.get_by_role("button", name="Go on without it").click()
    expect(late.get_by_role("main").get_by_role("link", name="Another One")).to_be_visible()
    expect(late.get_by_role("main").get_by_role("link", name="The Last Copy")).to_have_count(0)
    late.get_by_role("link", name="To the till").click()
    order(late)
    order_number(late)
    assert (sold(shop, last), sold(shop, other)) == (1, 2)


def test_who_wants_more_than_there_are_may_take_what_is_left(
    visitors: Visitors, shop: RealShop
) -> None:
    """One button puts the right number into the basket."""
    book = new_book(shop, 3)
    page = come(visitors, shop).expects(REFUSED).tab()
    put(page, book, 5)
    expect(page.get_by_text("Only 3 copies left")).to_be_visible()
    page.get_by_role("link", name="To the till").click()
    order(page)
    page.get_by_role("button", name="Take the 3 that are left").click()
    page.get_by_role("link", name="To the till").click()
    order(page)
    order_number(page)
    assert shop.stock(book) == 0


def test_a_form_sent_twice_is_one_order(visitors: Visitors, shop: RealShop) -> None:
    """Pressed again in another tab it leads to the same number; after going back there is nothing
    in the basket to order again.
    """
    book = new_book(shop)
    visitor = come(visitors, shop)
    page = visitor.tab()
    put(page, book)
    page.goto("/checkout")
    others = [visitor.tab("/checkout") for _ in range(2)]
    order(page)
    number = order_number(page)
    for other in others:
        order(other)
        assert order_number(other) == number
    page.go_back()
    expect(page.get_by_text("There is nothing in it yet")).to_be_visible()
    assert (sold(shop, book), shop.stock(book)) == (1, 9)


def test_the_same_basket_filled_again_is_another_order(visitors: Visitors, shop: RealShop) -> None:
    """Who wants the book once more gets it."""
    book = new_book(shop)
    page = come(visitors, shop).tab()
    numbers = set()
    for _ in range(2):
        put(page, book)
        page.goto("/checkout")
        order(page)
        numbers.add(order_number(page))
    assert len(numbers) == sold(shop, book) == 2


def test_a_refusal_does_not_stick_to_the_basket(visitors: Visitors, shop: RealShop) -> None:
    """When copies have come in, the same basket can be bought."""
    book = new_book(shop, 1)
    page = come(visitors, shop).expects(REFUSED).tab()
    put(page, book, 2)
    page.goto("/checkout")
    order(page)
    expect(page.get_by_role("heading", name="Somebody was quicker")).to_be_visible()
    assert shop.restock(book, 5).ok
    page.goto("/checkout")
    order(page)
    order_number(page)
    assert shop.stock(book) == 4


def test_what_was_put_into_the_basket_meanwhile_stays_in_it(
    visitors: Visitors, shop: RealShop
) -> None:
    """Only what was bought leaves it."""
    bought, kept = new_book(shop), new_book(shop, title="Kept for Later")
    visitor = come(visitors, shop)
    page, other = visitor.tab(), visitor.tab()
    put(page, bought)
    page.goto("/checkout")
    put(other, kept)
    order(page)
    order_number(page)
    page.goto("/basket")
    expect(page.get_by_role("main").get_by_role("link", name="Kept for Later")).to_be_visible()
    expect(page.locator(".count")).to_have_text("1 copy in it")


def test_a_price_that_changed_is_shown_before_anything_is_bought(
    visitors: Visitors, shop: RealShop
) -> None:
    """The same form then buys at the new one."""
    book = new_book(shop)
    page = come(visitors, shop).tab()
    put(page, book)
    page.goto("/checkout")
    assert shop.price(book, 900).ok
    order(page)
    expect(page.get_by_text("A price has changed")).to_be_visible()
    assert shop.stock(book) == 10
    order(page)
    order_number(page)
    expect(page.get_by_text("$9.00").first).to_be_visible()


# --- while something is broken ---


def test_a_till_that_cannot_sell_says_so_and_sells_once_when_it_can(
    visitors: Visitors, shop: RealShop
) -> None:
    """The leader is killed while somebody is at the till; nothing is ordered until it is back."""
    book = new_book(shop)
    page = come(visitors, shop).expects(KILLED).tab()
    put(page, book)
    page.goto("/checkout")
    shop.kill("catalog-1")
    order(page)
    expect(page.get_by_text("nothing is ever charged twice")).to_be_visible(timeout=PATIENCE_MS)
    shop.start("catalog-1")
    shop.wait_ready()
    number = press_until_ordered(shop, page)
    assert shop.get(f"/orders/{number}").json()["items"][0]["book_id"] == book
    assert (sold(shop, book), shop.stock(book)) == (1, 9)


def press_until_ordered(shop: RealShop, page: Page) -> str:
    """Press the button that the page offers, as often as it offers one; return the number."""
    again = page.get_by_role("button", name=re.compile("Try again|Ask again|Place the order"))
    number = page.locator(".order-number")

    def pressed() -> bool:
        again.or_(number).first.wait_for(timeout=PATIENCE_MS)
        if number.count():
            return True
        with page.expect_navigation(timeout=PATIENCE_MS):
            again.click()
        return False

    shop.wait_until(pressed, 30, "an order")
    return order_number(page)


def test_who_cannot_know_is_told_so_and_asks_again_with_the_same_key(
    visitors: Visitors, shop: RealShop
) -> None:
    """The leader falls asleep with the order in its hands; without JavaScript."""
    book = new_book(shop)
    page = come(visitors, shop, javascript=False).expects(KILLED).tab()
    put(page, book)
    page.goto("/checkout")
    key = page.locator("input[name=key]").input_value()
    shop.pause("catalog-1")
    order(page)
    heading = page.get_by_role("heading", name="We do not know yet whether your order went through")
    expect(heading).to_be_visible(timeout=PATIENCE_MS)
    assert page.locator("input[name=key]").input_value() == key
    assert accessibility_without_scripts(page)
    shop.resume("catalog-1")
    press_until_ordered(shop, page)
    assert (sold(shop, book), shop.stock(book)) == (1, 9)


def accessibility_without_scripts(page: Page) -> bool:
    """A button that asks again, a word on safety, and a way back to the shelves."""
    return (
        page.get_by_role("button", name="Ask again").is_visible()
        and page.get_by_text("nothing is ever charged twice").is_visible()
        and page.get_by_role("link", name="Bazar").is_visible()
    )


def test_with_a_backup_server_an_order_goes_through_while_the_leader_dies(
    visitors: Visitors, tmp_path: Path
) -> None:
    """At once or after asking again: one order, and nobody had to repair anything."""
    with RealShop(tmp_path, backup=True) as shop:
        page = come(visitors, shop).expects(KILLED).tab()
        put(page, 1)
        page.goto("/checkout")
        shop.kill("catalog-1")
        order(page)
        press_until_ordered(shop, page)
        shop.wait_until(lambda: shop.stock(1) == 39, 10, "one copy sold")
        assert shop.get("/orders", operator=True).json()["total"] == 1


def test_a_shop_without_catalogs_says_so_kindly(visitors: Visitors, shop: RealShop) -> None:
    """With a link that tries the same page again."""
    page = come(visitors, shop).expects(KILLED).tab()
    shop.kill("catalog-1", "catalog-2")
    page.goto("/book/12")
    expect(page.get_by_role("heading", name="We cannot look that up right now")).to_be_visible()
    assert accessibility(page) == []
    shop.start("catalog-1", "catalog-2")
    shop.wait_ready()
    page.get_by_role("link", name="Try again").click()
    expect(page.get_by_role("heading", name="Database Internals")).to_be_visible()


# --- for everybody ---


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark-phone"])
def test_every_page_can_be_used_by_everybody(
    visitors: Visitors, shop: RealShop, look: Look
) -> None:
    """Labels, landmarks and contrast by axe-core; nothing scrolls sideways; one h1 and a title."""
    page = come(visitors, shop, look).expects(LOST, "Failed to load resource.*400").tab()
    put(page, 8)
    titles = set()
    paths = [*PAGES, "/book/999999", "/no/such/page", "/topic/novels?after=no"]
    for path in paths:
        page.goto(path)
        assert accessibility(page) == [], path
        assert overflow(page) == 0, path
        assert page.locator("h1").count() == 1, path
        titles.add(page.title())
    order_page(page)
    assert accessibility(page) == []
    assert overflow(page) == 0
    assert len(titles) >= len(paths) - 3  # three are mistakes, two of them the same


def order_page(page: Page) -> None:
    page.goto("/checkout")
    order(page)
    order_number(page)


def test_a_title_is_harmless_whatever_it_holds(visitors: Visitors, shop: RealShop) -> None:
    """It is text on every page, and does not break a phone's."""
    page = come(visitors, shop, LOOKS[1]).tab()
    for kind, title in TITLES.items():
        book = new_book(shop, 3, title)
        put(page, book)
        assert overflow(page) == 0, kind
        page.goto(f"/book/{book}")
        assert page.locator("h1").text_content() == shop.look(book)["title"]
        assert overflow(page) == 0, kind
    for path in ("/basket", "/topic/tests", "/find?q=a", "/checkout"):
        page.goto(path)
        assert overflow(page) == 0, path
    order_page(page)
    assert overflow(page) == 0


@pytest.mark.parametrize("path", ["/", "/topic/serials", "/find?q=a", "/book/8", "/all-topics"])
def test_a_page_with_all_it_needs_is_light(visitors: Visitors, shop: RealShop, path: str) -> None:
    """Under 60 kB at the first visit, uncompressed, headers and all."""
    page = come(visitors, shop).tab()
    requests = []
    page.on("requestfinished", lambda request: requests.append(request))
    page.goto(path, wait_until="networkidle")
    sizes = [request.sizes() for request in requests]
    total = sum(size["responseBodySize"] + size["responseHeadersSize"] for size in sizes)
    print(f"{path}: {total} bytes in {len(sizes)} answers")
    assert len(sizes) > 3
    assert total < PAGE_BYTES_MAX
