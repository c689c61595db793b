"""Hits ahead of Flask: to the byte what Flask answers, counted alike, and only where it is safe."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from common import wsgi
from common.plain import is_plain
from tests.support.frontend_fakes import FakeCatalog, World, by_flask, call, counted

TAG = '"/books/1-500"'  # the fake catalog's
WARM = (
    "/lookup/1", "/info/2", "/search/Art", "/search/Art?limit=10", "/search/Art?after=abc",
    "/search/Art?limit=10&after=abc", "/search/Science%20Fiction", "/search/%C3%84rzte",
)  # fmt: skip
AT_ONCE = (
    *WARM, "/info/1", "/lookup/2", "/search/art", "/search/ART?limit=010", "/search/%41rt",
    "/search/Art?limit=50", "/search/science%20%20fiction", "/search/%c3%a4rzte",
    "/search/%20Art%20",
)  # fmt: skip
ORDINARY = (
    "/lookup/01", "/lookup/+1", "/lookup/1/", "//lookup/1", "/Lookup/1", "/lookup/%31",
    "/lookup/1?",
    "/lookup/1?x=1", "/lookup/1#x", "/./lookup/1", "/lookup/../lookup/1", "/lookup/1;x",
    "http://f1/lookup/1", "/lookup/9223372036854775808", "/lookup/\xb2", "/lookup/1%00",
    "/search/Art/", "/search//Art", "/search/a%2Fb", "/search/%2E%2E", "/search/Art?",
    "/search/Art?limit=10&limit=10", "/search/Art?after=abc&limit=10", "/search/Art?limit=0",
    "/search/Art?limit=201", "/search/Art?limit=", "/search/Art?limit=1e1", "/search/Art?Limit=10",
    "/search/Art?after=", "/search/Art?after=a%62c", "/search/Art?x=1", "/search/%FF",
    "/search/%0A",
    "/search/%00", "/search/%", "/search/%4", "/search/%zz", "/search/%20", "/search/" + "a" * 201,
    "/search/Art?after=" + "a" * 501, "/search/" + "%41" * 400, "/books", "/topics",
    "/", "", "*",
)  # fmt: skip


def make_world() -> World:
    """Return a frontend that holds the pages of `WARM`."""
    world = World()
    world.tick()
    for path in WARM:
        world.get(path)
    return world


@pytest.fixture
def world() -> World:
    return make_world()


METHODS = st.sampled_from(("GET", "HEAD"))
PIECES = st.sampled_from(
    ("/", "//", ".", "..", "%2F", "%20", "%00", "%C3%A4", "%c3", "+", "&", "?", "=", "#", ";", "a",
     "1", "0", "art", "Art", "limit=", "after=", "10", "abc", "lookup", "info", "search", "\x7f")
)  # fmt: skip
TARGETS = (
    st.sampled_from(AT_ONCE + ORDINARY)
    | st.builds("".join, st.lists(PIECES, max_size=8)).map(lambda tail: f"/{tail}")
    | st.builds("/search/{}".format, st.builds("".join, st.lists(PIECES, max_size=6)))
    | st.builds("/lookup/{}".format, st.integers(-1, 3) | st.text("0123456789 %+-", max_size=4))
)
TAGS = st.sampled_from(
    (
        "",
        "*",
        TAG,
        TAG[1:-1],
        f"W/{TAG}",
        f'"x", {TAG}',
        f"{TAG} ",
        '"x"',
        '"',
        "W/",
        '"/search-500"',
    )
)
HOSTS = st.sampled_from(("shop:80", "[::1]:8000", "127.0.0.1:8000")) | st.from_regex(
    r"[a-zA-Z0-9:._\[\]-]{1,70}", fullmatch=True
)
HEADERS = st.fixed_dictionaries(
    {},
    optional={
        "if_none_match": TAGS,
        "host": HOSTS.filter(lambda host: is_plain(host.encode())),
        "range": st.just("bytes=0-1"),
        "accept": st.just("text/html"),
        "cache_control": st.just("no-cache"),
        "x_http_method_override": st.just("POST"),
        "connection": st.just("keep-alive"),
    },
)


@settings(max_examples=150, deadline=None)
@given(st.lists(st.tuples(TARGETS, METHODS, HEADERS), max_size=30))
def test_both_ways_answer_the_same_and_count_the_same(
    asked: list[tuple[str, str, dict[str, str]]],
) -> None:
    """Status, headers in their order, body; and afterwards every metric."""
    quick, plain = make_world(), make_world()
    for target, method, headers in asked:
        one = call(target, method, **headers)
        expected = by_flask(plain.app, one)
        answer = quick.service.at_once(one)
        assert (answer or by_flask(quick.app, one)) == expected, one
    assert counted(quick) == counted(plain)


@pytest.mark.parametrize("target", AT_ONCE)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_what_is_cached_is_answered_at_once(world: World, target: str, method: str) -> None:
    """Whatever the spelling of the topic."""
    answer = world.service.at_once(call(target, method))
    assert answer is not None
    assert answer == by_flask(world.app, call(target, method))
    assert (b"cache-status", b"bazar; hit") in answer.headers


@pytest.mark.parametrize("target", ORDINARY)
def test_what_is_not_plain_is_left_to_flask(world: World, target: str) -> None:
    """Also when it means the same as something that is cached."""
    assert world.service.at_once(call(target)) is None


@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", f'"x", {TAG}', "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_who_has_the_page_is_told_so_at_once(world: World, method: str, tags: str) -> None:
    """304, without a body and without a length."""
    asked = call("/lookup/1", method, if_none_match=tags)
    answer = world.service.at_once(asked)
    assert answer is not None
    assert (answer.status, answer.body) == (304, b"")
    assert answer == by_flask(world.app, asked)


def test_no_hit_ahead_of_flask_once_the_lease_has_ended(world: World) -> None:
    """The clock is read for each."""
    assert world.service.at_once(call("/lookup/1"))
    world.clock.advance(2.0)
    assert world.service.at_once(call("/lookup/1")) is None


def test_several_together_are_answered_as_one_by_one(world: World) -> None:
    """Hits, misses, and those of who has the page; counted and kept in the cache alike."""
    calls = [call(target, method, **headers) for target in (*AT_ONCE, "/lookup/99")
             for method in ("GET", "HEAD") for headers in ({}, {"if_none_match": TAG})]  # fmt: skip
    again = world.service.again
    assert again is not None
    one_by_one = [world.service.at_once(one) for one in calls]
    before = numbers(world)
    assert again.answers([again.asked(one) for one in calls]) == one_by_one
    assert {answer and answer.status for answer in one_by_one} == {200, 304, None}
    together = numbers(world)
    assert [world.service.at_once(one) for one in calls] == one_by_one
    alone = numbers(world)
    assert [alone[name] - together[name] for name in alone] == [
        together[name] - before.get(name, 0) for name in alone
    ]


def numbers(world: World) -> dict[str, float]:
    """Return what is counted, by name and labels."""
    shown = (line.rpartition(" ") for line in counted(world) if line[0] != "#")
    return {name: float(value) for name, _, value in shown if "_total{" in name}


def test_no_hit_together_with_others_once_the_lease_has_ended(world: World) -> None:
    """The clock is read once for all of them."""
    again = world.service.again
    assert again is not None
    asked = [again.asked(call(target)) for target in AT_ONCE]
    assert all(again.answers(asked))
    world.clock.advance(2.0)
    before = numbers(world)
    assert not any(again.answers(asked))
    name = 'bazar_cache_lookups_total{result="hit"}'
    assert numbers(world)[name] == before[name]


def test_no_hit_ahead_of_flask_once_it_is_invalidated(world: World) -> None:
    """What was made ready for the page goes with it."""
    assert world.service.at_once(call("/lookup/1"))
    world.invalidate(11, "book:1", "topic:art")
    assert world.service.at_once(call("/lookup/1")) is None
    assert world.service.at_once(call("/search/Art?limit=10")) is None
    world.first.price = world.second.price = 600
    world.first.as_of = world.second.as_of = 11
    world.get("/lookup/1")
    answer = world.service.at_once(call("/lookup/1"))
    assert answer is not None
    assert b"600" in answer.body


def test_hits_ahead_of_flask_keep_a_page_from_being_evicted() -> None:
    """They are uses: the least recently used goes first."""
    world = World(capacity=2)
    world.tick()
    world.get("/lookup/1")
    world.get("/lookup/2")
    assert world.service.at_once(call("/lookup/1"))
    world.get("/search/Art")
    assert world.service.at_once(call("/lookup/1"))
    assert world.service.at_once(call("/lookup/2")) is None


def test_a_page_without_a_tag_is_no_page_that_somebody_has() -> None:
    """Should a catalog ever send one."""
    world = World()
    world.tick()
    for node in (world.first, world.second):
        node.over["/books/1"] = without_tag(node)
    world.get("/lookup/1")
    asked = call("/lookup/1", if_none_match='""')
    assert world.service.at_once(asked) == by_flask(world.app, asked)


def without_tag(node: FakeCatalog) -> Any:
    def reply(request: Any) -> Any:
        node.over.clear()
        found = node(request)
        kept = {name: text for name, text in found.headers.items() if name != "etag"}
        return type(found)(found.status, kept, found.body)

    return reply


def lines(answer: wsgi.Answer) -> Iterable[bytes]:
    return answer.head.split(b"\r\n")


def test_the_head_of_an_answer_is_http(world: World) -> None:
    """A status line, the headers, an empty line."""
    answer = world.service.at_once(call("/lookup/1"))
    assert answer is not None
    first, *headers, empty, end = lines(answer)
    assert (first, empty, end) == (b"HTTP/1.1 200 OK", b"", b"")
    assert headers == [b": ".join(header) for header in answer.headers]
