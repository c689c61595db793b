"""The shop's pages at one frontend: what they take, what they refuse, what may be kept of them."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any

import pytest
from werkzeug.test import TestResponse

from common.errors import Problem
from common.peer import Request, Response
from common.service import service_of
from frontend import page
from frontend.app import lane_of
from frontend.shop import basket
from frontend.shop.basket import Held
from tests.support.frontend_fakes import (
    ORDER_ID,
    Reply,
    World,
    answer,
    broken,
    dead,
    in_turn,
    refusal,
)

KEY = "0123456789abcdef" * 2
HTML = "text/html,application/xhtml+xml,*/*;q=0.8"
TITLE = 'A <b>"bold"</b> Title & more'
SAFE_TO_REPEAT = ("rate-limited", "outcome-unknown")
FORM = {"key": KEY, "items": "1x2.2x1", "total": "1500"}
ORDER = {
    "order_id": ORDER_ID, "total_cents": 1500, "created_at": "2026-01-31T09:05:00.000000Z",
    "items": [{"book_id": 1, "title": TITLE, "quantity": 2, "price_cents": 500}],
}  # fmt: skip


def book(number: int) -> dict[str, Any]:
    return {
        "id": number, "sku": f"B-{number}", "title": TITLE, "authors": ["Lem, Stanisław"],
        "topics": ["Sea & <Sky>"], "price_cents": 500, "quantity": 3,
    }  # fmt: skip


def catalog(request: Request) -> Response:
    """Know two books of one topic."""
    path = request.target.partition("?")[0]
    headers = {"bazar_epoch": "1", "bazar_as_of": "10", "etag": '"tag"'}
    if path == "/topics":
        return answer({"items": [{"topic": "Sea & <Sky>", "books": 2}]}, **headers)
    if path in ("/search", "/books"):
        if "nothing" in request.target:
            return answer({"topic": "nothing", "items": [], "total": 0, "next": None})
        listed = ("id", "title", "authors", "price_cents")
        items = [{name: book(n)[name] for name in listed} for n in (1, 2)]
        found = {"topic": "Sea & <Sky>", "items": items, "total": 99, "next": "CURSOR"}
        return answer(found, **headers)
    if path not in ("/books/1", "/books/2"):
        return refusal("not-found")(request)
    return answer(book(int(path[-1])), **headers)


@pytest.fixture
def world() -> World:
    """A frontend with its lease, whose catalogs know two books and whose orders know one."""
    world = World()
    for node in (world.first, world.second):
        node.over = {"/books": catalog, "/search": catalog, "/topics": catalog}
    world.tick()
    return world


def look(world: World, path: str, accept: str = HTML, **headers: str) -> TestResponse:
    return world.get(path, Accept=accept, **headers)


def hold(world: World, lines: dict[int, int]) -> None:
    """Have the visitor come with this basket."""
    world.client.set_cookie(basket.COOKIE, basket.kept(Held(KEY, lines)))


def held(world: World) -> dict[int, int]:
    """Return what the visitor's basket holds now."""
    cookie = world.client.get_cookie(basket.COOKIE)
    return basket.brought(cookie.value if cookie else "").lines


def post(
    world: World, path: str, form: dict[str, str], accept: str = HTML, **headers: str
) -> TestResponse:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return world.client.post(path, data=form, headers={"Accept": accept} | named)


def orders_say(world: World, *replies: Reply) -> None:
    """Have both order servers reply with this to a sale; to several, one after the other."""
    for name in ("order-1", "order-2"):
        world.http.nodes[name] = in_turn(*replies)


def refusing(code: str, **members: Any) -> Reply:
    """Refuse each sale of a message."""

    def reply(request: Request) -> Response:
        if not request.target.startswith("/sales"):
            return answer(ORDER)
        return answer([json.loads(refusal(code, **members)(request).body)])

    return reply


def asked_to_sell(world: World) -> list[dict[str, Any]]:
    return [
        sale
        for request in world.http.sent
        if request.target.startswith("/sales")
        for sale in json.loads(request.body)
    ]


