"""The description of the API: all of it, nothing else, and in the words of the code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from openapi_spec_validator import validate

from common import fields
from common.errors import PUBLIC
from frontend import hook, page
from frontend.calls import CALLS
from frontend.openapi import METHODS, described
from tests.support.frontend_fakes import World

COLLECTION = Path(__file__).parents[2] / "config" / "bazar.postman_collection.json"
INTERNAL = (*hook.PATHS, "/spans")  # what the services say to each other
# Views that are no calls but what people look at.
NO_API = ("frontend.page", "frontend.shop", "frontend.control", "frontend.apidocs")

Document = dict[str, Any]


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def document(world: World) -> Document:
    """The description, as a client gets it."""
    found: Document = world.get("/openapi.json").get_json()
    return found


def operations(document: Document) -> Iterator[tuple[str, str, Document]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield method.upper(), path, operation


def test_it_is_a_valid_openapi_document(document: Document) -> None:
    """Version 3.1, each operation by a name of its own."""
    validate(document)
    assert document["openapi"].startswith("3.1.")
    names = [operation["operationId"] for _, _, operation in operations(document)]
    assert len(set(names)) == len(names)


def test_every_call_of_the_app_is_described(world: World, document: Document) -> None:
    """A route that is neither in it nor known to be a page or an internal call is a call that
    somebody has forgotten.
    """
    known = {(rule.rule, method) for rule, method, _ in described(world.app)}
    forgotten = {
        (rule.rule, method)
        for rule in world.app.url_map.iter_rules()
        for method in set(METHODS) & (rule.methods or set())
        if rule.rule not in INTERNAL
        and not world.app.view_functions[rule.endpoint].__module__.startswith(NO_API)
    } - known
    assert not forgotten
    assert len(list(operations(document))) == len(known) >= 17


def test_no_call_is_described_that_does_not_exist(world: World) -> None:
    """Each name in `frontend/calls.py` is that of a view."""
    assert {view for _, _, view in described(world.app)} == set(CALLS)


def test_limits_and_patterns_are_those_that_are_checked(document: Document) -> None:
    """Changed in one place, they change in the other."""
    book = document["components"]["schemas"]["NewBook"]["properties"]
    assert book["title"]["maxLength"] == fields.TITLE_CHARS_MAX
    assert book["topics"]["maxItems"] == fields.TOPICS_MAX
    assert book["price_cents"]["maximum"] == fields.PRICE_CENTS_MAX
    basket = document["components"]["schemas"]["Basket"]["properties"]["items"]
    assert basket["maxItems"] == fields.BASKET_LINES_MAX
    parameters = document["paths"]["/books"]["get"]["parameters"]
    (limit,) = [each for each in parameters if each["name"] == "limit"]
    assert limit["schema"]["maximum"] == fields.LIMIT_MAX


@pytest.mark.parametrize("schema", ["NewBook", "BookChanges", "Restock", "Purchase", "Basket"])
def test_an_object_that_is_sent_has_the_fields_that_are_known(
    world: World, document: Document, schema: str
) -> None:
    """The refusal of an unknown field lists them."""
    calls = {
        "NewBook": ("POST", "/books"), "BookChanges": ("PATCH", "/books/1"),
        "Restock": ("POST", "/books/1/restock"), "Purchase": ("POST", "/purchase/1"),
        "Basket": ("POST", "/orders"),
    }  # fmt: skip
    method, path = calls[schema]
    detail = world.operator(method, path, json={"?": 1}).get_json()["detail"]
    (known,) = re.findall(r"known: (.*)\)", detail)
    assert set(known.split(", ")) == set(document["components"]["schemas"][schema]["properties"])


def test_every_public_error_is_described_but_for_a_wrong_method(document: Document) -> None:
    """Which belongs to no operation. Each under its own status."""
    found: dict[str, int] = {}
    for _, _, operation in operations(document):
        for status, answer in operation["responses"].items():
            for media_type, contents in answer.get("content", {}).items():
                if media_type == "application/problem+json":
                    codes = contents["schema"]["properties"]["code"]["enum"]
                    found |= dict.fromkeys(codes, int(status))
    assert found == {
        code: status for code, (status, _) in PUBLIC.items() if code != "method-not-allowed"
    }


def test_the_calls_of_operators_say_that_they_need_the_token(
    world: World, document: Document
) -> None:
    """And those alone: without the token they answer 401, the others do not."""
    for method, path, operation in operations(document):
        address = path.format(book=1, topic="a", order_id="o")
        code = world.client.open(address, method=method, json={}).status_code
        assert (code == 401) == ("security" in operation) == ("401" in operation["responses"])


def test_the_page_of_the_api_may_show_images_that_stand_in_its_style_sheet(world: World) -> None:
    """And nothing else that other pages may not."""
    policy = world.get("/docs").headers["Content-Security-Policy"]
    assert "img-src 'self' data:;" in policy
    assert policy.replace(" data:", "") == page.POLICY


def test_the_page_lists_the_calls_for_those_without_javascript(
    world: World, document: Document
) -> None:
    """Every one with what it does."""
    told = world.get("/docs").text
    for method, path, _ in operations(document):
        assert f"<code>{method} {path}</code>" in told


@pytest.mark.parametrize("path", ["/docs?x=1", "/openapi.json?x=1"])
def test_both_take_no_parameters(world: World, path: str) -> None:
    """Like every call."""
    assert world.get(path).status_code == 400


def test_a_line_break_in_a_topic_is_a_blank(world: World) -> None:
    """Found by schemathesis: it was an address where nothing lived."""
    assert world.get("/search/a%0Ab").status_code == 200
    (asked,) = [sent.target for sent in world.http.sent if sent.target.startswith("/search")]
    assert asked.startswith("/search?topic=a+b&")


def test_every_call_is_in_the_postman_collection(document: Document) -> None:
    """Each with its method, and the page of the API."""
    requests = list(requests_in(json.loads(COLLECTION.read_text("utf-8"))))
    for method, path, _ in [*operations(document), ("GET", "/docs", {})]:
        pattern = re.sub(r"\\{\w+\\}", ".+" if "search" in path else "[^/]+", re.escape(path))
        address = re.compile(r"\{\{baseUrl\}\}" + pattern + r"(\?.*)?")
        assert any(
            request["method"] == method and address.fullmatch(request["url"]["raw"])
            for request in requests
        ), f"{method} {path}"


def requests_in(item: Document) -> Iterator[Document]:
    """Return the requests of a collection."""
    if "request" in item:
        yield item["request"]
    for child in item.get("item", []):
        yield from requests_in(child)