def words(response: TestResponse) -> str:
    """Return what a page says, without its marks."""
    main = response.text.partition("<main")[2]
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", main)).split())


# --- looking around ---

PAGES = ["/", "/all-topics", "/topic/sea", "/find", "/find?q=sea", "/book/1"]


@pytest.mark.parametrize("path", PAGES)
def test_a_page_may_be_kept_by_its_reader_who_asks_again(world: World, path: str) -> None:
    """By nobody else: it shows a basket. Who has it already gets 304."""
    page = look(world, path)
    assert page.status_code == 200, page.text
    assert page.headers["Cache-Control"] == "private, no-cache"
    assert "Cookie" in page.headers["Vary"]
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    again = look(world, path, If_None_Match=look(world, path).headers["ETag"])
    assert again.status_code == 304
    assert world.client.head(path).status_code == 200
    hold(world, {1: 2})
    with_basket = look(world, path, If_None_Match=page.headers["ETag"])
    assert with_basket.status_code == 200
    assert '<span class="count">2<' in with_basket.text


@pytest.mark.parametrize("path", PAGES)
def test_what_a_title_holds_is_text(world: World, path: str) -> None:
    """No markup, no script, no style of its own."""
    html = look(world, path).text
    assert "<b>" not in html
    assert "<Sky>" not in html
    assert not re.search(r"\son\w+=|\sstyle=|<script(?! type=\"module\" src=\"/static/)", html)


def test_pages_are_answered_from_the_cache_and_say_so(world: World) -> None:
    """By the rules of the API: a miss, a hit, and a miss again after an invalidation."""
    labels = []
    for _ in range(2):
        labels.append(look(world, "/book/1").headers["Cache-Status"])
    assert world.invalidate(11, "book:1")
    page = look(world, "/book/1")
    labels.append(page.headers["Cache-Status"])
    assert labels == ["bazar; fwd=miss", "bazar; hit", "bazar; fwd=miss"]
    assert f"Answered by {page.headers['X-Served-By']}, from its own shelves." in words(page)


def test_a_list_of_many_topics_has_parts(world: World) -> None:
    """By name, each topic once, and every link leads to its topic, whatever it is called."""
    names = [f"Topic {n:03}" for n in range(447)] + ["..", "a/b", "50% off?"]
    topics = {"items": [{"topic": name, "books": 1} for name in names]}
    for node in (world.first, world.second):
        node.over["/topics"] = lambda request: answer(topics)
    pages = [look(world, f"/all-topics?page={n}").text for n in (1, 2, 3)]
    links = [found for page in pages for found in re.findall(r'href="(/topic/[^"]+)"', page)]
    assert len(links) == len(set(links)) == 450
    assert {"/topic/%20..", "/topic/a%2Fb", "/topic/50%25%20off%3F"} < set(links)
    assert "All 450 topics" in look(world, "/").text


def test_a_parameter_that_somebody_added_changes_nothing(world: World) -> None:
    """Links come back from elsewhere with more in them than they had."""
    assert look(world, "/book/1?utm_source=a&utm_source=b").status_code == 200


@pytest.mark.parametrize(
    ("path", "status"),
    [("/book/3", 404), ("/book/01", 404), ("/book/x", 404), ("/topic/nothing", 404),
     ("/all-topics?page=2", 404), ("/all-topics?page=x", 404), ("/order/no.such~1", 404),
     ("/order/%C3%A4", 404), ("/no/such/page", 404), ("/find?q=" + "a" * 501, 400),
     ("/find?q=%00", 400), ("/find?q=a&after=%C3%A4", 400), ("/topic/a?after=" + "a" * 501, 400),
     ("/topic/" + "a" * 201, 400)],
)  # fmt: skip
def test_a_mistake_is_a_page_for_people_and_a_problem_for_programs(
    world: World, path: str, status: int
) -> None:
    """The same status for both; nobody keeps either."""
    page, problem = look(world, path), look(world, path, "*/*")
    assert page.status_code == problem.status_code == status
    assert page.content_type == "text/html; charset=utf-8"
    assert "<h1>We" in page.text
    assert "Accept" in page.headers["Vary"]
    assert problem.content_type == "application/problem+json"
    assert problem.get_json()["status"] == status
    assert page.headers["Cache-Control"] == problem.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize("path", ["/lookup/99", "/books?limit=x", "/orders/none"])
def test_the_api_answers_programs_whatever_they_accept(world: World, path: str) -> None:
    """What is no page has no pages."""
    assert look(world, path).content_type == "application/problem+json"


def test_a_method_that_a_page_does_not_take_is_said_to_people_too(world: World) -> None:
    """With what it takes."""
    for accept in (HTML, "*/*"):
        refused = world.client.delete("/basket", headers={"Accept": accept})
        assert refused.status_code == 405
        assert "POST" in refused.headers["Allow"]


def test_a_shop_that_cannot_look_things_up_says_so(world: World) -> None:
    """With a link that tries the same page again, and a time to wait."""
    world.http.nodes |= {"catalog-1": dead, "catalog-2": dead}
    for path in ("/", "/topic/a%3F?after=x", "/find?q=sea", "/book/1"):
        page = look(world, path)
        assert page.status_code == 503
        assert page.headers["Retry-After"]
        assert f'href="{path}">Try again' in page.text


def test_a_book_is_shown_although_its_neighbours_cannot_be(world: World) -> None:
    """The page is about one book."""
    for node in (world.first, world.second):
        node.over["/search"] = refusal("unavailable")
    page = look(world, "/book/1")
    assert page.status_code == 200
    assert "On the same shelf" not in page.text


def test_what_nobody_foresaw_is_no_traceback(world: World) -> None:
    """A catalog that answers nonsense makes a page that says to try again."""
    for node in (world.first, world.second):
        node.over["/books"] = lambda request: answer({"id": 1})
    page, problem = look(world, "/book/1"), look(world, "/book/1", "*/*")
    assert (page.status_code, problem.status_code) == (503, 503)
    assert "We cannot look that up right now" in words(page)
    assert problem.get_json()["code"] == "unavailable"


# --- the basket ---


def test_copies_are_put_into_the_basket_changed_and_taken_out(world: World) -> None:
    """Each is a POST that leads to the page of the basket."""
    steps: list[tuple[dict[str, str], dict[int, int]]] = [
        ({"do": "add", "book": "1"}, {1: 1}),
        ({"do": "add", "book": "1", "quantity": "2"}, {1: 3}),
        ({"do": "add", "book": "2", "quantity": " 4 "}, {1: 3, 2: 4}),
        ({"do": "set", "book": "1", "quantity": "1000"}, {1: 1000, 2: 4}),
        ({"do": "add", "book": "1", "quantity": "1000"}, {1: 1000, 2: 4}),
        ({"do": "set", "book": "1", "quantity": "0"}, {2: 4}),
        ({"do": "remove", "book": "2", "quantity": "nonsense"}, {}),
    ]
    for form, wanted in steps:
        answered = post(world, "/basket", form)
        assert (answered.status_code, answered.headers["Location"]) == (303, "/basket")
        assert held(world) == wanted
        assert answered.headers["Cache-Control"] == "no-store"
        cookie = answered.headers["Set-Cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=Lax" in cookie


@pytest.mark.parametrize(
    "form",
    [{}, {"book": "x"}, {"book": "0"}, {"book": "1", "quantity": "-1"},
     {"book": "1", "quantity": "1001"}, {"book": "1", "quantity": "1.5"},
     {"book": "1", "quantity": ""}, {"book": "1", "quantity": "\uff11"}, {"book": "9" * 30}],
)  # fmt: skip
def test_a_basket_takes_only_copies_of_books(world: World, form: dict[str, str]) -> None:
    """And stays as it was otherwise."""
    hold(world, {2: 1})
    assert post(world, "/basket", {"do": "set"} | form).status_code == 400
    assert held(world) == {2: 1}


@pytest.mark.parametrize(
    "cookie", ["nonsense", f"{KEY}.1x0", f"{KEY}.", "x" * 4000, f"{KEY}.1x1.1x2"]
)
def test_a_cookie_that_is_not_ours_is_an_empty_basket(world: World, cookie: str) -> None:
    """Nobody is told off for it."""
    world.client.set_cookie(basket.COOKIE, cookie)
    page = look(world, "/basket")
    assert page.status_code == 200
    assert "nothing in it yet" in words(page)
    assert look(world, "/checkout").headers["Location"] == "/basket"


def test_a_book_that_nobody_sells_leaves_the_basket(world: World) -> None:
    """The till never sees it."""
    hold(world, {1: 1, 77: 2})
    assert "$5.00" in look(world, "/basket").text
    assert held(world) == {1: 1}
    hold(world, {1: 1, 77: 2})
    assert look(world, "/checkout").headers["Location"] == "/basket"


def test_pages_about_somebody_are_kept_by_nobody(world: World) -> None:
    """Basket, till, order."""
    orders_say(world, lambda request: answer(ORDER))
    hold(world, {1: 1})
    for path in ("/basket", "/checkout", f"/order/{ORDER_ID}"):
        page = look(world, path)
        assert page.status_code == 200, page.text
        assert page.headers["Cache-Control"] == "no-store"
        assert "ETag" not in page.headers


# --- whose forms ---

FROM_ELSEWHERE = [
    {"Sec_Fetch_Site": "cross-site"}, {"Sec_Fetch_Site": "same-site"},
    {"Sec_Fetch_Site": "cross-site", "Origin": "http://localhost"},
    {"Origin": "http://elsewhere.example"}, {"Origin": "null"}, {"Origin": "http://localhost:81"},
]  # fmt: skip
OURS = [{}, {"Sec_Fetch_Site": "same-origin"}, {"Sec_Fetch_Site": "none"},
        {"Origin": "http://localhost"}, {"Origin": "https://localhost"}]  # fmt: skip


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
def test_a_form_of_another_site_changes_and_buys_nothing(
    world: World, headers: dict[str, str]
) -> None:
    """Whatever it says."""
    hold(world, {2: 1})
    for path, form in (("/basket", {"do": "add", "book": "1"}), ("/checkout", FORM)):
        refused = post(world, path, form, **headers)
        assert refused.status_code == 400
        assert "not sent from a page of this shop" in words(refused)
    assert held(world) == {2: 1}
    assert not asked_to_sell(world)


@pytest.mark.parametrize("headers", OURS, ids=str)
def test_a_form_of_ours_is_taken(world: World, headers: dict[str, str]) -> None:
    """From browsers old and new, with TLS in front and without, and from none."""
    assert post(world, "/basket", {"do": "add", "book": "1"}, **headers).status_code == 303


# --- the till ---


def test_what_stands_on_the_form_is_bought_under_its_key(world: World) -> None:
    """Then the order is shown, and what was bought has left the basket."""
    hold(world, {1: 2, 2: 1})
    till = look(world, "/checkout")
    assert f'name="key" value="{KEY}"' in till.text
    assert 'name="items" value="1x2.2x1"' in till.text
    assert 'name="total" value="1500"' in till.text
    hold(world, {1: 2, 2: 1, 9: 1})  # in another tab
    bought = post(world, "/checkout", FORM)
    assert (bought.status_code, bought.headers["Location"]) == (303, f"/order/{ORDER_ID}")
    lines = [{"book_id": 1, "quantity": 2}, {"book_id": 2, "quantity": 1}]
    assert asked_to_sell(world) == [{"key": KEY, "items": lines}]
    assert held(world) == {9: 1}


def test_a_basket_has_its_key_until_it_changes(world: World) -> None:
    """Two tabs at the till have the same; another copy makes another."""
    post(world, "/basket", {"do": "add", "book": "1"})
    keys = [re.findall(r'name="key" value="(\w+)"', look(world, "/checkout").text)[0] for _ in "ab"]
    post(world, "/basket", {"do": "add", "book": "1"})
    keys += re.findall(r'name="key" value="(\w+)"', look(world, "/checkout").text)
    assert keys[0] == keys[1] != keys[2]


@pytest.mark.parametrize(
    "change",
    [{"key": ""}, {"key": "A" * 32}, {"key": KEY + "0"}, {"items": ""}, {"items": "1x0"},
     {"items": "1x1.1x1"}, {"total": "x"}, {"total": "-1"}, {"total": ""}, {"items": "1x1 "}],
    ids=str,
)  # fmt: skip
def test_a_form_that_is_not_ours_to_the_letter_buys_nothing(
    world: World, change: dict[str, str]
) -> None:
    """It is told so."""
    refused = post(world, "/checkout", FORM | change)
    assert refused.status_code == 400
    assert "Nothing was ordered" in words(refused)
    assert not asked_to_sell(world)


def test_a_body_that_is_no_form_buys_nothing(world: World) -> None:
    """JSON is for the API; too much is too much."""
    headers = {"Accept": HTML, "Content-Type": "application/json"}
    for body in (b"{}", b"\xff\x00"):
        assert world.client.post("/checkout", data=body, headers=headers).status_code == 400
    assert post(world, "/checkout", FORM | {"more": "x" * 70_000}).status_code == 413
    assert not asked_to_sell(world)


def test_another_price_than_was_seen_is_shown_first(world: World) -> None:
    """Under the same key, for then it is the same order."""
    seen = post(world, "/checkout", FORM | {"total": "1400"})
    assert "A price has changed" in words(seen)
    assert f'name="key" value="{KEY}"' in seen.text
    assert 'name="total" value="1500"' in seen.text
    assert not asked_to_sell(world)


def test_a_price_that_nobody_can_look_up_keeps_nobody_from_buying(world: World) -> None:
    """The till decides."""
    world.http.nodes |= {"catalog-1": dead, "catalog-2": dead}
    assert post(world, "/checkout", FORM).status_code == 303


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [("writes-unavailable", 503, "Nothing was ordered, nothing was charged"),
     ("rate-limited", 429, "Nothing was ordered yet"),
     ("in-progress", 409, "still being written down"),
     ("outcome-unknown", 503, "We do not know yet whether your order went through")],
)  # fmt: skip
def test_who_may_ask_again_does_so_with_the_same_key(
    world: World, code: str, status: int, says: str
) -> None:
    """It is said that this is safe; programs get the problem."""
    hold(world, {1: 2, 2: 1})
    orders_say(world, refusing(code))
    page = post(world, "/checkout", FORM)
    assert page.status_code == status
    assert says in words(page)
    assert "nothing is ever charged twice" in words(page)
    assert f'name="key" value="{KEY}"' in page.text
    assert 'name="items" value="1x2.2x1"' in page.text
    assert ("Retry-After" in page.headers) == (status != 409)
    assert held(world) == {1: 2, 2: 1}
    assert post(world, "/checkout", FORM, "*/*").get_json()["code"] == code


def test_after_a_doubt_nobody_is_told_that_nothing_was_ordered(world: World) -> None:
    """Until it is known: the doubt goes with the form."""
    orders_say(world, broken)
    page = post(world, "/checkout", FORM)
    assert 'name="doubt" value="1"' in page.text
    assert 'name="total"' not in page.text
    doubt = {"key": KEY, "items": FORM["items"], "doubt": "1"}
    orders_say(world, dead)
    page = post(world, "/checkout", doubt)
    assert page.status_code == 503
    assert "We still do not know" in words(page)
    assert "othing was ordered" not in words(page)
    assert 'name="doubt" value="1"' in page.text
    orders_say(world, lambda request: answer([{"status": 201, "answer": ORDER}]))
    assert post(world, "/checkout", doubt).headers["Location"] == f"/order/{ORDER_ID}"
    assert {sale["key"] for sale in asked_to_sell(world)} == {KEY}


def test_a_doubt_stays_with_the_basket(world: World) -> None:
    """In another tab, after a walk through the shop, until it is known or the basket changes."""
    hold(world, {1: 2, 2: 1})
    orders_say(world, broken)
    post(world, "/checkout", FORM)
    for path in ("/basket", "/checkout"):
        assert "You may have ordered this already" in words(look(world, path))
    assert 'name="doubt"' in look(world, "/checkout").text
    orders_say(world, dead)
    from_another_tab = post(world, "/checkout", FORM | {"total": "1"})
    assert "We still do not know" in words(from_another_tab)
    post(world, "/basket", {"do": "add", "book": "1"})
    assert "ordered this already" not in words(look(world, "/checkout"))
    assert KEY not in look(world, "/checkout").text


@pytest.mark.parametrize(("left", "says"), [(0, "The last copy of"), (1, "only 1 copy left")])
def test_sold_out_says_of_what_and_how_many_are_left(world: World, left: int, says: str) -> None:
    """The basket is kept, under another key: this one's answer is decided for good."""
    hold(world, {1: 2, 2: 1})
    orders_say(world, refusing("sold-out", book_id=1, quantity_left=left))
    page = post(world, "/checkout", FORM)
    assert page.status_code == 409
    assert says in words(page)
    assert TITLE in words(page)
    assert ("Take the one that is left" in words(page)) == bool(left)
    assert held(world) == {1: 2, 2: 1}
    assert KEY not in look(world, "/checkout").text


def test_a_key_that_was_used_for_something_else_leads_back_to_the_basket(world: World) -> None:
    """Nothing new is ordered."""
    hold(world, {1: 2})
    orders_say(world, refusing("idempotency-mismatch"))
    page = post(world, "/checkout", FORM)
    assert page.status_code == 422
    assert 'href="/basket">To the basket' in page.text


def test_an_order_is_shown_with_its_number_and_its_day(world: World) -> None:
    """And in doubt nobody is told that there is none."""
    orders_say(world, lambda request: answer(ORDER))
    page = look(world, f"/order/{ORDER_ID}")
    assert f"<code>{ORDER_ID}</code>" in page.text
    assert "31 January 2026, 09:05 UTC" in words(page)
    assert "$10.00" in words(page)
    orders_say(world, dead)
    assert look(world, f"/order/{ORDER_ID}").status_code == 503


@pytest.mark.parametrize(
    ("method", "path", "lane"),
    [("GET", "/", "reads"), ("GET", "/book/1", "reads"), ("GET", "/checkout", "reads"),
     ("POST", "/basket", "reads"), ("POST", "/checkout", "purchases")],
)  # fmt: skip
def test_pages_have_the_lanes_of_their_kind(method: str, path: str, lane: str) -> None:
    """Looking around never waits for buying."""
    assert lane_of(method, path) == lane


# --- before anybody has looked at what was asked for ---


@pytest.mark.parametrize(
    ("code", "status", "says"),
    [("rate-limited", 429, "There is a queue at the door"),
     ("unavailable", 503, "Something went wrong with us"),
     ("outcome-unknown", 503, "We do not know how far we had got"),
     ("invalid-request", 400, "We did not understand that"),
     ("too-large", 413, "That was too much at once")],
)  # fmt: skip
def test_who_is_turned_away_at_the_door_is_told_in_words(
    world: World, code: str, status: int, says: str
) -> None:
    """A full lane answers people with a page that no one else has a share in; programs not."""
    explained = service_of(world.app).explained
    problem = Problem(code, "the lane is full")
    told = explained(problem, "/checkout", HTML.encode())
    assert told is not None
    headers = {name.decode(): value.decode() for name, value in told.headers}
    assert (told.status, says in unescape(told.body.decode())) == (status, True)
    assert headers["content-type"] == "text/html; charset=utf-8"
    assert headers["cache-control"] == "no-store"
    assert headers["content-security-policy"] == page.POLICY
    assert ("retry-after" in headers) == (problem.retry_after_s is not None)
    assert (
        "nothing is ever charged twice" in unescape(told.body.decode())
        or code not in SAFE_TO_REPEAT
    )
    assert explained(problem, "/checkout", b"*/*") is None
    for path in ("/lookup/1", "/orders", "/purchase/1", "/search/sea", "/topics"):
        assert explained(problem, path, HTML.encode()) is None, path
    for path in ("/", "/book/1", "/topic/a/b", "/basket", "/nowhere"):
        assert explained(problem, path, HTML.encode()), path
